//! Lowers `Schedule`, `RetentionPolicy`, `Backup` and `Trigger`.

use std::collections::BTreeSet;

use model::agent::{Arg, Command};
use model::desired::{
    Anomaly, Backup, Hooks, Keep, Overlap, Retention, Schedule, Trigger, VerifyPolicy, When,
    Window, WithinEach,
};
use model::id::Name;

use crate::diagnostics as d;
use crate::documents::{
    BackupSpec, HookSpec, KeepSpec, Kind, OverlapSpec, RetentionPolicySpec, RetentionRef,
    ScheduleRef, ScheduleSpec, Spec, VerifySpec, WindowSpec,
};
use crate::lower::{At, Lowering, text};
use crate::timing::{self, WhenError};

/// The schedule of a Backup that has none.
const SCHEDULE_DEFAULT: &str = "@daily";

/// Points are proven again after thirty days unless said otherwise: often enough to notice a
/// rotting disk while older copies still exist.
const PROVE_AGAIN_S: u64 = 30 * 86_400;

/// A point is suspicious when it lost more than half, unless said otherwise.
const SHRINK_PERCENT: u8 = 50;

/// The zone when none is named.
const TIME_ZONE_DEFAULT: &str = "UTC";

impl<'d> Lowering<'d> {
    /// Reads a `Schedule` or `RetentionPolicy` for what is wrong with it, also when nothing uses
    /// it.
    pub(super) fn policy_document(&mut self, number: usize) {
        let document = &self.documents[number];
        match &document.spec {
            Some(Spec::Schedule(spec)) => {
                self.claim(document);
                self.schedule(spec, &At::spec(document));
            }
            Some(Spec::RetentionPolicy(spec)) => {
                self.claim(document);
                self.retention(&document.name, spec, &At::spec(document));
            }
            _ => {}
        }
    }

    pub(super) fn backup(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Backup(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let owner = format!("Backup `{name}`");
        let backup = Backup {
            name: name.clone(),
            resources: self.select(&spec.select, &at.at("select"), &owner),
            schedule: self.schedule_ref(spec.schedule.as_ref(), &at.at("schedule")),
            repositories: self.repositories(spec, &at),
            retention: self.retention_ref(spec.retention.as_ref(), &at.at("retention")),
            hooks: Hooks {
                before: self.hooks(&spec.hooks.before, &at.at("hooks").at("before")),
                after: self.hooks(&spec.hooks.after, &at.at("hooks").at("after")),
            },
            verify: self.verify(&spec.verify, &at.at("verify")),
            anomaly: Anomaly {
                shrink_percent_max: spec.anomaly.shrink_percent_max.unwrap_or(SHRINK_PERCENT),
            },
        };
        if backup.retention.is_none() && spec.retention.is_some() {
            self.lowered.broken.retention.insert(name.clone());
        }
        self.lowered.desired.backups.insert(name, backup);
    }

    fn repositories(&mut self, spec: &BackupSpec, at: &At<'_>) -> Vec<Name> {
        let Some(written) = &spec.repositories else {
            let known = self.names(Kind::Repository);
            if let [only] = known.as_slice() {
                return only.parse().into_iter().collect();
            }
            self.found.push(d::repositories_unclear(at.document.place_name(), &known));
            return Vec::new();
        };
        let at = at.at("repositories");
        let mut names: Vec<Name> = Vec::with_capacity(written.len());
        for (index, name) in written.iter().enumerate() {
            let place = at.item(index).place();
            if self.document(Kind::Repository, name, place.clone()).is_none() {
                continue;
            }
            match name.parse() {
                Ok(name) if names.contains(&name) => {
                    self.found.push(d::item_duplicate(place, &at.name(), name.as_str()));
                }
                Ok(name) => names.push(name),
                // The Repository's own name was said to be malformed.
                Err(_) => {}
            }
        }
        names
    }

    fn schedule_ref(&mut self, spec: Option<&ScheduleRef>, at: &At<'_>) -> Schedule {
        match spec {
            None => self.inline_schedule(SCHEDULE_DEFAULT, at),
            Some(ScheduleRef::Full(spec)) => self.schedule(spec, at),
            Some(ScheduleRef::Text(rule)) if is_rule(rule) => self.inline_schedule(rule, at),
            Some(ScheduleRef::Text(name)) => {
                let Some(document) = self.document(Kind::Schedule, name, at.place()) else {
                    return never();
                };
                let Some(Spec::Schedule(spec)) = &document.spec else { return never() };
                // What is wrong with the document was said when it was read.
                let before = self.found.len();
                let schedule = self.schedule(spec, &At::spec(document));
                self.found.truncate(before);
                schedule
            }
        }
    }

    fn inline_schedule(&mut self, rule: &str, at: &At<'_>) -> Schedule {
        Schedule { when: self.when(rule, at), ..never() }
    }

    fn schedule(&mut self, spec: &ScheduleSpec, at: &At<'_>) -> Schedule {
        let mut seconds = |key: &str, written: Option<&String>| {
            let at = at.at(key);
            written.and_then(|w| text::duration(at.place(), &at.name(), w, &mut self.found))
        };
        let jitter_s = seconds("jitter", spec.jitter.as_ref()).unwrap_or(0);
        let deadline_s = seconds("deadline", spec.deadline.as_ref());
        Schedule {
            when: self.when(&spec.when, &at.at("when")),
            time_zone: self.time_zone(spec.time_zone.as_deref(), &at.at("timeZone")),
            jitter_s,
            windows: self.windows(&spec.windows, &at.at("windows")),
            deadline_s,
        }
    }

    fn when(&mut self, rule: &str, at: &At<'_>) -> When {
        timing::when(rule).unwrap_or_else(|error| {
            self.cron_error(error, rule, at);
            When::Never
        })
    }

    fn cron_error(&mut self, error: WhenError, rule: &str, at: &At<'_>) {
        let place = at.place();
        self.found.push(match error {
            WhenError::Invalid(why) => d::cron_invalid(place, rule, &why),
            WhenError::NeverFires => d::cron_never(place, rule),
            WhenError::EveryMalformed => d::duration_malformed(place, &at.name(), rule),
            WhenError::EveryRange(_) => {
                let (least, most) = (timing::EVERY_S_MIN, timing::EVERY_S_MAX);
                d::interval_out_of_range(place, rule, least, most)
            }
        });
    }

    fn time_zone(&mut self, name: Option<&str>, at: &At<'_>) -> String {
        let Some(name) = name else { return TIME_ZONE_DEFAULT.to_owned() };
        if !timing::is_time_zone(name) {
            let zones = timing::time_zones();
            let near = d::nearest(name, zones.iter().map(String::as_str));
            self.found.push(d::time_zone_unknown(at.place(), name, near));
        }
        name.to_owned()
    }

    pub(super) fn windows(&mut self, specs: &[WindowSpec], at: &At<'_>) -> Vec<Window> {
        let mut windows = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let at = at.item(index);
            if let Err(error) = timing::cron(&spec.opens) {
                self.cron_error(error, &spec.opens, &at.at("opens"));
            }
            let length = at.at("duration");
            let duration_s = text::duration_some(
                length.place(),
                &length.name(),
                &spec.duration,
                &mut self.found,
            );
            windows.push(Window {
                opens: spec.opens.clone(),
                duration_s: duration_s.unwrap_or(0),
                time_zone: self.time_zone(spec.time_zone.as_deref(), &at.at("timeZone")),
                allow: spec.allow.unwrap_or(true),
            });
        }
        windows
    }

    fn retention_ref(&mut self, spec: Option<&RetentionRef>, at: &At<'_>) -> Option<Retention> {
        match spec? {
            RetentionRef::Full(spec) => Some(self.retention("inline", spec, at)),
            RetentionRef::Text(name) => {
                let document = self.document(Kind::RetentionPolicy, name, at.place())?;
                let Some(Spec::RetentionPolicy(spec)) = &document.spec else { return None };
                // What is wrong with the document was said when it was read.
                let before = self.found.len();
                let retention = self.retention(name, spec, &At::spec(document));
                self.found.truncate(before);
                Some(retention)
            }
        }
    }

    fn retention(&mut self, name: &str, spec: &RetentionPolicySpec, at: &At<'_>) -> Retention {
        let mut within = |field: &str, written: Option<&String>| {
            let at = at.at(field);
            text::duration_some(at.place(), &at.name(), written?, &mut self.found)
        };
        let within_s = within("within", spec.within.as_ref());
        let within_each = WithinEach {
            hourly_s: within("withinHourly", spec.within_hourly.as_ref()),
            daily_s: within("withinDaily", spec.within_daily.as_ref()),
            weekly_s: within("withinWeekly", spec.within_weekly.as_ref()),
            monthly_s: within("withinMonthly", spec.within_monthly.as_ref()),
            quarterly_s: within("withinQuarterly", spec.within_quarterly.as_ref()),
            yearly_s: within("withinYearly", spec.within_yearly.as_ref()),
        };
        let spans = [
            &spec.within,
            &spec.within_hourly,
            &spec.within_daily,
            &spec.within_weekly,
            &spec.within_monthly,
            &spec.within_quarterly,
            &spec.within_yearly,
        ];
        let counts = [
            spec.last,
            spec.hourly,
            spec.daily,
            spec.weekly,
            spec.monthly,
            spec.quarterly,
            spec.yearly,
        ];
        let keeps = counts.iter().any(|rule| !matches!(rule, None | Some(KeepSpec::Count(0))));
        if !keeps && spans.iter().all(|s| s.is_none()) && spec.tags.is_empty() {
            self.found.push(d::retention_keeps_nothing(at.place_key()));
        }
        let tags: BTreeSet<String> = spec.tags.iter().cloned().collect();
        Retention {
            name: name.to_owned(),
            last: keep(spec.last),
            hourly: keep(spec.hourly),
            daily: keep(spec.daily),
            weekly: keep(spec.weekly),
            monthly: keep(spec.monthly),
            quarterly: keep(spec.quarterly),
            yearly: keep(spec.yearly),
            within_s,
            within_each,
            overlap: match spec.overlap {
                None | Some(OverlapSpec::Shared) => Overlap::Shared,
                Some(OverlapSpec::Separate) => Overlap::Separate,
            },
            tags,
            at_least: spec.at_least.unwrap_or(1),
            time_zone: self.time_zone(spec.time_zone.as_deref(), &at.at("timeZone")),
        }
    }

    fn hooks(&mut self, specs: &[HookSpec], at: &At<'_>) -> Vec<Command> {
        let mut hooks = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let timeout = at.item(index).at("timeout");
            let timeout_s = spec.timeout.as_ref().and_then(|written| {
                text::duration(timeout.place(), &timeout.name(), written, &mut self.found)
            });
            if spec.run.first().is_some_and(String::is_empty) {
                let place = at.item(index).at("run").place();
                self.found.push(d::text_empty(place, "the program"));
            }
            hooks.push(Command {
                argv: spec.run.iter().map(Arg::text).collect(),
                input: spec.input.as_ref().map(Arg::text),
                timeout_s: timeout_s.unwrap_or(0),
            });
        }
        hooks
    }

    fn verify(&mut self, spec: &VerifySpec, at: &At<'_>) -> VerifyPolicy {
        let again = at.at("againAfter");
        let again_after_s = match spec.again_after.as_deref() {
            None => Some(PROVE_AGAIN_S),
            Some("never") => None,
            Some(written) => {
                text::duration_some(again.place(), &again.name(), written, &mut self.found)
            }
        };
        VerifyPolicy { after_backup: spec.after_backup.unwrap_or(true), again_after_s }
    }

    pub(super) fn trigger(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Trigger(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        self.document(Kind::Backup, &spec.backup, at.at("backup").place());
        let token = text::token(at.at("token").place(), &spec.token, &mut self.found);
        if let (Ok(backup), Some(token)) = (spec.backup.parse(), token) {
            let trigger = Trigger { name: name.clone(), backup, token };
            self.lowered.desired.triggers.insert(name, trigger);
        }
    }
}

/// Returns whether a text is a rule and no name: names have neither `@` nor spaces.
fn is_rule(text: &str) -> bool {
    text.starts_with('@') || text.contains(char::is_whitespace) || text.contains('*')
}

fn never() -> Schedule {
    Schedule {
        when: When::Never,
        time_zone: TIME_ZONE_DEFAULT.to_owned(),
        jitter_s: 0,
        windows: Vec::new(),
        deadline_s: None,
    }
}

fn keep(spec: Option<KeepSpec>) -> Keep {
    match spec {
        None => Keep::Unset,
        Some(KeepSpec::Count(count)) => Keep::Count(count),
        Some(KeepSpec::Forever) => Keep::Forever,
    }
}
