//! When work is due: slots of a schedule, jitter, deadlines and windows. Called by the planner, the
//! gates and `status`. Semantics: `docs/semantics.md`, "Slots".

pub mod cron;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use model::desired::{Schedule, When, Window};
use model::digest::Digest;
use model::id::{Address, Name};

use self::cron::CronRule;

/// How many missed slots are counted; beyond it the number is only known to be at least this.
pub const MISSED_MAX: u64 = 1000;

/// How many edges of windows are looked at to find the next opening: a year of daily windows.
const WINDOW_EDGES_MAX: usize = 400;

/// A slot that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The scheduled instant.
    pub at: Timestamp,
    /// Earlier slots that this one serves, at most [`MISSED_MAX`].
    pub missed: u64,
}

/// What a schedule says at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dueness {
    /// This slot is to be served.
    Due(Slot),
    /// This slot was not served in time; the next one will be.
    TooLate(Slot),
    /// Every slot that has passed was served, or none has passed.
    NotDue,
}

/// A schedule whose rule was read.
pub struct Calendar<'a> {
    schedule: &'a Schedule,
    rule: Rule,
    /// The stretches between two instants of a cron rule that were found last: a plan asks for
    /// thousands of resources at nearly the same instant, and each search walks the calendar.
    found: Mutex<Vec<(Timestamp, Timestamp)>>,
}

/// Stretches that are remembered: jitter spreads the questions over a few.
const FOUND_MAX: usize = 8;

enum Rule {
    Cron(Box<CronRule>),
    Every(i64),
    Never,
}

impl<'a> Calendar<'a> {
    /// Reads a schedule. A rule that cannot be read never fires; `config` has reported it.
    pub fn new(schedule: &'a Schedule) -> Self {
        let rule = match &schedule.when {
            When::Cron { expression } => CronRule::new(expression, &schedule.time_zone)
                .map_or(Rule::Never, |rule| Rule::Cron(Box::new(rule))),
            When::Every { seconds } => {
                i64::try_from(*seconds).ok().filter(|s| *s > 0).map_or(Rule::Never, Rule::Every)
            }
            When::Never => Rule::Never,
        };
        Self { schedule, rule, found: Mutex::new(Vec::new()) }
    }

    /// Returns the newest scheduled instant at or before `at`.
    pub fn newest(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(rule) => match self.stretch(rule, at) {
                Some((newest, _)) => Some(newest),
                None => rule.newest(at),
            },
            Rule::Every(seconds) => {
                let whole = at.as_second().div_euclid(*seconds);
                Timestamp::from_second(whole.checked_mul(*seconds)?).ok()
            }
            Rule::Never => None,
        }
    }

    /// Returns the first scheduled instant after `at`.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(rule) => match self.stretch(rule, at) {
                Some((_, next)) => Some(next),
                None => rule.next(at),
            },
            Rule::Every(seconds) => {
                let whole = at.as_second().div_euclid(*seconds).checked_add(1)?;
                Timestamp::from_second(whole.checked_mul(*seconds)?).ok()
            }
            Rule::Never => None,
        }
    }

    /// The newest instant at or before `at` and the first after it; `None` when one is missing.
    fn stretch(&self, rule: &CronRule, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let known = |found: &[(Timestamp, Timestamp)]| {
            found.iter().find(|(newest, next)| *newest <= at && at < *next).copied()
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stretch) = known(&found) {
            return Some(stretch);
        }
        let stretch = (rule.newest(at)?, rule.next(at)?);
        if found.len() >= FOUND_MAX {
            found.remove(0);
        }
        found.push(stretch);
        Some(stretch)
    }

    /// Returns from when on [`Calendar::due`] may answer otherwise, though nothing was served
    /// meanwhile.
    pub fn changes(
        &self,
        served: Option<Timestamp>,
        jitter_s: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if served.is_none() {
            return self.next(now);
        }
        let next = self.next_due(jitter_s, now);
        let jitter = seconds(jitter_s);
        let newest = now.checked_sub(jitter).ok().and_then(|then| self.newest(then));
        let late = newest.zip(self.schedule.deadline_s).and_then(|(at, deadline)| {
            // Late is what lies beyond the deadline, so the first nanosecond after it.
            at.checked_add(jitter)
                .and_then(|at| at.checked_add(seconds(deadline)))
                .and_then(|at| at.checked_add(SignedDuration::from_nanos(1)))
                .ok()
        });
        match late.filter(|late| *late > now) {
            Some(late) => Some(next.map_or(late, |next| next.min(late))),
            None => next,
        }
    }

    /// Returns what is due, given the newest slot that was served.
    ///
    /// When none was, the newest slot that has passed is due at once: without jitter and without
    /// deadline, because a resource without any point is worse than a load that is not spread.
    pub fn due(&self, served: Option<Timestamp>, jitter_s: u64, now: Timestamp) -> Dueness {
        let Some(served) = served else {
            return match self.newest(now) {
                Some(at) => Dueness::Due(Slot { at, missed: 0 }),
                None => Dueness::NotDue,
            };
        };
        let jitter = seconds(jitter_s);
        let Some(at) = now.checked_sub(jitter).ok().and_then(|then| self.newest(then)) else {
            return Dueness::NotDue;
        };
        if at <= served {
            return Dueness::NotDue;
        }
        let slot = Slot { at, missed: self.missed(served, at) };
        let late = now.duration_since(at) - jitter;
        match self.schedule.deadline_s {
            Some(deadline) if late > seconds(deadline) => Dueness::TooLate(slot),
            _ => Dueness::Due(slot),
        }
    }

    /// Returns when the next slot will be due after `now`, jitter included.
    pub fn next_due(&self, jitter_s: u64, now: Timestamp) -> Option<Timestamp> {
        let jitter = seconds(jitter_s);
        self.next(now.checked_sub(jitter).ok()?)?.checked_add(jitter).ok()
    }

    /// Counts slots after `served` and before `at`.
    fn missed(&self, served: Timestamp, at: Timestamp) -> u64 {
        if let Rule::Every(seconds) = &self.rule {
            let span = at.as_second().saturating_sub(served.as_second());
            let slots = u64::try_from(span.div_euclid(*seconds)).unwrap_or(0);
            return slots.saturating_sub(1).min(MISSED_MAX);
        }
        let mut missed = 0;
        let mut cursor = served;
        while missed < MISSED_MAX {
            match self.next(cursor) {
                Some(next) if next < at => {
                    missed += 1;
                    cursor = next;
                }
                _ => break,
            }
        }
        missed
    }
}

/// Returns the jitter of a resource under a backup: the same on every machine and after every
/// restart, between 0 and `jitter_s_max`.
pub fn jitter_s(address: &Address, backup: &Name, jitter_s_max: u64) -> u64 {
    if jitter_s_max == 0 {
        return 0;
    }
    let digest = Digest::of_bytes("jitter", format!("{backup} {address}").as_bytes());
    let number =
        digest.as_str().get(..15).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    number % jitter_s_max.saturating_add(1)
}

/// Whether work may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It may.
    Open,
    /// It may not.
    Closed {
        /// When it may; `None`: not within a year.
        opens: Option<Timestamp>,
    },
}

/// Looks windows up: open inside any allowing window (or when there is none), and never inside a
/// forbidding one. A window that cannot be read forbids: it was meant to limit.
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    if windows.is_empty() {
        return Opening::Open;
    }
    let read: Option<Vec<(CronRule, &Window)>> = windows
        .iter()
        .map(|w| CronRule::new(&w.opens, &w.time_zone).ok().map(|rule| (rule, w)))
        .collect();
    let Some(read) = read else {
        return Opening::Closed { opens: None };
    };
    if is_open(&read, now) {
        return Opening::Open;
    }
    let mut cursor = now;
    for _ in 0..WINDOW_EDGES_MAX {
        let edge = read.iter().filter_map(|(rule, window)| edge_after(rule, window, cursor)).min();
        match edge {
            Some(edge) if is_open(&read, edge) => return Opening::Closed { opens: Some(edge) },
            Some(edge) => cursor = edge,
            None => break,
        }
    }
    Opening::Closed { opens: None }
}

fn is_open(windows: &[(CronRule, &Window)], at: Timestamp) -> bool {
    let inside =
        |(rule, window): &(CronRule, &Window)| end_of(rule, window, at).is_some_and(|end| at < end);
    let allowing = || windows.iter().filter(|(_, window)| window.allow);
    let forbidden = windows.iter().filter(|(_, window)| !window.allow).any(inside);
    !forbidden && (allowing().next().is_none() || allowing().any(inside))
}

/// The end of the newest opening at or before `at`.
fn end_of(rule: &CronRule, window: &Window, at: Timestamp) -> Option<Timestamp> {
    rule.newest(at)?.checked_add(seconds(window.duration_s)).ok()
}

/// The next instant at which this window may open the gate: its beginning if it allows, its end if
/// it forbids.
fn edge_after(rule: &CronRule, window: &Window, at: Timestamp) -> Option<Timestamp> {
    if window.allow {
        return rule.next(at);
    }
    match end_of(rule, window, at) {
        Some(end) if end > at => Some(end),
        _ => rule.next(at)?.checked_add(seconds(window.duration_s)).ok(),
    }
}

/// Seconds of a document as a duration; absurd ones become the longest there is.
pub(crate) fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}
