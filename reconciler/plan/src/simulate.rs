//! What a retention policy promises: how far back one can always go, how a schedule and a policy
//! play out over years, and where restic's `forget` would have kept other points. Called by
//! `retention simulate`. Semantics: `docs/semantics.md`, "Horizon".

mod restic;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::desired::{Keep, Retention, Schedule};
use model::id::SnapshotId;
use serde::{Deserialize, Serialize};

pub use self::restic::ResticPolicy;
use crate::retention::{
    Candidate, Period, Standing, Verdict, is_empty, judge, rules, within_rules,
};
use crate::slots::Calendar;

/// The most slots that one simulation runs through: two years of hours.
pub const SLOTS_MAX: usize = 17_520;

/// Differences from restic that are listed; beyond it they are only counted.
const DIFFERENCES_MAX: usize = 20;

/// How many slots are looked at to find the longest gap of a schedule.
const GAPS_LOOKED_AT: usize = 400;

/// How far back one can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Horizon {
    /// At least so many seconds, at any instant.
    Seconds(u64),
    /// To the beginning.
    Forever,
}

/// Returns how far back one can go at any instant, once the series is old enough and as long as
/// every backup of the schedule succeeds; `from` is where the schedule's gaps are looked at.
///
/// A rule that keeps *n* periods keeps the newest point of the oldest of them, which may lie at the
/// very end of that period, and the newest period may just have begun: only *n* - 2 whole periods
/// lie between. `within` and `last` lose at most one gap of the schedule. The newest point of each
/// period within a span reaches back by the span less one period, and a gap at both ends.
pub fn horizon(policy: &Retention, schedule: &Schedule, from: Timestamp) -> Horizon {
    if is_empty(policy) {
        return Horizon::Forever;
    }
    let gap = longest_gap_s(schedule, from);
    let mut seconds = 0;
    for (_, keep, period) in rules(policy) {
        match keep {
            Keep::Unset => {}
            Keep::Forever => return Horizon::Forever,
            Keep::Count(n) => {
                let whole = u64::from(n).saturating_sub(2);
                seconds = seconds.max(match shortest_s(period) {
                    Some(length) => whole.saturating_mul(length),
                    None => u64::from(n)
                        .saturating_sub(1)
                        .saturating_mul(shortest_gap_s(schedule, from)),
                });
            }
        }
    }
    if let Some(within) = policy.within_s {
        seconds = seconds.max(within.saturating_sub(gap));
    }
    for (_, within_s, period) in within_rules(policy) {
        let lost = period.longest_s().saturating_add(gap.saturating_mul(2));
        seconds = seconds.max(within_s.unwrap_or(0).saturating_sub(lost));
    }
    Horizon::Seconds(seconds)
}

/// The shortest that a period can be; clock changes and short months count.
fn shortest_s(period: Period) -> Option<u64> {
    const DAY: u64 = 86_400;
    const CLOCK_CHANGE: u64 = 3600;
    match period {
        Period::Point => None,
        Period::Hour => Some(3600),
        Period::Day => Some(DAY - CLOCK_CHANGE),
        Period::Week => Some(7 * DAY - CLOCK_CHANGE),
        Period::Month => Some(28 * DAY - CLOCK_CHANGE),
        Period::Quarter => Some(90 * DAY - CLOCK_CHANGE),
        Period::Year => Some(365 * DAY - CLOCK_CHANGE),
    }
}

fn gaps_s(schedule: &Schedule, from: Timestamp) -> Vec<u64> {
    let calendar = Calendar::new(schedule);
    let mut gaps = Vec::new();
    let mut last = calendar.next(from);
    for _ in 0..GAPS_LOOKED_AT {
        let Some((at, next)) = last.and_then(|at| Some((at, calendar.next(at)?))) else { break };
        gaps.push(u64::try_from(next.duration_since(at).as_secs()).unwrap_or(0));
        last = Some(next);
    }
    gaps
}

fn longest_gap_s(schedule: &Schedule, from: Timestamp) -> u64 {
    gaps_s(schedule, from).into_iter().max().unwrap_or(0)
}

fn shortest_gap_s(schedule: &Schedule, from: Timestamp) -> u64 {
    gaps_s(schedule, from).into_iter().min().unwrap_or(0)
}

/// How a schedule and a policy played out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// Slots that were served.
    pub slots: usize,
    /// It ended early, after [`SLOTS_MAX`] slots.
    pub truncated: bool,
    /// The promise, for comparison.
    pub horizon: Horizon,
    /// One frame for each slot, oldest first.
    pub frames: Vec<Frame>,
    /// The points that are left at the end, oldest first.
    pub left: Vec<Left>,
    /// How restic would have done.
    pub restic: Restic,
}

/// What was there after one slot was served and what could go went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// The slot.
    pub at: Timestamp,
    /// How many points there are.
    pub points: usize,
    /// How old the oldest is, in seconds.
    pub oldest_s: u64,
}

/// A point that is left at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// When it was taken.
    pub at: Timestamp,
    /// Why it stays.
    pub reasons: Vec<String>,
    /// When it becomes removable, if every backup goes on to succeed.
    pub removable_at: Option<Timestamp>,
}

/// How restic's `forget` would have done, with the nearest options, run after every backup on a
/// series of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restic {
    /// The options.
    pub options: Vec<String>,
    /// What they cannot say.
    pub cannot: Vec<String>,
    /// After so many slots the two kept different points.
    pub differs: usize,
    /// The first of them.
    pub first: Vec<Differs>,
    /// Points that restic has at the end.
    pub points: usize,
}

/// Where the two differ after a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Differs {
    /// The slot.
    pub at: Timestamp,
    /// Restic has it, we do not.
    pub only_restic: Vec<Timestamp>,
    /// We have it, restic does not.
    pub only_ours: Vec<Timestamp>,
}

/// Runs a schedule from one instant to another; every backup succeeds and is proven, and after each
/// one what can go goes. `machine` is the zone of the machine on which restic would run. Ends early
/// after [`SLOTS_MAX`] slots.
pub fn simulate(
    policy: &Retention,
    schedule: &Schedule,
    from: Timestamp,
    until: Timestamp,
    machine: &TimeZone,
) -> Simulation {
    let calendar = Calendar::new(schedule);
    let (options, cannot) = ResticPolicy::nearest(policy);
    let mut restic =
        Restic { options: options.options(), cannot, differs: 0, first: Vec::new(), points: 0 };
    let (mut ours, mut theirs): (Vec<Timestamp>, Vec<Timestamp>) = (Vec::new(), Vec::new());
    let mut frames = Vec::new();
    let (mut now, mut truncated) = (from, false);
    while let Some(next) = calendar.next(now).filter(|next| *next <= until) {
        if frames.len() >= SLOTS_MAX {
            truncated = true;
            break;
        }
        now = next;
        ours.push(now);
        theirs.push(now);
        // Dates are not asked for, so no slot is looked up for them.
        let stays = judged(policy, &ours, now, &|_| None);
        ours = stays.into_iter().filter(|v| v.keep).map(|v| v.time).collect();
        let tags = BTreeSet::new();
        let tagged: Vec<_> = theirs.iter().map(|at| (*at, &tags)).collect();
        theirs = options.keeps(&tagged, machine, now).into_iter().collect();
        note_difference(&mut restic, now, &ours, &theirs);
        let oldest = ours.first().copied().unwrap_or(now);
        let oldest_s = u64::try_from(now.duration_since(oldest).as_secs()).unwrap_or(0);
        frames.push(Frame { at: now, points: ours.len(), oldest_s });
    }
    restic.points = theirs.len();
    let left = judged(policy, &ours, now, &|at| calendar.next(at));
    let left = left
        .into_iter()
        .map(|v| Left { at: v.time, reasons: v.reasons, removable_at: v.removable_at })
        .collect();
    Simulation {
        slots: frames.len(),
        truncated,
        horizon: horizon(policy, schedule, from),
        frames,
        left,
        restic,
    }
}

fn judged(
    policy: &Retention,
    points: &[Timestamp],
    now: Timestamp,
    next: &dyn Fn(Timestamp) -> Option<Timestamp>,
) -> Vec<Verdict> {
    let tags = BTreeSet::new();
    let ids: Vec<SnapshotId> =
        points.iter().map(|at| SnapshotId::from(format!("{:064}", at.as_second()))).collect();
    let candidates: Vec<Candidate<'_>> = points
        .iter()
        .zip(&ids)
        .map(|(time, id)| Candidate {
            id,
            time: *time,
            tags: &tags,
            standing: Standing::Good,
            proven: true,
            pins: Vec::new(),
        })
        .collect();
    judge(policy, &candidates, now, next)
}

fn note_difference(restic: &mut Restic, at: Timestamp, ours: &[Timestamp], theirs: &[Timestamp]) {
    if ours == theirs {
        return;
    }
    restic.differs += 1;
    if restic.first.len() < DIFFERENCES_MAX {
        let only = |of: &[Timestamp], other: &[Timestamp]| {
            of.iter().filter(|at| !other.contains(at)).copied().collect()
        };
        restic.first.push(Differs {
            at,
            only_restic: only(theirs, ours),
            only_ours: only(ours, theirs),
        });
    }
}
