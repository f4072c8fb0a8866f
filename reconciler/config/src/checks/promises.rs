//! Promises against what the Backups give: is everything protected, often enough, in enough copies,
//! and kept by one set of rules?

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{Backup, Desired, RepositorySpec, Resource, Retention, When};
use model::diagnostic::Diagnostic;
use model::id::{Address, Name, TargetRef};

use crate::checks::Whole;
use crate::diagnostics::{self as d, Place};
use crate::documents::Kind;
use crate::source::Document;
use crate::timing;

/// The Backups of each resource.
type Backups<'a> = BTreeMap<&'a Address, Vec<&'a Backup>>;

pub(super) fn check(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let desired = &whole.lowered.desired;
    let mut backups = Backups::new();
    for backup in desired.backups.values() {
        for address in &backup.resources {
            backups.entry(address).or_default().push(backup);
        }
    }
    // What a Backup that could not be read selects is not known.
    let certain = !whole.lowered.broken.documents.iter().any(|(kind, _)| *kind == Kind::Backup);
    let mut gaps = Gaps::default();
    for (address, resource) in &desired.resources {
        let own = backups.get(address).map(Vec::as_slice).unwrap_or_default();
        if own.is_empty() {
            if let Some((_, at)) = whole.written(address).filter(|_| certain) {
                let place = at.at("name").place();
                found.push(d::resource_unprotected(place, &address.to_string()));
            }
            continue;
        }
        if certain {
            rpo(whole, resource, own, &mut gaps, found);
            copies(whole, resource, own, found);
        }
        retention(whole, address, own, found);
    }
    if certain {
        recoveries(whole, &backups, found);
    }
}

/// The longest gap of each rule: many Backups share few rules.
#[derive(Default)]
struct Gaps(BTreeMap<String, Option<u64>>);

impl Gaps {
    fn of(&mut self, when: &When) -> Option<u64> {
        match when {
            When::Cron { expression } => {
                *self.0.entry(expression.clone()).or_insert_with(|| timing::gap_s(when))
            }
            _ => timing::gap_s(when),
        }
    }
}

fn rpo(
    whole: &Whole<'_>,
    resource: &Resource,
    backups: &[&Backup],
    gaps: &mut Gaps,
    found: &mut Vec<Diagnostic>,
) {
    let Some(rpo_s) = resource.objectives.rpo_s else { return };
    let gap_s = backups.iter().filter_map(|backup| gaps.of(&backup.schedule.when)).min();
    // A rule that is never due by itself leaves it to people, who may be quick.
    let Some(gap_s) = gap_s.filter(|&gap_s| gap_s > rpo_s) else { return };
    let Some((_, at)) = whole.written(&resource.address) else { return };
    let place = at.at("objectives").at("rpo").place();
    found.push(d::rpo_unreachable(place, &resource.address.to_string(), rpo_s, gap_s));
}

fn copies(
    whole: &Whole<'_>,
    resource: &Resource,
    backups: &[&Backup],
    found: &mut Vec<Diagnostic>,
) {
    let desired = &whole.lowered.desired;
    let Some(total) = resource.objectives.copies else { return };
    let Some(written) = whole.lowered.written.get(&resource.address) else { return };
    let names: BTreeSet<&Name> = backups.iter().flat_map(|b| &b.repositories).collect();
    let stores: Vec<&RepositorySpec> =
        names.iter().filter_map(|name| desired.repositories.get(*name)).collect();
    let media: BTreeSet<Option<&str>> = stores.iter().map(|r| r.medium.as_deref()).collect();
    let site = home(desired, resource);
    let away = |r: &&&RepositorySpec| {
        r.failure_domain.site.is_some() && r.failure_domain.site.as_deref() != site
    };
    let offsite = stores.iter().filter(away).count();
    let want = &written.copies;
    let mut say = |key: &str, want: String, have: String| {
        let Some((_, at)) = whole.written(&resource.address) else { return };
        let copies = at.at("objectives").at("copies");
        let at = if key.is_empty() { copies } else { copies.at(key) };
        let address = resource.address.to_string();
        found.push(d::copies_unreachable(at.place(), &address, &want, &have));
    };
    if total as usize > 1 + stores.len() {
        let key = if want.media.or(want.offsite).or(want.formats).is_some() { "total" } else { "" };
        say(key, format!("{total} copies"), format!("{} with the live data", 1 + stores.len()));
    }
    if want.media.is_some_and(|media_wanted| media_wanted as usize > media.len()) {
        let wanted = want.media.unwrap_or_default();
        say("media", format!("copies on {wanted} media"), format!("{}", media.len()));
    }
    if want.offsite.is_some_and(|wanted| wanted as usize > offsite) {
        let wanted = want.offsite.unwrap_or_default();
        say("offsite", format!("{wanted} copies at another site"), format!("{offsite}"));
    }
    let locked = stores.iter().filter(|r| r.immutable || r.offline).count();
    if want.immutable.is_some_and(|wanted| wanted as usize > locked) {
        let wanted = want.immutable.unwrap_or_default();
        say("immutable", format!("{wanted} copies immutable or offline"), format!("{locked}"));
    }
    if want.formats.is_some_and(|formats| formats > 1) {
        let wanted = want.formats.unwrap_or_default();
        say("formats", format!("copies in {wanted} formats"), "1".to_owned());
    }
}

/// Returns the site of a resource's host.
fn home<'a>(desired: &'a Desired, resource: &Resource) -> Option<&'a str> {
    match &resource.target {
        TargetRef::Host(name) => desired.hosts.get(name)?.failure_domain.site.as_deref(),
        TargetRef::Cluster(_) => None,
    }
}

/// Two sets of rules for one resource in one repository would undo each other.
fn retention(
    whole: &Whole<'_>,
    address: &Address,
    backups: &[&Backup],
    found: &mut Vec<Diagnostic>,
) {
    for (index, backup) in backups.iter().enumerate() {
        for other in &backups[..index] {
            let unread = &whole.lowered.broken.retention;
            if unread.contains(&backup.name) || unread.contains(&other.name) {
                continue;
            }
            if rules(backup) == rules(other) {
                continue;
            }
            let shared = backup.repositories.iter().find(|r| other.repositories.contains(r));
            let Some(repository) = shared else { continue };
            let (Some(place), Some(first)) =
                (retention_place(whole, backup), retention_place(whole, other))
            else {
                continue;
            };
            let address = address.to_string();
            let conflict =
                d::retention_conflict(place, &address, repository.as_str(), other.name.as_str());
            found.push(d::related(conflict, first, "the other rules"));
        }
    }
}

/// Returns the rules without their name.
fn rules(backup: &Backup) -> Option<Retention> {
    backup.retention.clone().map(|rules| Retention { name: String::new(), ..rules })
}

fn retention_place(whole: &Whole<'_>, backup: &Backup) -> Option<Place> {
    let document = backup_document(whole, &backup.name)?;
    Some(match backup.retention {
        Some(_) => document.place_key("/spec/retention"),
        None => document.place_name(),
    })
}

fn backup_document<'a>(whole: &Whole<'a>, name: &Name) -> Option<&'a Document> {
    let is_it = |d: &&Document| d.kind == Kind::Backup && d.name == name.as_str();
    whole.documents.iter().find(is_it)
}

fn recoveries(whole: &Whole<'_>, backups: &Backups<'_>, found: &mut Vec<Diagnostic>) {
    tokens(whole, found);
    for recovery in whole.lowered.desired.recoveries.values() {
        let Some(repository) = &recovery.repository else { continue };
        let Some(own) = backups.get(&recovery.resource) else { continue };
        if !whole.lowered.desired.repositories.contains_key(repository) {
            continue;
        }
        if own.iter().any(|backup| backup.repositories.contains(repository)) {
            continue;
        }
        let Some(document) = recovery_document(whole, &recovery.name) else { continue };
        let place = document.place("/spec/repository");
        let resource = recovery.resource.to_string();
        found.push(d::recovery_repository(place, &resource, repository.as_str()));
    }
}

fn recovery_document<'a>(whole: &Whole<'a>, name: &Name) -> Option<&'a Document> {
    let is_it = |d: &&Document| d.kind == Kind::Recovery && d.name == name.as_str();
    whole.documents.iter().find(is_it)
}

/// A token that was served is served for all that carry it.
fn tokens(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<&str, &Name> = BTreeMap::new();
    for recovery in whole.lowered.desired.recoveries.values() {
        let other = *first.entry(&recovery.token).or_insert(&recovery.name);
        if *other == recovery.name {
            continue;
        }
        let (Some(document), Some(twin)) =
            (recovery_document(whole, &recovery.name), recovery_document(whole, other))
        else {
            continue;
        };
        let place = document.place("/spec/token");
        let shared = d::recovery_token_shared(place, &recovery.token, other.as_str());
        found.push(d::related(shared, twin.place("/spec/token"), "the other one"));
    }
}
