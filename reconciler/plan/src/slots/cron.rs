//! Cron rules on a time line with clock changes. Called by `slots` for schedules and windows, and
//! by `config` to tell rules that never fire.
//!
//! croner finds matches on the civil calendar; the clock changes are ours. croner's own rule skips
//! a list such as `30 2,14 * * *` in the gap, because it takes only a single hour and minute for a
//! fixed time. cronie, which is copied here, calls a time fixed when neither the minute nor the
//! hour field begins with `*`.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// How many stretches between clock changes a search looks at: two a year for forty years, so that
/// every rule that fires at all is found, and a rule that never fires ends the search.
const STRETCHES_MAX: usize = 80;

/// Why a text is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronRuleError {
    /// The fields cannot be read.
    #[error("`{expression}` is not a cron rule: {detail}")]
    Expression {
        /// The text.
        expression: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The zone is not in the time zone database.
    #[error("`{0}` is not a time zone: use an IANA name such as `Europe/Berlin`")]
    Zone(String),
}

/// A cron rule in a time zone.
#[derive(Clone, Debug)]
pub struct CronRule {
    cron: Cron,
    zone: TimeZone,
    fixed: bool,
}

/// A stretch of time with one offset from UTC.
struct Stretch {
    start: Option<Timestamp>,
    offset: Offset,
    /// The offset before `start`.
    before: Offset,
    end: Option<Timestamp>,
}

/// Returns the zone of an IANA name.
pub fn zone(name: &str) -> Result<TimeZone, CronRuleError> {
    TimeZone::get(name).map_err(|_| CronRuleError::Zone(name.to_owned()))
}

impl CronRule {
    /// Reads five or six fields, or `@yearly`, `@monthly`, `@weekly`, `@daily`, `@midnight`,
    /// `@hourly`.
    pub fn new(expression: &str, zone_name: &str) -> Result<Self, CronRuleError> {
        let bad = |detail: String| CronRuleError::Expression {
            expression: expression.to_owned(),
            detail,
        };
        let text = match expression.trim() {
            "@midnight" => "@daily",
            text => text,
        };
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| bad(error.to_string()))?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        // Minute and hour are the two fields before the last three.
        let fixed = match fields.len() {
            n @ (5 | 6) => !fields[n - 5].starts_with('*') && !fields[n - 4].starts_with('*'),
            _ => text != "@hourly",
        };
        Ok(Self { cron, zone: zone(zone_name)?, fixed })
    }

    /// Returns the newest instant of the rule at or before `at`.
    pub fn newest(&self, at: Timestamp) -> Option<Timestamp> {
        let mut upper = floor(at);
        for _ in 0..STRETCHES_MAX {
            let stretch = self.stretch(upper);
            let start = stretch.start;
            let civil = stretch.offset.to_datetime(upper);
            // Without any earlier match, earlier stretches have none either.
            let found = stretch.offset.to_timestamp(self.previous_civil(civil)?).ok();
            let found = found.filter(|found| start.is_none_or(|start| *found >= start));
            if let Some(found) = found.filter(|found| !self.is_repeat(&stretch, *found)) {
                return Some(found);
            }
            let start = start?;
            if self.fires_in_gap(&stretch, start) {
                return Some(start);
            }
            upper = start.checked_sub(SignedDuration::from_secs(1)).ok()?;
        }
        None
    }

    /// Returns the first instant of the rule after `at`.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let mut lower = floor(at).checked_add(SignedDuration::from_secs(1)).ok()?;
        for _ in 0..STRETCHES_MAX {
            let stretch = self.stretch(lower);
            if stretch.start == Some(lower) && self.fires_in_gap(&stretch, lower) {
                return Some(lower);
            }
            let from = self.after_repeat(&stretch).map_or(lower, |free| free.max(lower));
            // Without any later match, later stretches have none either.
            let civil = self.next_civil(stretch.offset.to_datetime(from))?;
            let found = stretch.offset.to_timestamp(civil).ok();
            let found = found.filter(|found| stretch.end.is_none_or(|end| *found < end));
            if found.is_some() {
                return found;
            }
            lower = stretch.end?;
        }
        None
    }

    fn stretch(&self, at: Timestamp) -> Stretch {
        let just_after = at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let start = self.zone.preceding(just_after).next().map(|t| t.timestamp());
        let end = self.zone.following(at).next().map(|t| t.timestamp());
        let offset = self.zone.to_offset(at);
        let before = start
            .and_then(|start| start.checked_sub(SignedDuration::from_secs(1)).ok())
            .map_or(offset, |just_before| self.zone.to_offset(just_before));
        Stretch { start, offset, before, end }
    }

    /// Where the clock went back, a fixed time does not fire again in the repeated hour; this is
    /// the end of that hour.
    fn after_repeat(&self, stretch: &Stretch) -> Option<Timestamp> {
        let repeated = i64::from(stretch.before.seconds()) - i64::from(stretch.offset.seconds());
        if !self.fixed || repeated <= 0 {
            return None;
        }
        stretch.start?.checked_add(SignedDuration::from_secs(repeated)).ok()
    }

    fn is_repeat(&self, stretch: &Stretch, found: Timestamp) -> bool {
        self.after_repeat(stretch).is_some_and(|free| found < free)
    }

    /// Where the clock went forward, a fixed time inside the gap fires right after it.
    fn fires_in_gap(&self, stretch: &Stretch, start: Timestamp) -> bool {
        let skipped = stretch.offset.seconds() - stretch.before.seconds();
        if !self.fixed || skipped <= 0 {
            return false;
        }
        let gap_start = stretch.before.to_datetime(start);
        let gap_end = stretch.offset.to_datetime(start);
        self.next_civil(gap_start).is_some_and(|civil| civil < gap_end)
    }

    fn previous_civil(&self, civil: DateTime) -> Option<DateTime> {
        let from = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(self.cron.find_previous_occurrence(&from, true).ok()?.datetime())
    }

    fn next_civil(&self, civil: DateTime) -> Option<DateTime> {
        let from = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(self.cron.find_next_occurrence(&from, true).ok()?.datetime())
    }
}

/// Whole seconds: no rule is finer.
fn floor(at: Timestamp) -> Timestamp {
    let second = if at.subsec_nanosecond() < 0 { at.as_second() - 1 } else { at.as_second() };
    Timestamp::from_second(second).unwrap_or(at)
}
