//! What restic's `forget` would keep, as restic's documentation says ("Removing snapshots according
//! to a policy"), written apart from our own rules, so that the two can be compared. A test holds
//! it against restic itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::ISOWeekDate;
use jiff::tz::TimeZone;
use model::desired::{Keep, Retention};
use serde::{Deserialize, Serialize};

use crate::slots::seconds;

/// The options of `restic forget`. Counts: 0 is not given, -1 is `unlimited`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResticPolicy {
    /// `--keep-last`.
    pub last: i64,
    /// `--keep-hourly`.
    pub hourly: i64,
    /// `--keep-daily`.
    pub daily: i64,
    /// `--keep-weekly`.
    pub weekly: i64,
    /// `--keep-monthly`.
    pub monthly: i64,
    /// `--keep-yearly`.
    pub yearly: i64,
    /// `--keep-within`, in hours.
    pub within_h: Option<u64>,
    /// `--keep-within-hourly`, `-daily`, `-weekly`, `-monthly` and `-yearly`, in hours.
    pub within_each_h: [Option<u64>; 5],
    /// `--keep-tag`, one option each.
    pub tags: BTreeSet<String>,
}

/// The periods of the options that keep the newest of each within a span.
const EACH: [&str; 5] = ["hourly", "daily", "weekly", "monthly", "yearly"];

impl ResticPolicy {
    /// Returns the options that come nearest to a policy of ours, and what they cannot say.
    pub fn nearest(policy: &Retention) -> (Self, Vec<String>) {
        let count = |keep: Keep| match keep {
            Keep::Unset => 0,
            Keep::Count(n) => i64::from(n),
            Keep::Forever => -1,
        };
        let mut cannot = Vec::new();
        if count(policy.quarterly) != 0 {
            cannot.push("restic has no quarterly rule".to_owned());
        }
        if policy.at_least > 1 {
            cannot.push(format!("restic has no floor such as atLeast: {}", policy.at_least));
        }
        if !policy.overlap.is_shared() {
            cannot.push("restic's rules overlap: it keeps fewer points".to_owned());
        }
        let each = &policy.within_each;
        if each.quarterly_s.is_some() {
            cannot.push("restic has no quarterly rule".to_owned());
        }
        let each = [each.hourly_s, each.daily_s, each.weekly_s, each.monthly_s, each.yearly_s];
        let within_h = policy.within_s.map(|s| s.div_ceil(3600));
        if each.iter().chain(&[policy.within_s]).flatten().any(|s| s % 3600 != 0) {
            cannot.push("restic counts `within` in whole hours: rounded up".to_owned());
        }
        let restic = Self {
            last: count(policy.last),
            hourly: count(policy.hourly),
            daily: count(policy.daily),
            weekly: count(policy.weekly),
            monthly: count(policy.monthly),
            yearly: count(policy.yearly),
            within_h,
            within_each_h: each.map(|s| s.map(|s| s.div_ceil(3600))),
            tags: policy.tags.clone(),
        };
        (restic, cannot)
    }

    /// Returns the options as words of a command line.
    pub fn options(&self) -> Vec<String> {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        let mut words = Vec::new();
        for (name, count) in counts {
            match count {
                0 => {}
                -1 => words.extend([format!("--keep-{name}"), "unlimited".to_owned()]),
                n => words.extend([format!("--keep-{name}"), n.to_string()]),
            }
        }
        if let Some(hours) = self.within_h {
            words.extend(["--keep-within".to_owned(), format!("{hours}h")]);
        }
        for (name, hours) in EACH.iter().zip(self.within_each_h) {
            let Some(hours) = hours else { continue };
            words.extend([format!("--keep-within-{name}"), format!("{hours}h")]);
        }
        for tag in &self.tags {
            words.extend(["--keep-tag".to_owned(), tag.clone()]);
        }
        words
    }

    /// Whether no option is given; restic then refuses.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns which of the points of one group stay. `points` in any order, each with its tags;
    /// `zone` is that of the machine which made them: restic stores times with it and reads days,
    /// and hours too, in it.
    pub fn keeps(
        &self,
        points: &[(Timestamp, &BTreeSet<String>)],
        zone: &TimeZone,
        now: Timestamp,
    ) -> BTreeSet<Timestamp> {
        let mut newest_first = points.to_vec();
        newest_first.sort_by_key(|point| std::cmp::Reverse(point.0));
        if self.is_empty() {
            return newest_first.into_iter().map(|(at, _)| at).collect();
        }
        // Snapshots of the future do not move the base of `within`; every other rule counts them.
        let latest = newest_first.iter().map(|(at, _)| *at).find(|at| *at <= now);
        let mut buckets: Vec<Bucket> =
            vec![Bucket::new(self.last, |_, nr| i64::try_from(nr).unwrap_or(i64::MAX))];
        let counts = [self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        buckets.extend(counts.into_iter().zip(KEYS).map(|(count, key)| Bucket::new(count, key)));
        let mut within = KEYS.map(|key| Bucket::new(-1, key));
        let mut kept = BTreeSet::new();
        for (nr, (at, tags)) in newest_first.iter().enumerate() {
            let oldest = nr + 1 == newest_first.len();
            let mut keep = self.tags.iter().any(|tag| tags.contains(tag));
            if let (Some(hours), Some(latest)) = (self.within_h, latest) {
                let begin = latest.checked_sub(seconds(hours * 3600));
                keep |= begin.map_or(true, |begin| *at > begin);
            }
            let civil = zone.to_datetime(*at);
            for bucket in &mut buckets {
                keep |= bucket.takes(civil, nr, oldest);
            }
            for (bucket, hours) in within.iter_mut().zip(self.within_each_h) {
                let (Some(hours), Some(latest)) = (hours, latest) else { continue };
                let begin = latest.checked_sub(seconds(hours * 3600));
                if begin.map_or(true, |begin| *at > begin) {
                    keep |= bucket.takes(civil, nr, oldest);
                }
            }
            if keep {
                kept.insert(*at);
            }
        }
        kept
    }
}

fn day_of(at: jiff::civil::DateTime) -> i64 {
    i64::from(at.year()) * 10_000 + i64::from(at.month()) * 100 + i64::from(at.day())
}

/// The key of the period in which a civil time lies.
type Key = fn(jiff::civil::DateTime, usize) -> i64;

/// Hours, days, weeks, months and years.
const KEYS: [Key; 5] = [
    |t, _| day_of(t) * 100 + i64::from(t.hour()),
    |t, _| day_of(t),
    |t, _| {
        let week = ISOWeekDate::from(t.date());
        i64::from(week.year()) * 100 + i64::from(week.week())
    },
    |t, _| i64::from(t.year()) * 100 + i64::from(t.month()),
    |t, _| i64::from(t.year()),
];

/// One counting rule as it goes along.
struct Bucket {
    left: i64,
    last: Option<i64>,
    key: Key,
}

impl Bucket {
    fn new(count: i64, key: Key) -> Self {
        Self { left: count, last: None, key }
    }

    /// The newest of each period is kept; the oldest snapshot of all too, while there is room.
    fn takes(&mut self, at: jiff::civil::DateTime, nr: usize, oldest: bool) -> bool {
        if self.left == 0 {
            return false;
        }
        let key = (self.key)(at, nr);
        if self.last == Some(key) && !oldest {
            return false;
        }
        self.last = Some(key);
        if self.left > 0 {
            self.left -= 1;
        }
        true
    }
}
