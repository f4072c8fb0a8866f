//! `retention simulate`: finds a policy and a schedule by name or as they would be written in a
//! document, and lets them play out.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::tz::TimeZone;
use model::Timestamp;
use model::desired::{Retention, Schedule};
use model::diagnostic::{Diagnostic, Severity};
use model::id::CommitId;

/// The file of the documents that ask for the policy; no config repository can hold such a name.
const FILE: &str = "mainstay simulate.yaml";
/// The name of everything in it.
const NAME: &str = "mainstay-simulate";

/// A policy and a schedule, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The policy.
    pub policy: Retention,
    /// The schedule.
    pub schedule: Schedule,
}

/// Finds a policy and a schedule: each is a name of the config repository or of those that come
/// with the program, or what one would write in a Backup (`{daily: 7}`, `@every 6h`). `zone` takes
/// the place of what they say.
///
/// # Errors
/// What is wrong with them, as diagnostics would say it.
pub fn find(
    files: &BTreeMap<String, Vec<u8>>,
    builtin: &BTreeMap<String, Vec<u8>>,
    policy: &str,
    schedule: &str,
    zone: Option<&str>,
) -> Result<Found, Vec<Diagnostic>> {
    let inline = |text: &str| match text.trim_start().starts_with('{') {
        true => text.to_owned(),
        // As JSON, which is YAML: no text can be anything but a text.
        false => serde_json::Value::from(text).to_string(),
    };
    let (policy, schedule) = (inline(policy), inline(schedule));
    let documents = format!(
        "apiVersion: mainstay.dev/v1\nkind: Host\nmetadata: {{ name: {NAME} }}\nspec: {{ \
         connection: local }}\n---\napiVersion: mainstay.dev/v1\nkind: Repository\nmetadata: {{ \
         name: {NAME} }}\nspec: {{ storage: {{ local: {{ path: /mainstay-simulate/repository }} \
         }}, password: {{ secret: none }} }}\n---\napiVersion: mainstay.dev/v1\nkind: \
         Application\nmetadata: {{ name: {NAME} }}\nspec: {{ resources: [{{ name: data, type: \
         directory, target: host/{NAME}, with: {{ path: /mainstay-simulate/data }} }}] \
         }}\n---\napiVersion: mainstay.dev/v1\nkind: Backup\nmetadata: {{ name: {NAME} }}\nspec: \
         {{ select: {{ application: {NAME} }}, repositories: [{NAME}], schedule: {schedule}, \
         retention: {policy} }}\n"
    );
    let mut files = files.clone();
    files.insert(FILE.to_owned(), documents.into_bytes());
    let loaded = config::load(&files, builtin, CommitId::from("simulate"));
    let backup = loaded.desired.and_then(|mut desired| {
        let name = NAME.parse().ok()?;
        desired.backups.remove(&name)
    });
    let Some(backup) = backup else {
        let mut wrong = loaded.diagnostics;
        wrong.retain(|d| d.severity == Severity::Error);
        return Err(wrong);
    };
    let Some(mut policy) = backup.retention else { return Err(Vec::new()) };
    let mut schedule = backup.schedule;
    if let Some(zone) = zone {
        zone.clone_into(&mut policy.time_zone);
        zone.clone_into(&mut schedule.time_zone);
    }
    Ok(Found { policy, schedule })
}

/// Returns the same day and time so many calendar years later, in UTC.
pub fn years_later(from: Timestamp, years: u32) -> Timestamp {
    let span = Span::new().try_years(years);
    let later = span.and_then(|span| from.to_zoned(TimeZone::UTC).checked_add(span));
    later.map_or(Timestamp::MAX, |at| at.timestamp())
}
