//! Tests of retention, with a slow reference that shares no code with the rules.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::desired::{Keep, Overlap, Retention, WithinEach};
use model::id::SnapshotId;
use proptest::prelude::*;

use super::{Candidate, Standing, Verdict, judge};
use crate::slots::Calendar;
use crate::testing::{at, cases, every, keep_last, snapshot};

/// A point of a test, owned.
#[derive(Clone, Debug)]
struct Given {
    id: SnapshotId,
    time: Timestamp,
    tags: BTreeSet<String>,
    standing: Standing,
    proven: bool,
}

fn given(number: usize, time: Timestamp) -> Given {
    Given {
        id: snapshot(&format!("{number:04x}")),
        time,
        tags: BTreeSet::new(),
        standing: Standing::Good,
        proven: true,
    }
}

fn verdicts(policy: &Retention, points: &[Given], now: Timestamp, interval_s: u64) -> Vec<Verdict> {
    let schedule = every(interval_s);
    let calendar = Calendar::new(&schedule);
    judge(policy, &candidates(points), now, &|at| calendar.next(at))
}

/// Without dates: without a schedule there are none.
fn undated(policy: &Retention, points: &[Given]) -> Vec<Verdict> {
    judge(policy, &candidates(points), at(NOW), &|_| None)
}

fn candidates(points: &[Given]) -> Vec<Candidate<'_>> {
    points
        .iter()
        .map(|g| Candidate {
            id: &g.id,
            time: g.time,
            tags: &g.tags,
            standing: g.standing.clone(),
            proven: g.proven,
            pins: Vec::new(),
        })
        .collect()
}

fn kept(verdicts: &[Verdict]) -> Vec<String> {
    verdicts.iter().filter(|v| v.keep).map(|v| v.time.to_string()).collect()
}

fn none() -> Retention {
    Retention { last: Keep::Unset, ..keep_last(0) }
}

fn series(times: &[&str]) -> Vec<Given> {
    times.iter().enumerate().map(|(i, t)| given(i, at(t))).collect()
}

const NOW: &str = "2026-11-20T12:00:00Z";

#[test]
fn one_point_can_fill_several_rules() {
    let points = series(&[
        "2026-10-31T01:00:00Z",
        "2026-11-18T01:00:00Z",
        "2026-11-19T01:00:00Z",
        "2026-11-20T01:00:00Z",
        "2026-11-20T11:00:00Z",
    ]);
    let policy = Retention { daily: Keep::Count(2), monthly: Keep::Count(2), ..none() };
    let verdicts = verdicts(&policy, &points, at(NOW), 3600);
    let text: Vec<String> = verdicts
        .iter()
        .map(|v| format!("{} {} {}", v.time, v.keep, v.reasons.join(", ")))
        .collect();
    assert_eq!(
        text,
        [
            "2026-10-31T01:00:00Z true monthly 2 of 2",
            "2026-11-18T01:00:00Z false no rule keeps it",
            "2026-11-19T01:00:00Z true daily 2 of 2",
            "2026-11-20T01:00:00Z false no rule keeps it",
            "2026-11-20T11:00:00Z true daily 1 of 2, monthly 1 of 2, newest proven point",
        ]
    );
}

#[test]
fn the_repeated_hour_is_two_hours_and_days_are_of_the_zone() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00.
    let points = series(&["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T22:30:00Z"]);
    let zone = "Europe/Berlin".to_owned();
    let hourly = Retention { hourly: Keep::Count(9), time_zone: zone.clone(), ..none() };
    assert_eq!(kept(&verdicts(&hourly, &points, at(NOW), 3600)).len(), 3);
    let late = series(&["2026-11-18T22:30:00Z", "2026-11-18T23:30:00Z", "2026-11-19T22:30:00Z"]);
    let daily = Retention { daily: Keep::Count(2), time_zone: zone, ..none() };
    assert_eq!(
        kept(&verdicts(&daily, &late, at(NOW), 3600)),
        ["2026-11-18T22:30:00Z", "2026-11-19T22:30:00Z"],
        "23:30Z of the 18th is the 19th in Berlin"
    );
}

#[test]
fn the_oldest_stays_while_there_is_room() {
    let points = series(&["2026-11-20T01:00:00Z", "2026-11-20T02:00:00Z", "2026-11-20T03:00:00Z"]);
    let daily = |n| Retention { daily: Keep::Count(n), ..none() };
    assert_eq!(
        kept(&verdicts(&daily(2), &points, at(NOW), 3600)),
        ["2026-11-20T01:00:00Z", "2026-11-20T03:00:00Z"]
    );
    assert_eq!(kept(&verdicts(&daily(1), &points, at(NOW), 3600)), ["2026-11-20T03:00:00Z"]);
}

#[test]
fn within_counts_from_the_newest_point_so_a_pause_lets_nothing_go() {
    let points = series(&["2026-06-01T00:00:00Z", "2026-06-09T00:00:00Z", "2026-06-10T00:00:00Z"]);
    let policy = Retention { within_s: Some(2 * 86_400), ..none() };
    assert_eq!(
        kept(&verdicts(&policy, &points, at(NOW), 3600)),
        ["2026-06-09T00:00:00Z", "2026-06-10T00:00:00Z"]
    );
}

#[test]
fn within_each_keeps_the_newest_of_each_period_of_a_span() {
    let points = series(&[
        "2026-06-06T22:00:00Z",
        "2026-06-08T05:00:00Z",
        "2026-06-08T22:00:00Z",
        "2026-06-09T05:00:00Z",
        "2026-06-09T22:00:00Z",
        "2026-06-10T22:00:00Z",
    ]);
    let within_each = WithinEach { daily_s: Some(2 * 86_400 + 1), ..WithinEach::default() };
    let policy = Retention { within_each, ..none() };
    assert_eq!(
        kept(&verdicts(&policy, &points, at(NOW), 3600)),
        ["2026-06-08T22:00:00Z", "2026-06-09T22:00:00Z", "2026-06-10T22:00:00Z"]
    );
    let edge = WithinEach { daily_s: Some(2 * 86_400), ..WithinEach::default() };
    let policy = Retention { within_each: edge, ..none() };
    assert_eq!(
        kept(&verdicts(&policy, &points, at(NOW), 3600)),
        ["2026-06-09T22:00:00Z", "2026-06-10T22:00:00Z"]
    );
}

#[test]
fn a_point_of_the_future_takes_nobodys_place_and_stays() {
    let mut points = series(&["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"]);
    points.push(given(9, at("2031-01-01T00:00:00Z")));
    let policy = Retention { within_s: Some(2 * 86_400), ..keep_last(1) };
    let verdicts = verdicts(&policy, &points, at(NOW), 3600);
    assert!(verdicts.iter().all(|v| v.keep));
    assert_eq!(verdicts[2].reasons, ["stamped in the future: no rule looks at it"]);
}

/// The policy of the example in borg's manual, with one point a day of a year.
#[test]
fn a_point_is_counted_once_where_rules_do_not_overlap() {
    let mut points = Vec::new();
    let mut time = at("2015-01-01T10:00:00Z");
    while time < at("2016-01-02T00:00:00Z") {
        points.push(given(points.len(), time));
        time += SignedDuration::from_hours(24);
    }
    let policy = Retention {
        daily: Keep::Count(14),
        monthly: Keep::Count(6),
        yearly: Keep::Count(1),
        overlap: Overlap::Separate,
        ..none()
    };
    let verdicts = verdicts(&policy, &points, at(NOW), 86_400);
    let days: Vec<String> = kept(&verdicts).iter().map(|time| time[..10].to_owned()).collect();
    let mut expected = vec!["2015-01-01".to_owned()];
    let months = ["06-30", "07-31", "08-31", "09-30", "10-31", "11-30"];
    expected.extend(months.map(|day| format!("2015-{day}")));
    expected.extend((19..=31).map(|day| format!("2015-12-{day}")));
    expected.push("2016-01-01".to_owned());
    assert_eq!(days, expected);
    assert_eq!(verdicts[0].reasons, ["yearly 1 of 1, as the oldest"]);
}

#[test]
fn incomplete_and_suspicious_points_take_nobodys_place() {
    let mut points = series(&[
        "2026-11-17T00:00:00Z",
        "2026-11-18T00:00:00Z",
        "2026-11-19T00:00:00Z",
        "2026-11-20T00:00:00Z",
        "2026-11-20T01:00:00Z",
    ]);
    points[1].standing = Standing::Incomplete;
    points[3].standing = Standing::Incomplete;
    points[4].standing = Standing::Suspicious("shrank".into());
    let verdicts = verdicts(&keep_last(2), &points, at(NOW), 3600);
    let keeps: Vec<bool> = verdicts.iter().map(|v| v.keep).collect();
    assert_eq!(keeps, [true, false, true, true, true]);
    assert_eq!(verdicts[3].reasons, ["incomplete, kept until a newer complete point exists"]);
}

#[test]
fn a_policy_without_a_rule_keeps_everything_and_foreign_points_stay() {
    let mut points = series(&["2026-11-17T00:00:00Z", "2026-11-18T00:00:00Z"]);
    assert_eq!(kept(&verdicts(&none(), &points, at(NOW), 3600)).len(), 2);
    points[0].standing = Standing::Foreign;
    assert_eq!(kept(&verdicts(&keep_last(1), &points, at(NOW), 3600)).len(), 2);
}

#[test]
fn tags_floor_and_for_ever() {
    let mut points = series(&[
        "2024-01-01T00:00:00Z",
        "2025-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
        "2026-03-01T00:00:00Z",
    ]);
    points[3].tags.insert("release".to_owned());
    let tagged = Retention { tags: BTreeSet::from(["release".to_owned()]), ..none() };
    assert_eq!(
        kept(&verdicts(&tagged, &points, at(NOW), 3600)),
        ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    );
    let floor = Retention { at_least: 3, ..keep_last(1) };
    assert_eq!(kept(&verdicts(&floor, &points, at(NOW), 3600)).len(), 3);
    let yearly = Retention { yearly: Keep::Forever, ..none() };
    assert_eq!(
        kept(&verdicts(&yearly, &points, at(NOW), 3600)),
        ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    );
}

// ---- the slow reference ----

/// The name of the period in which an instant lies, as a calendar prints it.
fn period_name(rule: &str, time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    match rule {
        "hourly" => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H").to_string(),
        "daily" => zoned.strftime("%Y-%m-%d").to_string(),
        "weekly" => zoned.strftime("%G-%V").to_string(),
        "monthly" => zoned.strftime("%Y-%m").to_string(),
        "quarterly" => format!("{} {}", zoned.year(), (zoned.month() + 2) / 3),
        "yearly" => zoned.strftime("%Y").to_string(),
        _ => format!("{time}"),
    }
}

/// What stays although no rule looks at it.
fn whatever_the_rules_say(
    points: &[Given],
    good: &[&Given],
    now: Timestamp,
) -> BTreeSet<SnapshotId> {
    let newer = |a: &Given, b: &Given| (a.time, &a.id) > (b.time, &b.id);
    let mut keep = BTreeSet::new();
    for point in points {
        let newer_good = good.iter().any(|g| newer(g, point));
        let stays = match point.standing {
            Standing::Good => point.time > now,
            Standing::Foreign => true,
            Standing::Incomplete | Standing::Suspicious(_) => point.time > now || !newer_good,
        };
        if stays {
            keep.insert(point.id.clone());
        }
    }
    keep
}

fn spans(policy: &Retention) -> [(&'static str, Option<u64>); 6] {
    let each = &policy.within_each;
    [
        ("hourly", each.hourly_s),
        ("daily", each.daily_s),
        ("weekly", each.weekly_s),
        ("monthly", each.monthly_s),
        ("quarterly", each.quarterly_s),
        ("yearly", each.yearly_s),
    ]
}

/// The rules that count periods, each after the finer ones.
fn count_periods(
    policy: &Retention,
    good: &[&Given],
    key: &dyn Fn(&str, &Given) -> String,
    keep: &mut BTreeSet<SnapshotId>,
) {
    let newer = |a: &Given, b: &Given| (a.time, &a.id) > (b.time, &b.id);
    let rules = [
        ("last", policy.last),
        ("hourly", policy.hourly),
        ("daily", policy.daily),
        ("weekly", policy.weekly),
        ("monthly", policy.monthly),
        ("quarterly", policy.quarterly),
        ("yearly", policy.yearly),
    ];
    for (rule, count) in rules {
        let room = match count {
            Keep::Unset => continue,
            Keep::Count(n) => n as usize,
            Keep::Forever => usize::MAX,
        };
        // What finer rules and spans keep counts only where rules overlap.
        let taken = match policy.overlap {
            Overlap::Shared => BTreeSet::new(),
            Overlap::Separate => keep.clone(),
        };
        for point in good.iter().filter(|g| !taken.contains(&g.id)) {
            let same = |g: &Given| key(rule, g) == key(rule, point);
            let newest_of_period = !good.iter().any(|g| newer(g, point) && same(g));
            let oldest = !good.iter().any(|g| newer(point, g));
            let counted: BTreeSet<String> = good
                .iter()
                .filter(|g| newer(g, point) && !taken.contains(&g.id))
                .filter(|g| !good.iter().any(|h| newer(h, g) && key(rule, h) == key(rule, g)))
                .map(|g| key(rule, g))
                .collect();
            if (newest_of_period || oldest) && counted.len() < room {
                keep.insert(point.id.clone());
            }
        }
    }
}

/// Which points stay, by the sentences of `docs/semantics.md`, each point for itself.
fn reference(policy: &Retention, points: &[Given], now: Timestamp) -> BTreeSet<SnapshotId> {
    let zone = TimeZone::get(&policy.time_zone).unwrap();
    let good: Vec<&Given> =
        points.iter().filter(|g| g.standing == Standing::Good && g.time <= now).collect();
    let newer = |a: &Given, b: &Given| (a.time, &a.id) > (b.time, &b.id);
    let key = |rule: &str, g: &Given| {
        let id = if rule == "last" { g.id.to_string() } else { String::new() };
        format!("{} {id}", period_name(rule, g.time, &zone))
    };
    let mut keep: BTreeSet<SnapshotId> = BTreeSet::new();
    let mut tagged: BTreeSet<SnapshotId> = BTreeSet::new();
    for point in &good {
        let newest = good.iter().map(|g| g.time).max().unwrap();
        for (rule, span) in spans(policy) {
            let Some(span) = span.map(|s| SignedDuration::from_secs(s as i64)) else { continue };
            let inside = newest.duration_since(point.time) < span || newest == point.time;
            let newest_of_period =
                !good.iter().any(|g| newer(g, point) && key(rule, g) == key(rule, point));
            let oldest = !good.iter().any(|g| newer(point, g));
            if inside && (newest_of_period || oldest) {
                keep.insert(point.id.clone());
            }
        }
        let within = policy.within_s.map(|s| SignedDuration::from_secs(s as i64));
        if within.is_some_and(|w| newest.duration_since(point.time) < w || newest == point.time) {
            keep.insert(point.id.clone());
        }
        if !point.tags.is_disjoint(&policy.tags) {
            tagged.insert(point.id.clone());
        }
    }
    count_periods(policy, &good, &key, &mut keep);
    keep.append(&mut tagged);
    let mut sorted = good.clone();
    sorted.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    if super::is_empty(policy) {
        keep.extend(good.iter().map(|g| g.id.clone()));
    }
    keep.extend(sorted.iter().find(|g| g.proven).map(|g| g.id.clone()));
    for point in &sorted {
        if keep.len() < policy.at_least.max(1) as usize {
            keep.insert(point.id.clone());
        }
    }
    keep.extend(whatever_the_rules_say(points, &good, now));
    keep
}

fn any_keep() -> impl Strategy<Value = Keep> {
    prop_oneof![
        3 => Just(Keep::Unset),
        4 => (0u32..6).prop_map(Keep::Count),
        1 => Just(Keep::Forever),
    ]
}

fn any_policy() -> impl Strategy<Value = Retention> {
    (
        prop::collection::vec(any_keep(), 7),
        prop::option::weighted(0.3, 0u64..40 * 86_400),
        prop::collection::vec(prop::option::weighted(0.15, 0u64..400 * 86_400), 6),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.4),
        0u32..5,
        prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    )
        .prop_map(|(keeps, within_s, each, tagged, separate, at_least, zone)| Retention {
            name: "any".to_owned(),
            last: keeps[0],
            hourly: keeps[1],
            daily: keeps[2],
            weekly: keeps[3],
            monthly: keeps[4],
            quarterly: keeps[5],
            yearly: keeps[6],
            within_s,
            within_each: WithinEach {
                hourly_s: each[0],
                daily_s: each[1],
                weekly_s: each[2],
                monthly_s: each[3],
                quarterly_s: each[4],
                yearly_s: each[5],
            },
            overlap: if separate { Overlap::Separate } else { Overlap::Shared },
            tags: if tagged { BTreeSet::from(["pin".to_owned()]) } else { BTreeSet::new() },
            at_least,
            time_zone: zone.to_owned(),
        })
}

fn any_points() -> impl Strategy<Value = Vec<Given>> {
    let step = prop_oneof![
        0u64..7200,
        0u64..86_400 * 3,
        Just(3600u64),
        Just(86_400u64),
        0u64..86_400 * 200,
    ];
    let point = (step, 0u8..12, prop::bool::weighted(0.1), prop::bool::weighted(0.7));
    prop::collection::vec(point, 0..40).prop_map(|steps| {
        // Backwards from two days ahead, so that some lie in the future.
        let mut time = at(NOW) + SignedDuration::from_hours(48);
        steps
            .into_iter()
            .enumerate()
            .map(|(i, (back, kind, tagged, proven))| {
                time -= SignedDuration::from_secs(back as i64);
                let mut point = given(i, time);
                point.proven = proven;
                if tagged {
                    point.tags.insert("pin".to_owned());
                }
                point.standing = match kind {
                    0 => Standing::Incomplete,
                    1 => Standing::Suspicious("shrank".into()),
                    2 => Standing::Foreign,
                    _ => Standing::Good,
                };
                point
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(cases(768))]

    /// The rules keep exactly what the slow reference keeps.
    #[test]
    fn rules_agree_with_the_slow_reference(policy in any_policy(), points in any_points()) {
        let verdicts = undated(&policy, &points);
        let kept: BTreeSet<SnapshotId> =
            verdicts.iter().filter(|v| v.keep).map(|v| v.id.clone()).collect();
        prop_assert_eq!(kept, reference(&policy, &points, at(NOW)));
        prop_assert!(verdicts.iter().all(|v| !v.reasons.is_empty()));
    }

    /// What may go stays gone: judging what stays removes nothing more at the same instant.
    #[test]
    fn judging_twice_removes_nothing_more(policy in any_policy(), points in any_points()) {
        let first = undated(&policy, &points);
        let left: Vec<Given> = points
            .iter()
            .filter(|g| first.iter().any(|v| v.id == g.id && v.keep))
            .cloned()
            .collect();
        let second = undated(&policy, &left);
        prop_assert!(second.iter().all(|v| v.keep), "{:#?}", second);
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// A point becomes removable at the announced instant when every backup succeeds until then,
    /// and never before; one that was the oldest of all meanwhile may stay longer.
    #[test]
    fn the_announced_date_is_the_date(
        counts in prop::collection::vec(prop_oneof![Just(0u32), 0u32..4], 5),
        each in prop::collection::vec(prop_oneof![2 => Just(0u64), 1 => 1u64..20], 3),
        interval_h in prop::sample::select(vec![5u64, 12, 24, 36]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin"]),
        separate in prop::bool::weighted(0.3),
        past in 1usize..30,
    ) {
        let policy = Retention {
            last: Keep::Count(counts[0]),
            daily: Keep::Count(counts[1]),
            weekly: Keep::Count(counts[2]),
            monthly: Keep::Count(counts[3]),
            within_s: (counts[4] > 0).then_some(u64::from(counts[4]) * 86_400),
            within_each: WithinEach {
                daily_s: (each[0] > 0).then_some(each[0] * 86_400),
                weekly_s: (each[1] > 0).then_some(each[1] * 86_400),
                monthly_s: (each[2] > 0).then_some(each[2] * 86_400),
                ..WithinEach::default()
            },
            overlap: if separate { Overlap::Separate } else { Overlap::Shared },
            time_zone: zone.to_owned(),
            ..none()
        };
        prop_assume!(!super::is_empty(&policy));
        let interval_s = interval_h * 3600;
        let schedule = every(interval_s);
        let calendar = Calendar::new(&schedule);
        // A past in which every backup succeeded and was expired in time.
        let mut points: Vec<Given> = Vec::new();
        let mut now = at("2026-10-01T00:00:00Z");
        let mut number = 0;
        let advance = |points: &mut Vec<Given>, now: &mut Timestamp, number: &mut usize| {
            *now = calendar.next(*now).unwrap();
            points.push(given(*number, *now));
            *number += 1;
            let goes = super::removable(&policy, &candidates(points), *now);
            let goes: BTreeSet<SnapshotId> = goes.into_iter().map(|v| v.id).collect();
            points.retain(|g| !goes.contains(&g.id));
        };
        for _ in 0..past {
            advance(&mut points, &mut now, &mut number);
        }
        let promised: Vec<(SnapshotId, Option<Timestamp>)> =
            verdicts(&policy, &points, now, interval_s)
                .into_iter()
                .map(|v| (v.id, v.removable_at))
                .collect();
        let mut oldest: BTreeSet<SnapshotId> = BTreeSet::new();
        for _ in 0..120 {
            oldest.extend(points.first().map(|g| g.id.clone()));
            let before: BTreeSet<SnapshotId> = points.iter().map(|g| g.id.clone()).collect();
            advance(&mut points, &mut now, &mut number);
            let after: BTreeSet<SnapshotId> = points.iter().map(|g| g.id.clone()).collect();
            for (id, date) in &promised {
                if !before.contains(id) || after.contains(id) {
                    continue;
                }
                let Some(date) = date else {
                    prop_assert!(false, "{} goes without a date: {policy:?}", id.short());
                    continue;
                };
                prop_assert!(*date <= now, "{} goes before {date}: {policy:?}", id.short());
                if !oldest.contains(id) {
                    prop_assert_eq!(*date, now, "{} of {:?}", id.short(), policy);
                }
            }
        }
    }
}
