//! What a retention policy promises: how far back one can always go, and how a schedule and a
//! policy play out over years. Called by `retention simulate`. Semantics: `docs/semantics.md`,
//! "Horizon".

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::desired::{Keep, Retention, Schedule};
use model::id::SnapshotId;
use serde::{Deserialize, Serialize};

use crate::retention::{Candidate, Period, Standing, is_empty, judge, rules};
use crate::slots::Calendar;

/// The most slots that one simulation runs through: two years of hours.
pub const SLOTS_MAX: usize = 17_520;

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
/// lie between. `within` and `last` lose at most one gap of the schedule.
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
    /// The promise, for comparison.
    pub horizon: Horizon,
    /// One frame for each slot, oldest first.
    pub frames: Vec<Frame>,
    /// The points that are left at the end, oldest first.
    pub left: Vec<Timestamp>,
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

/// Runs a schedule from one instant to another; every backup succeeds and is proven, and after each
/// one what can go goes. Ends early after [`SLOTS_MAX`] slots.
pub fn simulate(
    policy: &Retention,
    schedule: &Schedule,
    from: Timestamp,
    until: Timestamp,
) -> Simulation {
    let calendar = Calendar::new(schedule);
    let tags = BTreeSet::new();
    let mut points: Vec<(SnapshotId, Timestamp)> = Vec::new();
    let mut frames = Vec::new();
    let mut now = from;
    while frames.len() < SLOTS_MAX {
        match calendar.next(now) {
            Some(next) if next <= until => now = next,
            _ => break,
        }
        points.push((SnapshotId(format!("{:064}", frames.len())), now));
        let candidates: Vec<Candidate<'_>> = points
            .iter()
            .map(|(id, time)| Candidate {
                id,
                time: *time,
                tags: &tags,
                standing: Standing::Good,
                proven: true,
                pins: Vec::new(),
            })
            .collect();
        // Dates are not asked for, so no slot is looked up for them.
        let stays: BTreeSet<SnapshotId> = judge(policy, &candidates, now, &|_| None)
            .into_iter()
            .filter(|verdict| verdict.keep)
            .map(|verdict| verdict.id)
            .collect();
        points.retain(|(id, _)| stays.contains(id));
        let oldest = points.first().map_or(now, |(_, time)| *time);
        let oldest_s = u64::try_from(now.duration_since(oldest).as_secs()).unwrap_or(0);
        frames.push(Frame { at: now, points: points.len(), oldest_s });
    }
    Simulation {
        slots: frames.len(),
        horizon: horizon(policy, schedule, from),
        frames,
        left: points.into_iter().map(|(_, time)| time).collect(),
    }
}
