//! The next days of all schedules: how many backups of how many bytes each repository, host and
//! link has to bear, and in which hour most. Called by `whatif schedules`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::desired::Desired;
use model::id::Address;
use model::observed::{Observation, Observed};
use serde::{Deserialize, Serialize};

use crate::slots::{Calendar, jitter_s, seconds};
use crate::view::View;

/// Most slots that one forecast runs through: a thousand resources, each hour of a month.
pub const FORECAST_SLOTS_MAX: usize = 1_000_000;

/// What comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// From this instant.
    pub from: Timestamp,
    /// To this one.
    pub until: Timestamp,
    /// Backups in all.
    pub slots: u64,
    /// There were more than [`FORECAST_SLOTS_MAX`]; what is here is too little.
    pub truncated: bool,
    /// By repository: what is written to it.
    pub repositories: BTreeMap<String, Load>,
    /// By target, as `host/NAME`: what is read from it.
    pub targets: BTreeMap<String, Load>,
    /// By link, as `host/NAME → REPOSITORY`: what goes over it at most, before known data is left
    /// out.
    pub links: BTreeMap<String, Load>,
    /// Resources whose size is not known; their backups count, their bytes do not.
    pub unknown_sizes: Vec<Address>,
    /// Backups that no clock starts.
    pub never: Vec<String>,
}

/// What one thing has to bear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Backups.
    pub backups: u64,
    /// Bytes of the sources that are looked at; what is new of them is less.
    pub bytes: u64,
    /// The hour in which most bytes (among equals: most backups) begin.
    pub busiest_hour: Option<Timestamp>,
    /// How many backups begin in it.
    pub busiest_backups: u64,
    /// Of how many bytes.
    pub busiest_bytes: u64,
    /// The longest time without any, in seconds.
    pub longest_gap_s: u64,
}

#[derive(Default)]
struct Hours {
    /// Backups and bytes by hour.
    by_hour: BTreeMap<i64, (u64, u64)>,
    instants: Vec<Timestamp>,
}

/// Runs all schedules for a time. Sizes are those of the newest receipts, else of the probes.
pub fn forecast(desired: &Desired, observed: &Observed, now: Timestamp, days: u32) -> Forecast {
    let view = View::new(desired, observed, now);
    let until = now.checked_add(seconds(u64::from(days) * 86_400)).unwrap_or(Timestamp::MAX);
    let mut all: [BTreeMap<String, Hours>; 3] = Default::default();
    let mut forecast = Forecast {
        from: now,
        until,
        slots: 0,
        truncated: false,
        repositories: BTreeMap::new(),
        targets: BTreeMap::new(),
        links: BTreeMap::new(),
        unknown_sizes: Vec::new(),
        never: Vec::new(),
    };
    for resource in desired.resources.values() {
        let bytes = size(&view, &resource.address);
        let target = resource.target.to_string();
        let mut backed_up = false;
        for backup in view.backups(&resource.address) {
            let calendar = Calendar::new(&backup.schedule);
            let jitter = jitter_s(&resource.address, &backup.name, backup.schedule.jitter_s);
            let mut at = calendar.next_due(jitter, now);
            while let Some(due) = at.filter(|due| *due <= until) {
                backed_up = true;
                for repository in &backup.repositories {
                    if forecast.slots as usize >= FORECAST_SLOTS_MAX {
                        forecast.truncated = true;
                        break;
                    }
                    forecast.slots += 1;
                    let link = format!("{target} → {repository}");
                    for (map, key) in
                        all.iter_mut().zip([repository.to_string(), target.clone(), link])
                    {
                        map.entry(key).or_default().add(due, bytes.unwrap_or(0));
                    }
                }
                at = if forecast.truncated { None } else { calendar.next_due(jitter, due) };
            }
        }
        if backed_up && bytes.is_none() {
            forecast.unknown_sizes.push(resource.address.clone());
        }
    }
    for backup in desired.backups.values() {
        if Calendar::new(&backup.schedule).next(now).is_none() {
            forecast.never.push(backup.name.to_string());
        }
    }
    let [repositories, targets, links] = all.map(|map| {
        map.into_iter()
            .map(|(key, hours)| (key, hours.load(now, until)))
            .collect::<BTreeMap<_, _>>()
    });
    Forecast { repositories, targets, links, ..forecast }
}

impl Hours {
    fn add(&mut self, at: Timestamp, bytes: u64) {
        let hour = self.by_hour.entry(at.as_second().div_euclid(3600)).or_default();
        hour.0 += 1;
        hour.1 = hour.1.saturating_add(bytes);
        self.instants.push(at);
    }

    fn load(mut self, from: Timestamp, until: Timestamp) -> Load {
        // The earliest of the equally busy hours.
        let busiest = self.by_hour.iter().max_by_key(|(hour, (n, bytes))| (*bytes, *n, -**hour));
        self.instants.sort();
        self.instants.push(until);
        let mut last = from;
        let mut longest_gap_s = 0;
        for at in &self.instants {
            let gap = u64::try_from(at.duration_since(last).as_secs()).unwrap_or(0);
            longest_gap_s = longest_gap_s.max(gap);
            last = *at;
        }
        Load {
            backups: self.by_hour.values().map(|(n, _)| n).sum(),
            bytes: self.by_hour.values().fold(0, |sum, (_, b)| sum.saturating_add(*b)),
            busiest_hour: busiest.and_then(|(hour, _)| Timestamp::from_second(hour * 3600).ok()),
            busiest_backups: busiest.map_or(0, |(_, (n, _))| *n),
            busiest_bytes: busiest.map_or(0, |(_, (_, bytes))| *bytes),
            longest_gap_s,
        }
    }
}

fn size(view: &View<'_>, address: &Address) -> Option<u64> {
    let receipt = view.best(address, |_| true).and_then(|p| p.receipt()).map(|r| r.bytes);
    receipt.or_else(|| match view.observed.resources.get(address) {
        Some(Observation::Known { bytes, .. }) => *bytes,
        _ => None,
    })
}
