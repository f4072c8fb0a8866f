//! Tests of slots: expressions, clock changes through whole years against a slow reference, jitter,
//! deadlines, windows.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::desired::{Schedule, When, Window};
use proptest::prelude::*;

use super::cron::{CronRule, CronRuleError};
use super::{Calendar, Dueness, MISSED_MAX, Opening, Slot, jitter_s, opening};
use crate::testing::{address, at, cases, every, name};

fn rule(expression: &str, zone: &str) -> CronRule {
    CronRule::new(expression, zone).unwrap()
}

/// The first `n` instants after another, as text in the zone.
fn firings(expression: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let rule = rule(expression, zone);
    let zone = TimeZone::get(zone).unwrap();
    let mut cursor = at(after);
    let mut out = Vec::new();
    for _ in 0..n {
        let Some(next) = rule.next(cursor) else { break };
        out.push(next.to_zoned(zone.clone()).strftime("%a %m-%d %H:%M:%S %:z").to_string());
        cursor = next;
    }
    out
}

#[test]
fn fields_names_lists_steps_last_and_nth() {
    let first = |expression| firings(expression, "UTC", "2026-11-20T12:00:30Z", 2);
    assert_eq!(first("5 * * * *"), ["Fri 11-20 12:05:00 +00:00", "Fri 11-20 13:05:00 +00:00"]);
    assert_eq!(
        first("*/20 8-10 * * *"),
        ["Sat 11-21 08:00:00 +00:00", "Sat 11-21 08:20:00 +00:00"]
    );
    assert_eq!(
        first("0 3,15 * * MON-WED"),
        ["Mon 11-23 03:00:00 +00:00", "Mon 11-23 15:00:00 +00:00"]
    );
    assert_eq!(first("0 0 L * *"), ["Mon 11-30 00:00:00 +00:00", "Thu 12-31 00:00:00 +00:00"]);
    assert_eq!(first("0 0 * * FRI#2"), ["Fri 12-11 00:00:00 +00:00", "Fri 01-08 00:00:00 +00:00"]);
    assert_eq!(first("0 0 * * FRI#L"), ["Fri 11-27 00:00:00 +00:00", "Fri 12-25 00:00:00 +00:00"]);
    assert_eq!(first("0 0 1 JAN *"), ["Fri 01-01 00:00:00 +00:00", "Sat 01-01 00:00:00 +00:00"]);
    assert_eq!(first("30 0 12 * * *"), ["Sat 11-21 12:00:30 +00:00", "Sun 11-22 12:00:30 +00:00"]);
    assert_eq!(first("@hourly"), ["Fri 11-20 13:00:00 +00:00", "Fri 11-20 14:00:00 +00:00"]);
    assert_eq!(first("@midnight"), ["Sat 11-21 00:00:00 +00:00", "Sun 11-22 00:00:00 +00:00"]);
    assert_eq!(first("@weekly"), ["Sun 11-22 00:00:00 +00:00", "Sun 11-29 00:00:00 +00:00"]);
    // As in cron, either of two given days is enough.
    assert_eq!(first("0 0 13 * FRI"), ["Fri 11-27 00:00:00 +00:00", "Fri 12-04 00:00:00 +00:00"]);
}

#[test]
fn what_cannot_be_read_says_why() {
    for bad in ["", "* * * *", "61 * * * *", "* * * * * * *", "@sometimes", "a b c d e"] {
        assert!(
            matches!(CronRule::new(bad, "UTC"), Err(CronRuleError::Expression { .. })),
            "{bad}"
        );
    }
    assert!(matches!(CronRule::new("@daily", "Europe/Nowhere"), Err(CronRuleError::Zone(_))));
}

#[test]
fn a_rule_that_never_fires_ends_the_search() {
    let never = rule("0 0 30 2 *", "Europe/Berlin");
    assert_eq!(never.next(at("2026-01-01T00:00:00Z")), None);
    assert_eq!(never.newest(at("2026-01-01T00:00:00Z")), None);
    let leap = rule("0 0 29 2 *", "Europe/Berlin");
    assert_eq!(leap.next(at("2026-01-01T00:00:00Z")), Some(at("2028-02-28T23:00:00Z")));
    assert_eq!(leap.newest(at("2026-01-01T00:00:00Z")), Some(at("2024-02-28T23:00:00Z")));
}

#[test]
fn a_time_in_the_gap_fires_right_after_it() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00.
    assert_eq!(
        firings("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["Sun 03-29 03:00:00 +02:00", "Mon 03-30 02:30:00 +02:00"]
    );
    assert_eq!(
        firings("30 2,14 * * *", "Europe/Berlin", "2026-03-28T22:00:00Z", 2),
        ["Sun 03-29 03:00:00 +02:00", "Sun 03-29 14:30:00 +02:00"],
        "a list of hours is a fixed time too"
    );
    assert_eq!(
        firings("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
        ["Sun 03-29 01:30:00 +01:00", "Sun 03-29 03:00:00 +02:00", "Sun 03-29 03:30:00 +02:00"]
    );
}

#[test]
fn a_fixed_time_in_the_repeated_hour_fires_once_and_an_interval_goes_on() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00.
    assert_eq!(
        firings("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["Sun 10-25 02:30:00 +02:00", "Mon 10-26 02:30:00 +01:00"]
    );
    assert_eq!(
        firings("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
        ["Sun 10-25 02:30:00 +02:00", "Sun 10-25 02:30:00 +01:00", "Sun 10-25 03:30:00 +01:00"]
    );
    assert_eq!(
        firings("0 3 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 1),
        ["Sun 10-25 03:00:00 +01:00"],
        "the first minute after the repeated hour is not in it"
    );
}

#[test]
fn a_half_hour_change_is_no_exception() {
    // Lord Howe, 2026-10-04: 02:00 becomes 02:30; 2026-04-05: 02:00 becomes 01:30.
    assert_eq!(
        firings("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 1),
        ["Sun 10-04 02:30:00 +11:00"]
    );
    assert_eq!(
        firings("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T10:00:00Z", 2),
        ["Sun 04-05 01:45:00 +11:00", "Mon 04-06 01:45:00 +10:30"]
    );
}

/// What the rule should do between two instants, step by step: the slow reference. It walks real
/// time and looks at the wall clock, as cron does, and knows of clock changes only that the wall
/// clock jumped.
fn reference(
    minutes: &[i8],
    hours: &[i8],
    fixed: bool,
    zone: &TimeZone,
    (start, end): (Timestamp, Timestamp),
    step: SignedDuration,
) -> Vec<Timestamp> {
    let matches =
        |t: jiff::civil::DateTime| minutes.contains(&t.minute()) && hours.contains(&t.hour());
    let mut out: Vec<Timestamp> = Vec::new();
    let mut wall = zone.to_datetime(start);
    // The furthest that the wall clock has been: a fixed time does not fire twice.
    let mut furthest = wall.checked_sub(step).unwrap();
    let mut instant = start;
    while instant < end {
        let here = zone.to_datetime(instant);
        let mut fires = matches(here) && (!fixed || here > furthest);
        if fixed && here.duration_since(wall) > step {
            let mut skipped = wall + step;
            while skipped < here {
                fires |= matches(skipped);
                skipped += step;
            }
        }
        if fires {
            out.push(instant);
        }
        furthest = furthest.max(here);
        wall = here;
        instant += step;
    }
    out
}

fn midnight(year: i16, zone: &TimeZone) -> Timestamp {
    jiff::civil::date(year, 1, 1).to_zoned(zone.clone()).unwrap().timestamp()
}

fn list(values: &[i8]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn whole_years_in_several_zones_agree_with_the_slow_reference() {
    let every_hour: Vec<i8> = (0..24).collect();
    let half: Vec<i8> = vec![0, 30];
    let cases: [(&str, &[i8], &[i8], bool); 5] = [
        ("30 2", &[30], &[2], true),
        ("15 1,2,3", &[15], &[1, 2, 3], true),
        ("0 0", &[0], &[0], true),
        ("*/30 *", &half, &every_hour, false),
        ("45 *", &[45], &every_hour, false),
    ];
    // Berlin and New York change by an hour, Lord Howe by half of one, Cairo at midnight,
    // Casablanca goes back for one month; Apia and Kolkata stay.
    let zones = [
        ("Europe/Berlin", 2026),
        ("America/New_York", 2026),
        ("Australia/Lord_Howe", 2026),
        ("Africa/Cairo", 2026),
        ("Africa/Casablanca", 2026),
        ("Asia/Kolkata", 2026),
    ];
    for (zone_name, year) in zones {
        let zone = TimeZone::get(zone_name).unwrap();
        for (fields, minutes, hours, fixed) in cases {
            let span = (midnight(year, &zone), midnight(year + 1, &zone));
            // Every case fires, and every zone changes, at a quarter of an hour.
            let step = SignedDuration::from_mins(15);
            let expected = reference(minutes, hours, fixed, &zone, span, step);
            let rule = rule(&format!("{fields} * * *"), zone_name);
            let start = span.0;
            let mut cursor = start - SignedDuration::from_secs(1);
            for (n, instant) in expected.iter().enumerate() {
                let next = rule.next(cursor).unwrap();
                assert_eq!(next, *instant, "{fields} in {zone_name} after {cursor}");
                let before = next - SignedDuration::from_secs(1);
                // Intervals fire so often that every fifteenth says enough about looking back.
                if cursor >= start && (fixed || n % 15 == 0) {
                    assert_eq!(rule.newest(next), Some(next), "{fields} in {zone_name}");
                    assert_eq!(rule.newest(before), Some(cursor), "{fields} in {zone_name}");
                }
                cursor = next;
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    /// Any fixed lists agree with the reference in the months of clock changes.
    #[test]
    fn random_fixed_times_agree_with_the_slow_reference(
        minutes in prop::collection::btree_set(0i8..60, 1..4),
        hours in prop::collection::btree_set(0i8..5, 1..4),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/Sao_Paulo", "Africa/Cairo"]),
        year in 2016i16..2027,
    ) {
        let (minutes, hours): (Vec<i8>, Vec<i8>) =
            (minutes.into_iter().collect(), hours.into_iter().collect());
        let tz = TimeZone::get(zone).unwrap();
        let rule = rule(&format!("{} {} * * *", list(&minutes), list(&hours)), zone);
        let year_end = midnight(year + 1, &tz);
        for change in tz.following(midnight(year, &tz)).take_while(|t| t.timestamp() < year_end) {
            let around = SignedDuration::from_hours(30);
            let span = (change.timestamp() - around, change.timestamp() + around);
            let step = SignedDuration::from_mins(1);
            let mut cursor = span.0 - SignedDuration::from_secs(1);
            for instant in reference(&minutes, &hours, true, &tz, span, step) {
                let next = rule.next(cursor);
                prop_assert_eq!(next, Some(instant), "{:?} {:?} after {}", minutes, hours, cursor);
                cursor = instant;
            }
        }
    }

    /// `newest` and `next` are each other's inverse at any instant.
    #[test]
    fn newest_and_next_enclose_any_instant(
        second in 1_700_000_000i64..1_900_000_000,
        expression in prop::sample::select(vec![
            "30 2 * * *", "*/7 * * * *", "0 0 L * *", "0 12 * * SUN#1", "15 */3 1,15 * *", "@yearly",
        ]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    ) {
        let rule = rule(expression, zone);
        let now = Timestamp::from_second(second).unwrap();
        let newest = rule.newest(now).unwrap();
        let next = rule.next(now).unwrap();
        prop_assert!(newest <= now && now < next);
        prop_assert_eq!(rule.next(newest), Some(next));
        prop_assert_eq!(rule.newest(next - SignedDuration::from_secs(1)), Some(newest));
    }
}

#[test]
fn an_interval_is_anchored_at_the_epoch() {
    let schedule = every(7 * 3600);
    let calendar = Calendar::new(&schedule);
    let newest = calendar.newest(at("2026-11-20T12:00:00Z")).unwrap();
    assert_eq!(newest.as_second() % (7 * 3600), 0);
    assert_eq!(calendar.next(newest), Some(newest + SignedDuration::from_hours(7)));
}

#[test]
fn due_is_what_was_not_served() {
    let schedule = every(3600);
    let calendar = Calendar::new(&schedule);
    let now = at("2026-11-20T12:30:00Z");
    let slot = |text: &str, missed| Dueness::Due(Slot { at: at(text), missed });
    let twelve = "2026-11-20T12:00:00Z";
    assert_eq!(calendar.due(None, 0, now), slot(twelve, 0));
    assert_eq!(calendar.due(Some(at(twelve)), 0, now), Dueness::NotDue);
    assert_eq!(calendar.due(Some(at("2026-11-20T11:00:00Z")), 0, now), slot(twelve, 0));
    assert_eq!(calendar.due(Some(at("2026-11-20T08:00:00Z")), 0, now), slot(twelve, 3));
    assert_eq!(calendar.due(Some(at("2020-11-20T08:00:00Z")), 0, now), slot(twelve, MISSED_MAX));
    // The clock went back: what is ahead was served, and nothing is served twice.
    assert_eq!(calendar.due(Some(at("2026-11-20T13:00:00Z")), 0, now), Dueness::NotDue);
}

#[test]
fn cron_and_interval_count_missed_slots_alike() {
    let cron = Schedule { when: When::Cron { expression: "0 * * * *".to_owned() }, ..every(0) };
    let interval = every(3600);
    let (cron, interval) = (Calendar::new(&cron), Calendar::new(&interval));
    let now = at("2026-11-20T12:30:00Z");
    for hours in [1, 2, 30, 2000] {
        let served = Some(at("2026-11-20T12:00:00Z") - SignedDuration::from_hours(hours));
        assert_eq!(cron.due(served, 0, now), interval.due(served, 0, now), "{hours}");
    }
}

#[test]
fn jitter_delays_all_but_the_first_slot() {
    let schedule = every(3600);
    let calendar = Calendar::new(&schedule);
    let served = Some(at("2026-11-20T11:00:00Z"));
    assert_eq!(calendar.due(served, 600, at("2026-11-20T12:09:59Z")), Dueness::NotDue);
    let due = Dueness::Due(Slot { at: at("2026-11-20T12:00:00Z"), missed: 0 });
    assert_eq!(calendar.due(served, 600, at("2026-11-20T12:10:00Z")), due);
    assert_eq!(calendar.due(None, 600, at("2026-11-20T12:00:00Z")), due);
    let next = calendar.next_due(600, at("2026-11-20T12:09:59Z"));
    assert_eq!(next, Some(at("2026-11-20T12:10:00Z")));
}

#[test]
fn jitter_is_stable_bounded_and_spread() {
    let of = |i: usize| jitter_s(&address(&format!("shop/r{i}")), &name("b"), 599);
    assert_eq!(of(1), of(1));
    let all: Vec<u64> = (0..1000).map(of).collect();
    assert!(all.iter().all(|j| *j <= 599));
    let early = all.iter().filter(|j| **j < 300).count();
    assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    assert_eq!(jitter_s(&address("a/b"), &name("b"), 0), 0);
}

#[test]
fn a_deadline_counts_from_the_jittered_instant() {
    let schedule = Schedule { deadline_s: Some(60), ..every(3600) };
    let calendar = Calendar::new(&schedule);
    let served = Some(at("2026-11-20T11:00:00Z"));
    let due = |now: &str| calendar.due(served, 600, at(now));
    assert!(matches!(due("2026-11-20T12:11:00Z"), Dueness::Due(_)));
    assert!(matches!(due("2026-11-20T12:11:01Z"), Dueness::TooLate(_)));
}

#[test]
fn a_schedule_that_cannot_be_read_or_never_fires_is_never_due() {
    for when in [
        When::Never,
        When::Every { seconds: 0 },
        When::Every { seconds: u64::MAX },
        When::Cron { expression: "nonsense".to_owned() },
    ] {
        let schedule = Schedule { when, ..every(1) };
        assert_eq!(
            Calendar::new(&schedule).due(None, 0, at("2026-11-20T12:00:00Z")),
            Dueness::NotDue
        );
    }
}

fn window(opens: &str, hours: u64, allow: bool) -> Window {
    Window { opens: opens.to_owned(), duration_s: hours * 3600, time_zone: "UTC".to_owned(), allow }
}

#[test]
fn windows_allow_and_forbid() {
    let open = |windows: &[Window], now: &str| opening(windows, at(now)) == Opening::Open;
    let night = [window("0 22 * * *", 6, true)];
    assert!(open(&[], "2026-11-20T12:00:00Z"));
    assert!(open(&night, "2026-11-20T22:00:00Z"));
    assert!(open(&night, "2026-11-21T03:59:59Z"));
    assert!(!open(&night, "2026-11-21T04:00:00Z"));
    let not_noon = [window("0 12 * * *", 1, false)];
    assert!(!open(&not_noon, "2026-11-20T12:59:59Z"));
    assert!(open(&not_noon, "2026-11-20T13:00:00Z"));
    let both = [window("0 22 * * *", 6, true), window("0 23 * * *", 1, false)];
    assert!(open(&both, "2026-11-20T22:30:00Z"));
    assert!(!open(&both, "2026-11-20T23:30:00Z"));
}

#[test]
fn a_closed_window_says_when_it_opens() {
    let opens = |windows: &[Window], now: &str| match opening(windows, at(now)) {
        Opening::Closed { opens } => opens,
        Opening::Open => panic!("open"),
    };
    let night = window("0 22 * * *", 6, true);
    assert_eq!(
        opens(std::slice::from_ref(&night), "2026-11-20T12:00:00Z"),
        Some(at("2026-11-20T22:00:00Z"))
    );
    let late = [night.clone(), window("0 21 * * *", 2, false)];
    assert_eq!(opens(&late, "2026-11-20T12:00:00Z"), Some(at("2026-11-20T23:00:00Z")));
    let never = [night, window("0 0 * * *", 24, false)];
    assert_eq!(opens(&never, "2026-11-20T12:00:00Z"), None);
    let unread = [window("nonsense", 6, true)];
    assert_eq!(opens(&unread, "2026-11-20T12:00:00Z"), None, "what was meant to limit limits");
}
