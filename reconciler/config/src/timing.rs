//! Schedules: reading the rule, the zones, and how far apart its instants can lie. Pure: the
//! instants are counted from a fixed day, never from the present one.

use std::str::FromStr;

use croner::{Cron, Direction};
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZoneDatabase;
use model::desired::When;

use crate::units;

/// Shortest interval: below a minute, one pass would not end before the next begins.
pub const EVERY_S_MIN: u64 = 60;

/// Longest interval of `@every`: a year; `@yearly` or longer is cron's work.
pub const EVERY_S_MAX: u64 = 366 * 86_400;

/// How many instants of a cron rule are looked at for its longest gap. It covers a week of
/// five-minute rules, and so their nights and week-ends.
const GAP_INSTANTS_MAX: usize = 2_100;

/// The day from which instants are counted: a Monday at the beginning of a month, three years
/// before the next 29th of February and one before the last.
fn epoch() -> DateTime {
    date(2025, 9, 1).at(0, 0, 0, 0)
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenError {
    /// Not cron and no known word; with the reason.
    Invalid(String),
    /// It is cron, and no instant fits.
    NeverFires,
    /// `@every` with something that is no duration.
    EveryMalformed,
    /// `@every` outside its limits.
    EveryRange(u64),
}

/// Reads a rule: cron, `@daily` and its like, `@every 1h`, `@never`.
///
/// # Errors
/// When it is none of these, or can never be due.
pub fn when(text: &str) -> Result<When, WhenError> {
    let text = text.trim();
    if text == "@never" {
        return Ok(When::Never);
    }
    if let Some(rest) = text.strip_prefix("@every") {
        let seconds = units::duration_s(rest.trim()).ok_or(WhenError::EveryMalformed)?;
        if !(EVERY_S_MIN..=EVERY_S_MAX).contains(&seconds) {
            return Err(WhenError::EveryRange(seconds));
        }
        return Ok(When::Every { seconds });
    }
    cron(text).map(|_| When::Cron { expression: text.to_owned() })
}

/// Reads a cron expression.
///
/// # Errors
/// When it is none, or can never be due.
pub fn cron(text: &str) -> Result<Cron, WhenError> {
    let fields = text.split_whitespace().count();
    if !text.starts_with('@') && !(5..=6).contains(&fields) {
        let reason = format!("it has {fields} fields; cron has five, or six with seconds first");
        return Err(WhenError::Invalid(reason));
    }
    let cron = Cron::from_str(text).map_err(|error| {
        let words = error.to_string();
        let words = words.strip_prefix("Component error: ").unwrap_or(&words);
        WhenError::Invalid(words.trim_end_matches('.').to_lowercase())
    })?;
    match cron.find_next_occurrence(&epoch(), true) {
        Ok(_) => Ok(cron),
        Err(_) => Err(WhenError::NeverFires),
    }
}

/// Returns the longest time between two instants of a rule in seconds, as far as they were looked
/// at; `None` when it is never due by itself.
pub fn gap_s(when: &When) -> Option<u64> {
    let expression = match when {
        When::Never => return None,
        When::Every { seconds } => return Some(*seconds),
        When::Cron { expression } => expression,
    };
    let cron = cron(expression).ok()?;
    let mut before: Option<DateTime> = None;
    let mut gap = 0;
    for instant in cron.iter_from(epoch(), Direction::Forward).take(GAP_INSTANTS_MAX) {
        if let Some(before) = before {
            let seconds = instant.duration_since(before).as_secs();
            gap = gap.max(u64::try_from(seconds).unwrap_or(0));
        }
        before = Some(instant);
    }
    (gap > 0).then_some(gap)
}

/// Returns whether a text is the IANA name of a time zone, by the database that comes with the
/// program.
pub fn is_time_zone(name: &str) -> bool {
    TimeZoneDatabase::bundled().get(name).is_ok()
}

/// Returns all time zone names, for suggestions.
pub fn time_zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert_eq!(when("@every 1h"), Ok(When::Every { seconds: 3_600 }));
        assert_eq!(when("@every 59s"), Err(WhenError::EveryRange(59)));
        assert_eq!(when("@every 60s"), Ok(When::Every { seconds: 60 }));
        assert_eq!(when("@every soon"), Err(WhenError::EveryMalformed));
        assert_eq!(when("@never"), Ok(When::Never));
        assert_eq!(when("0 0 30 2 *"), Err(WhenError::NeverFires));
        assert!(when("0 0 29 2 *").is_ok());
        assert!(when("@daily").is_ok());
        assert!(matches!(when("hourly"), Err(WhenError::Invalid(_))));
        assert!(matches!(when("61 * * * *"), Err(WhenError::Invalid(_))));
        assert!(matches!(when("* * * * * * *"), Err(WhenError::Invalid(_))));
        assert!(matches!(when(""), Err(WhenError::Invalid(_))));
    }

    #[test]
    fn gaps() {
        let gap = |text: &str| gap_s(&when(text).unwrap());
        assert_eq!(gap("@every 5m"), Some(300));
        assert_eq!(gap("@daily"), Some(86_400));
        assert_eq!(gap("0 3 * * *"), Some(86_400));
        // From Friday 18:55 to Monday 08:00.
        assert_eq!(gap("*/5 8-18 * * 1-5"), Some((2 * 24 + 13) * 3_600 + 300));
        assert_eq!(gap("@never"), None);
    }

    #[test]
    fn zones() {
        assert!(is_time_zone("UTC"));
        assert!(is_time_zone("Europe/Amsterdam"));
        assert!(!is_time_zone("Europe/Amsterdm"));
        assert!(!is_time_zone("CEST"));
    }
}
