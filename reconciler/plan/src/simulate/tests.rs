//! Tests of horizon and simulation.

use jiff::tz::TimeZone;
use model::desired::{Keep, Overlap, Retention, Schedule, When, WithinEach};
use proptest::prelude::*;

use super::{Horizon, horizon, simulate};
use crate::testing::{at, cases, every, keep_last};

fn gfs() -> Retention {
    Retention {
        last: Keep::Unset,
        daily: Keep::Count(7),
        weekly: Keep::Count(4),
        monthly: Keep::Count(12),
        yearly: Keep::Forever,
        ..keep_last(0)
    }
}

fn nightly() -> Schedule {
    Schedule { when: When::Cron { expression: "0 1 * * *".to_owned() }, ..every(0) }
}

#[test]
fn grandfather_father_son_over_three_years() {
    let (from, until) = (at("2023-01-01T00:00:00Z"), at("2026-01-01T12:00:00Z"));
    let run = simulate(&gfs(), &nightly(), from, until, &TimeZone::UTC);
    assert_eq!(run.slots, 1097);
    let settled = &run.frames[400..];
    let counts = settled.iter().map(|f| f.points);
    assert_eq!((counts.clone().min(), counts.max()), (Some(20), Some(24)));
    assert_eq!(run.horizon, Horizon::Forever);
    assert_eq!(run.left[0].at, at("2023-01-01T01:00:00Z"));
    assert!(run.left.iter().all(|left| !left.reasons.is_empty()));
    assert_eq!(run.restic.differs, 0, "restic rules alike where days are days of UTC");
}

#[test]
fn the_horizon_in_words() {
    let start = at("2026-01-01T00:00:00Z");
    let day = 86_400;
    let of = |policy: Retention| horizon(&policy, &every(3600), start);
    assert_eq!(of(keep_last(25)), Horizon::Seconds(day));
    assert_eq!(
        of(Retention { within_s: Some(2 * day), ..keep_last(0) }),
        Horizon::Seconds(2 * day - 3600)
    );
    let weekly = Retention { weekly: Keep::Count(4), ..keep_last(0) };
    assert_eq!(of(weekly), Horizon::Seconds(2 * (7 * day - 3600)));
    let none = Retention { last: Keep::Unset, ..keep_last(0) };
    assert_eq!(of(none), Horizon::Forever, "a policy without a rule keeps everything");
}

#[test]
fn restic_merges_the_repeated_hour_of_autumn() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let policy = Retention { hourly: Keep::Count(6), last: Keep::Unset, ..keep_last(0) };
    let (from, until) = (at("2026-10-24T12:00:00Z"), at("2026-10-25T06:00:00Z"));
    let run = simulate(&policy, &every(3600), from, until, &berlin);
    let first = &run.restic.first[0];
    // 01:00Z is the second 02:00 of that night: restic takes both for one hour.
    assert_eq!(first.at, at("2026-10-25T01:00:00Z"));
    assert_eq!(first.only_ours, [at("2026-10-25T00:00:00Z")]);
    let utc = simulate(&policy, &every(3600), from, until, &TimeZone::UTC);
    assert_eq!(utc.restic.differs, 0);
}

#[test]
fn what_restic_cannot_say_is_said() {
    let policy = Retention { quarterly: Keep::Count(4), at_least: 3, ..keep_last(2) };
    let (restic, cannot) = super::ResticPolicy::nearest(&policy);
    assert_eq!(restic.options(), ["--keep-last", "2"]);
    assert_eq!(cannot.len(), 2);
    let (from, until) = (at("2026-01-01T00:00:00Z"), at("2026-03-01T00:00:00Z"));
    let run = simulate(&policy, &every(86_400), from, until, &TimeZone::UTC);
    assert!(run.restic.differs > 50, "two points are not three: {}", run.restic.differs);
}

#[test]
fn a_schedule_with_too_many_slots_ends_early_and_says_so() {
    let (from, until) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z"));
    let run = simulate(&keep_last(2), &every(900), from, until, &TimeZone::UTC);
    assert!(run.truncated);
    assert_eq!(run.slots, super::SLOTS_MAX);
    let text = crate::render::simulation(&keep_last(2), &run, &TimeZone::UTC).to_plain();
    assert!(text.contains("it ends early"), "{text}");
}

proptest! {
    #![proptest_config(cases(24))]

    /// Once a series is old enough, one can always go back at least to the horizon.
    #[test]
    fn the_horizon_is_kept(
        counts in prop::collection::vec(0u32..5, 4),
        within_days in 0u64..9,
        each_days in prop::collection::vec(prop_oneof![2 => Just(0u64), 1 => 1u64..90], 3),
        interval_h in prop::sample::select(vec![6u64, 24, 30]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin"]),
        separate in prop::bool::weighted(0.3),
    ) {
        let policy = Retention {
            daily: Keep::Count(counts[1]),
            weekly: Keep::Count(counts[2]),
            monthly: Keep::Count(counts[3]),
            within_s: (within_days > 0).then_some(within_days * 86_400),
            within_each: WithinEach {
                daily_s: (each_days[0] > 0).then_some(each_days[0] * 86_400),
                weekly_s: (each_days[1] > 0).then_some(each_days[1] * 86_400),
                monthly_s: (each_days[2] > 0).then_some(each_days[2] * 86_400),
                ..WithinEach::default()
            },
            overlap: if separate { Overlap::Separate } else { Overlap::Shared },
            time_zone: zone.to_owned(),
            ..keep_last(counts[0])
        };
        let from = at("2025-06-01T00:00:00Z");
        let until = at("2026-06-01T00:00:00Z");
        let run = simulate(&policy, &every(interval_h * 3600), from, until, &TimeZone::UTC);
        let Horizon::Seconds(promised) = run.horizon else { return Ok(()) };
        for frame in &run.frames {
            let age = frame.at.duration_since(from).as_secs() as u64;
            if age > promised + 3 * 86_400 {
                prop_assert!(frame.oldest_s >= promised, "{frame:?} of {policy:?}");
            }
        }
    }
}
