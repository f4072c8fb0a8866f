//! Our account of restic's retention against restic itself: the same snapshots, the same options,
//! the same points kept.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_plan::simulate::ResticPolicy;

/// The zone in which restic runs, with a clock change in the middle of the series.
const ZONE: &str = "Europe/Berlin";

/// When the snapshots were made, in civil time of [`ZONE`]; two of one day, a week and a month
/// apart, around New Year (whose ISO week belongs to the old year) and through the night in
/// October.
const TIMES: [&str; 20] = [
    "2024-11-30 23:30:00",
    "2024-12-01 00:30:00",
    "2024-12-29 22:00:00",
    "2024-12-30 22:00:00",
    "2025-01-01 22:00:00",
    "2025-01-31 12:00:00",
    "2025-03-29 12:00:00",
    "2025-03-30 01:30:00",
    "2025-03-30 03:30:00",
    "2025-06-30 23:59:59",
    "2025-07-01 00:00:00",
    "2025-10-25 23:15:00",
    "2025-10-26 01:15:00",
    "2025-10-26 04:15:00",
    "2025-10-26 04:45:00",
    "2025-10-26 05:15:00",
    "2025-10-27 00:05:00",
    "2025-10-27 23:55:00",
    "2025-10-28 10:00:00",
    "2025-10-28 10:30:00",
];

fn restic(folder: &Path, words: &[&str]) -> String {
    let output = mainstay_tests::restic()
        .command()
        .args(words)
        .env("RESTIC_REPOSITORY", folder.join("repository"))
        .env("RESTIC_PASSWORD", "x")
        .env("RESTIC_CACHE_DIR", folder.join("cache"))
        .env("TZ", ZONE)
        .output()
        .expect("restic can be run");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("restic speaks UTF-8")
}

/// What restic would keep.
fn kept_by_restic(folder: &Path, policy: &ResticPolicy) -> BTreeSet<Timestamp> {
    let mut words = vec!["forget", "--dry-run", "--json", "--group-by", ""];
    let options = policy.options();
    words.extend(options.iter().map(String::as_str));
    let text = restic(folder, &words);
    let line = text.lines().find(|line| line.starts_with('[')).expect("a list of groups");
    let groups: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "one group");
    let times = groups[0]["keep"].as_array().expect("snapshots").iter();
    times.map(|s| s["time"].as_str().expect("a time").parse().expect("RFC 3339")).collect()
}

#[test]
fn our_account_of_restic_is_what_restic_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    restic(folder.path(), &["init"]);
    let zone = TimeZone::get(ZONE).expect("a zone");
    let tags = [BTreeSet::new(), BTreeSet::from(["pinned".to_owned()])];
    let mut points = Vec::new();
    for (n, time) in TIMES.iter().enumerate() {
        let tagged = n % 7 == 3;
        let mut words = vec!["backup", "--quiet", "--host", "h", "--time", time];
        if tagged {
            words.extend(["--tag", "pinned"]);
        }
        words.push(data.to_str().expect("UTF-8"));
        restic(folder.path(), &words);
        let civil: jiff::civil::DateTime = time.parse().expect("a civil time");
        let at = zone.to_ambiguous_zoned(civil).compatible().expect("an instant").timestamp();
        points.push((at, &tags[usize::from(tagged)]));
    }
    // After all of them: none lies in the future.
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("an instant");
    let none = ResticPolicy::default;
    let each = |within_each_h| ResticPolicy { within_each_h, ..none() };
    let policies = [
        ResticPolicy { last: 3, ..none() },
        ResticPolicy { hourly: 4, ..none() },
        ResticPolicy { daily: 5, ..none() },
        ResticPolicy { daily: 50, ..none() },
        ResticPolicy { weekly: 4, ..none() },
        ResticPolicy { weekly: -1, ..none() },
        ResticPolicy { monthly: 6, ..none() },
        ResticPolicy { yearly: 1, ..none() },
        ResticPolicy { yearly: -1, hourly: 2, ..none() },
        ResticPolicy { within_h: Some(60), ..none() },
        ResticPolicy { within_h: Some(58), last: 1, ..none() },
        each([Some(3), None, None, None, None]),
        each([None, Some(60), None, None, None]),
        each([None, None, Some(24 * 70), None, None]),
        each([None, None, None, Some(24 * 200), None]),
        each([Some(2), Some(49), None, Some(24 * 400), Some(24 * 800)]),
        ResticPolicy { tags: BTreeSet::from(["pinned".to_owned()]), ..none() },
        ResticPolicy { daily: 2, weekly: 2, monthly: 3, yearly: -1, ..none() },
    ];
    for policy in policies {
        let ours = policy.keeps(&points, &zone, now);
        let theirs = kept_by_restic(folder.path(), &policy);
        assert_eq!(ours, theirs, "{:?}", policy.options());
        assert!(!ours.is_empty(), "{:?} keeps something", policy.options());
    }
}
