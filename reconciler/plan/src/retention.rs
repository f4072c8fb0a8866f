//! Which points of one series stay, which may go, and why. A series is what one `Backup` document
//! made of one resource in one repository. Called by the planner. Semantics: `docs/semantics.md`,
//! "Retention".

mod ahead;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::desired::{Keep, Overlap, Retention};
use model::id::SnapshotId;
use model::text::Text;

use crate::slots::seconds;

/// How many future periods are looked at to say when a point becomes removable. Beyond it no date
/// is given; it would be decades away.
const PERIODS_AHEAD_MAX: u32 = 1000;

/// Whether a point may count toward a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Complete and trusted.
    Good,
    /// Something that was asked for is not in it.
    Incomplete,
    /// Complete, but not trusted.
    Suspicious(Text),
    /// Not made by Mainstay.
    Foreign,
}

/// A point to be judged.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which.
    pub id: &'a SnapshotId,
    /// Its instant.
    pub time: Timestamp,
    /// Its tags.
    pub tags: &'a BTreeSet<String>,
    /// Whether it counts.
    pub standing: Standing,
    /// Its stored bytes were read again.
    pub proven: bool,
    /// What needs it beside the rules, such as a recovery that names it.
    pub pins: Vec<String>,
}

/// What was decided of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub id: SnapshotId,
    /// Its instant.
    pub time: Timestamp,
    /// It stays.
    pub keep: bool,
    /// Why, never empty.
    pub reasons: Vec<String>,
    /// When it becomes removable if every backup of the schedule succeeds from here on.
    pub removable_at: Option<Timestamp>,
}

/// A period of the calendar by which points are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Every point is a period of its own.
    Point,
    /// An hour of UTC, so that the repeated hour of autumn stays two.
    Hour,
    /// A day of the policy's zone.
    Day,
    /// An ISO week.
    Week,
    /// A month.
    Month,
    /// Three months from January on.
    Quarter,
    /// A year.
    Year,
}

impl Period {
    /// Returns the number of the period that an instant lies in; it grows with time.
    pub fn key(self, at: Timestamp, zone: &TimeZone) -> i64 {
        self.key_of(at, || zone.to_datetime(at).date())
    }

    /// [`Period::key`] with a date that is asked for only where it matters.
    fn key_of(self, at: Timestamp, date: impl Fn() -> Date) -> i64 {
        match self {
            Self::Point => at.as_millisecond(),
            Self::Hour => at.as_second().div_euclid(3600),
            Self::Day => day_number(date()),
            // ISO weeks begin on Monday; 1969-12-29 was one.
            Self::Week => (day_number(date()) + 3).div_euclid(7),
            Self::Month => i64::from(date().year()) * 12 + i64::from(date().month()) - 1,
            Self::Quarter => (i64::from(date().year()) * 12 + i64::from(date().month()) - 1) / 3,
            Self::Year => i64::from(date().year()),
        }
    }

    /// The longest that it can be, in seconds; clock changes and leap days count.
    pub(crate) const fn longest_s(self) -> u64 {
        const DAY: u64 = 86_400;
        const CLOCK_CHANGE: u64 = 3600;
        match self {
            Self::Point => 0,
            Self::Hour => 3600,
            Self::Day => DAY + CLOCK_CHANGE,
            Self::Week => 7 * DAY + CLOCK_CHANGE,
            Self::Month => 31 * DAY + CLOCK_CHANGE,
            Self::Quarter => 92 * DAY + CLOCK_CHANGE,
            Self::Year => 366 * DAY + CLOCK_CHANGE,
        }
    }

    /// Returns the last instant of the period in which an instant lies, to the second.
    fn last_second(self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let date = zone.to_datetime(at).date();
        let after = match self {
            Self::Point => return Some(at),
            Self::Hour => {
                return Timestamp::from_second((self.key(at, zone) + 1) * 3600 - 1).ok();
            }
            Self::Day => date.tomorrow().ok()?,
            Self::Week => {
                let left = 7 - i64::from(date.weekday().to_monday_zero_offset());
                date.checked_add(SignedDuration::from_hours(24 * left)).ok()?
            }
            Self::Month => date.last_of_month().tomorrow().ok()?,
            Self::Quarter => {
                let month = (date.month() - 1) / 3 * 3 + 3;
                jiff::civil::date(date.year(), month, 1).last_of_month().tomorrow().ok()?
            }
            Self::Year => date.last_of_year().tomorrow().ok()?,
        };
        let start = zone.to_ambiguous_zoned(after.to_datetime(jiff::civil::Time::midnight()));
        let start = start.compatible().ok()?.timestamp();
        start.checked_sub(SignedDuration::from_secs(1)).ok()
    }
}

fn day_number(date: Date) -> i64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.duration_since(epoch).as_hours().div_euclid(24)
}

/// The rules of a policy that count periods, finest first.
pub fn rules(policy: &Retention) -> [(&'static str, Keep, Period); 7] {
    [
        ("last", policy.last, Period::Point),
        ("hourly", policy.hourly, Period::Hour),
        ("daily", policy.daily, Period::Day),
        ("weekly", policy.weekly, Period::Week),
        ("monthly", policy.monthly, Period::Month),
        ("quarterly", policy.quarterly, Period::Quarter),
        ("yearly", policy.yearly, Period::Year),
    ]
}

/// The rules of a policy that keep the newest point of each period within a span of seconds, finest
/// first.
pub fn within_rules(policy: &Retention) -> [(&'static str, Option<u64>, Period); 6] {
    let each = &policy.within_each;
    [
        ("hourly", each.hourly_s, Period::Hour),
        ("daily", each.daily_s, Period::Day),
        ("weekly", each.weekly_s, Period::Week),
        ("monthly", each.monthly_s, Period::Month),
        ("quarterly", each.quarterly_s, Period::Quarter),
        ("yearly", each.yearly_s, Period::Year),
    ]
}

/// Returns whether a policy keeps nothing by itself; such a policy expires nothing.
pub fn is_empty(policy: &Retention) -> bool {
    let counts = rules(policy).iter().any(|(_, keep, _)| {
        matches!(keep, Keep::Forever) || matches!(keep, Keep::Count(n) if *n > 0)
    });
    let within = within_rules(policy).iter().any(|(_, within_s, _)| within_s.is_some());
    !counts && !within && policy.within_s.is_none() && policy.tags.is_empty()
}

/// Judges a series. `next` gives the first scheduled instant after another, for dates. The answer
/// is sorted by time, then by id.
pub fn judge(
    policy: &Retention,
    series: &[Candidate<'_>],
    now: Timestamp,
    next: &dyn Fn(Timestamp) -> Option<Timestamp>,
) -> Vec<Verdict> {
    let mut verdicts = judged(policy, series, now, Some(next));
    if policy.overlap == Overlap::Separate {
        ahead::date(policy, series, now, next, &mut verdicts);
    }
    verdicts
}

/// Returns what [`judge`] lets go, without working out dates and reasons of what stays.
pub fn removable(policy: &Retention, series: &[Candidate<'_>], now: Timestamp) -> Vec<Verdict> {
    judged(policy, series, now, None)
}

fn judged(
    policy: &Retention,
    series: &[Candidate<'_>],
    now: Timestamp,
    next: Option<Next<'_>>,
) -> Vec<Verdict> {
    let mut series: Vec<&Candidate<'_>> = series.iter().collect();
    series.sort_by(|a, b| (a.time, a.id).cmp(&(b.time, b.id)));
    let zone = crate::slots::cron::zone(&policy.time_zone).unwrap_or(TimeZone::UTC);
    let good: Vec<Dated<'_>> = series
        .iter()
        .rev()
        .filter(|c| c.standing == Standing::Good && c.time <= now)
        .map(|candidate| Dated { candidate, date: zone.to_datetime(candidate.time).date() })
        .collect();
    let mut marks: Vec<Marks> = vec![Marks::new(next.is_some()); good.len()];
    if is_empty(policy) {
        marks.iter_mut().for_each(|m| m.because(|| "the policy has no rule".to_owned(), || None));
    }
    mark_within(policy, &good, &mut marks, now, next);
    for (word, within_s, period) in within_rules(policy) {
        if let Some(within_s) = within_s {
            let rule = Rule { word, keep: Keep::Forever, period, zone: &zone, now, next };
            mark_within_each(&rule, within_s, &good, &mut marks);
        }
    }
    for (word, keep, period) in rules(policy) {
        let rule = Rule { word, keep, period, zone: &zone, now, next };
        mark_rule(&rule, policy.overlap, &good, &mut marks);
    }
    for (good, mark) in good.iter().zip(&mut marks) {
        for tag in good.candidate.tags.intersection(&policy.tags) {
            mark.because(|| format!("tag {tag}"), || None);
        }
    }
    mark_floor(policy, &good, &mut marks);
    let newest_good = good.first().map(|good| (good.candidate.time, good.candidate.id));
    // Both lists hold the good points in the same order, one of them backwards.
    let mut marks = good.iter().zip(&marks).rev().peekable();
    series
        .into_iter()
        .filter_map(|candidate| {
            let mark = marks.next_if(|(good, _)| std::ptr::eq(good.candidate, candidate));
            let mark = mark.map(|(_, mark)| mark);
            if next.is_none() && mark.is_some_and(|mark| mark.kept) {
                return None;
            }
            let verdict = verdict(candidate, mark, newest_good, now);
            (next.is_some() || !verdict.keep).then_some(verdict)
        })
        .collect()
}

/// The first scheduled instant after another.
type Next<'a> = &'a dyn Fn(Timestamp) -> Option<Timestamp>;

/// A good point and its day in the policy's zone.
struct Dated<'a> {
    candidate: &'a Candidate<'a>,
    date: Date,
}

/// Why a good point stays.
#[derive(Clone, Debug)]
struct Marks {
    kept: bool,
    /// Reasons and dates are wanted, not only whether it stays.
    detailed: bool,
    reasons: Vec<String>,
    /// The latest date of all rules; `None` inside: one of them has no date.
    until: Option<Option<Timestamp>>,
}

impl Marks {
    fn new(detailed: bool) -> Self {
        Self { kept: false, detailed, reasons: Vec::new(), until: None }
    }

    fn because(
        &mut self,
        reason: impl FnOnce() -> String,
        until: impl FnOnce() -> Option<Timestamp>,
    ) {
        self.kept = true;
        if !self.detailed {
            return;
        }
        self.reasons.push(reason());
        self.until = Some(match (self.until, until()) {
            (None, until) => until,
            (Some(Some(a)), Some(b)) => Some(a.max(b)),
            _ => None,
        });
    }

    /// A reason that says nothing of dates.
    fn also(&mut self, reason: impl FnOnce() -> String) {
        self.kept = true;
        if self.detailed {
            self.reasons.push(reason());
        }
    }
}

struct Rule<'a> {
    word: &'static str,
    keep: Keep,
    period: Period,
    zone: &'a TimeZone,
    now: Timestamp,
    next: Option<Next<'a>>,
}

/// restic's rule: newest first, a point is kept when it opens another period and there is room; the
/// oldest point of all is kept while there is room, so that a young series keeps its beginning.
/// borg's, where rules do not overlap: what stays already opens its period and takes no room.
fn mark_rule(rule: &Rule<'_>, overlap: Overlap, good: &[Dated<'_>], marks: &mut [Marks]) {
    let room = match rule.keep {
        Keep::Unset | Keep::Count(0) => return,
        Keep::Count(n) => Some(n),
        Keep::Forever => None,
    };
    let mut used = 0u32;
    let mut last = None;
    let key = |good: &Dated<'_>| rule.period.key_of(good.candidate.time, || good.date);
    let newest_key = good.first().map_or(0, key);
    for (i, point) in good.iter().enumerate() {
        if room.is_some_and(|room| used >= room) {
            break;
        }
        let key = match rule.period {
            // Two points of one instant are still two.
            Period::Point => -i64::try_from(i).unwrap_or(i64::MAX),
            _ => key(point),
        };
        let opens = last != Some(key);
        if !opens && i + 1 != good.len() {
            continue;
        }
        last = Some(key);
        if overlap == Overlap::Separate && marks[i].kept {
            continue;
        }
        used += 1;
        let word = rule.word;
        match room {
            None => marks[i].because(|| format!("{word}, for ever"), || None),
            Some(room) => {
                let rank =
                    Rank { newer: used - 1, room, newest_key, opens, oldest: i + 1 == good.len() };
                let oldest = if opens { "" } else { ", as the oldest" };
                marks[i].because(
                    || format!("{word} {used} of {room}{oldest}"),
                    || falls_out(rule, point.candidate.time, rank),
                );
            }
        }
    }
}

/// Where a point stands in a rule.
struct Rank {
    /// Kept periods that are newer.
    newer: u32,
    /// How many periods the rule keeps.
    room: u32,
    /// The period of the newest point of all.
    newest_key: i64,
    /// The point is the newest of its period.
    opens: bool,
    /// It is the oldest of all, so it stays while there is room.
    oldest: bool,
}

/// When a point falls out of a rule: when its own period has a newer point, or when so many newer
/// periods have one that there is no room. One that becomes the oldest later may stay longer.
fn falls_out(rule: &Rule<'_>, time: Timestamp, rank: Rank) -> Option<Timestamp> {
    let next = rule.next?;
    let key = |at| rule.period.key(at, rule.zone);
    let own = key(time);
    let Rank { mut newer, room, mut newest_key, mut opens, oldest } = rank;
    let mut at = next(rule.now)?;
    for _ in 0..PERIODS_AHEAD_MAX {
        if key(at) == own && opens {
            if !oldest {
                return Some(at);
            }
            opens = false;
            newer += 1;
        } else if key(at) != newest_key {
            newest_key = key(at);
            newer += 1;
        }
        if newer >= room {
            return Some(at);
        }
        at = next(rule.period.last_second(at, rule.zone)?)?;
    }
    None
}

fn mark_within(
    policy: &Retention,
    good: &[Dated<'_>],
    marks: &mut [Marks],
    now: Timestamp,
    next: Option<Next<'_>>,
) {
    let (Some(within_s), Some(newest)) = (policy.within_s, good.first()) else { return };
    let newest = newest.candidate.time;
    let within = seconds(within_s);
    for (point, mark) in good.iter().zip(marks) {
        let time = point.candidate.time;
        if newest.duration_since(time) >= within && newest != time {
            continue;
        }
        let date = || leaves(time, within, now, next);
        mark.because(|| format!("within {} of the newest", span(within_s)), date);
    }
}

/// The first slot that lies as far after a point as a span, or further.
fn leaves(
    time: Timestamp,
    within: SignedDuration,
    now: Timestamp,
    next: Option<Next<'_>>,
) -> Option<Timestamp> {
    let end = time.checked_add(within).ok()?.checked_sub(SignedDuration::from_secs(1)).ok()?;
    next?(end.max(now))
}

/// The newest of each period within a span of the newest point; the oldest point of all as well, as
/// every rule that has room keeps it.
fn mark_within_each(rule: &Rule<'_>, within_s: u64, good: &[Dated<'_>], marks: &mut [Marks]) {
    let Some(newest) = good.first().map(|good| good.candidate.time) else { return };
    let within = seconds(within_s);
    let mut last = None;
    for (i, point) in good.iter().enumerate() {
        let time = point.candidate.time;
        if newest.duration_since(time) >= within && newest != time {
            break;
        }
        let key = rule.period.key_of(time, || point.date);
        let opens = last != Some(key);
        let oldest = i + 1 == good.len();
        last = Some(key);
        if !opens && !oldest {
            continue;
        }
        let date = || {
            let at = rule.next?(rule.now)?;
            let replaced = !oldest && rule.period.key(at, rule.zone) == key;
            if replaced { Some(at) } else { leaves(time, within, rule.now, rule.next) }
        };
        let word = rule.word;
        marks[i].because(|| format!("{word} within {} of the newest", span(within_s)), date);
    }
}

/// The newest proven point stays, and never fewer than `at_least` points do.
fn mark_floor(policy: &Retention, good: &[Dated<'_>], marks: &mut [Marks]) {
    if let Some(i) = good.iter().position(|good| good.candidate.proven) {
        marks[i].also(|| "newest proven point".to_owned());
    }
    for (good, mark) in good.iter().zip(marks.iter_mut()) {
        for pin in &good.candidate.pins {
            mark.also(|| pin.clone());
        }
    }
    let at_least = policy.at_least.max(1) as usize;
    let mut kept = marks.iter().filter(|m| m.kept).count();
    for mark in marks.iter_mut() {
        if kept >= at_least {
            break;
        }
        if !mark.kept {
            mark.also(|| format!("at least {at_least}"));
            kept += 1;
        }
    }
}

fn verdict(
    candidate: &Candidate<'_>,
    mark: Option<&Marks>,
    newest_good: Option<(Timestamp, &SnapshotId)>,
    now: Timestamp,
) -> Verdict {
    let newer_good = newest_good.is_some_and(|newest| newest > (candidate.time, candidate.id));
    let (keep, mut reasons, removable_at) = match (mark, &candidate.standing) {
        (Some(mark), _) if mark.kept => (true, mark.reasons.clone(), mark.until.flatten()),
        (Some(_), _) => (false, vec!["no rule keeps it".to_owned()], None),
        (None, _) if candidate.time > now => {
            (true, vec!["stamped in the future: no rule looks at it".to_owned()], None)
        }
        (None, Standing::Incomplete) if newer_good => {
            (false, vec!["incomplete, and a newer complete point exists".to_owned()], None)
        }
        (None, Standing::Incomplete) => {
            (true, vec!["incomplete, kept until a newer complete point exists".to_owned()], None)
        }
        (None, Standing::Suspicious(why)) if newer_good => {
            (false, vec![format!("suspicious ({why}), and a newer trusted point exists")], None)
        }
        (None, Standing::Suspicious(why)) => {
            (true, vec![format!("suspicious ({why}): waits for a person")], None)
        }
        (None, Standing::Foreign | Standing::Good) => {
            (true, vec!["not made by Mainstay".to_owned()], None)
        }
    };
    let pinned = mark.is_none() && !candidate.pins.is_empty();
    if pinned {
        if !keep {
            reasons.clear();
        }
        reasons.extend(candidate.pins.iter().cloned());
    }
    Verdict {
        id: candidate.id.clone(),
        time: candidate.time,
        keep: keep || pinned,
        reasons,
        removable_at,
    }
}

/// Seconds in the largest unit that divides them.
pub(crate) fn span(seconds: u64) -> String {
    for (unit, length) in [("w", 604_800), ("d", 86_400), ("h", 3600), ("min", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{} {unit}", seconds / length);
        }
    }
    format!("{seconds} s")
}
