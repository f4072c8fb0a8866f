//! When points go whose rules do not overlap: there a point that falls out of one rule may be
//! taken up by the next, so the schedule is followed slot by slot instead of worked out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::{Keep, Retention};
use model::id::SnapshotId;

use super::{Candidate, Next, Standing, Verdict, removable, rules, within_rules};
use crate::slots::seconds;

/// How many slots are followed. Beyond them no date is given: that is 27 years of a daily backup,
/// more than a year of an hourly one.
const SLOTS_MAX: usize = 10_000;

/// The slots after which whatever goes at all is gone: each rule in turn holds a point for no more
/// than so many of its periods, and for as many slots where slots are rarer than periods.
fn slots(policy: &Retention, now: Timestamp, next: Next<'_>) -> Vec<(SnapshotId, Timestamp)> {
    let (mut rare, mut span_s) = (0, 0u64);
    for (_, keep, period) in rules(policy) {
        let Keep::Count(n) = keep else { continue };
        rare += n as usize + 1;
        span_s = span_s.saturating_add((u64::from(n) + 1).saturating_mul(period.longest_s()));
    }
    for (_, within_s, period) in within_rules(policy) {
        let within_s = within_s.map(|within_s| within_s.saturating_add(period.longest_s()));
        span_s = span_s.saturating_add(within_s.unwrap_or(0));
    }
    span_s = span_s.saturating_add(policy.within_s.unwrap_or(0));
    let all = || std::iter::successors(next(now), |at| next(*at)).take(SLOTS_MAX);
    let end = all().nth(rare).and_then(|at| at.checked_add(seconds(span_s)).ok());
    all().take_while(|at| end.is_none_or(|end| *at <= end)).map(made).collect()
}

/// Dates what stays, as if every backup succeeds, is proven, and is followed by an expiry. What
/// stays for another reason than a rule has no date.
pub(super) fn date(
    policy: &Retention,
    series: &[Candidate<'_>],
    now: Timestamp,
    next: Next<'_>,
    verdicts: &mut [Verdict],
) {
    let slots = slots(policy, now, next);
    let tags = BTreeSet::new();
    let stays = |id: &SnapshotId| verdicts.iter().any(|v| v.keep && v.id == *id);
    let mut left: Vec<Candidate<'_>> = series.iter().filter(|c| stays(c.id)).cloned().collect();
    let mut waiting = left.iter().filter(|c| c.pins.is_empty() && c.time <= now).count();
    let mut gone: BTreeMap<SnapshotId, Timestamp> = BTreeMap::new();
    for (id, at) in &slots {
        if waiting == 0 {
            break;
        }
        let standing = Standing::Good;
        let new =
            Candidate { id, time: *at, tags: &tags, standing, proven: true, pins: Vec::new() };
        left.push(new);
        let goes: BTreeSet<SnapshotId> =
            removable(policy, &left, *at).into_iter().map(|v| v.id).collect();
        left.retain(|candidate| !goes.contains(candidate.id));
        for id in goes.into_iter().filter(&stays) {
            gone.insert(id, *at);
            waiting = waiting.saturating_sub(1);
        }
    }
    for verdict in verdicts.iter_mut() {
        verdict.removable_at = gone.remove(&verdict.id);
    }
}

/// A point that the slot will make; its id is no digest, so it is none of those there are.
fn made(at: Timestamp) -> (SnapshotId, Timestamp) {
    (SnapshotId::from(format!("slot {at}")), at)
}
