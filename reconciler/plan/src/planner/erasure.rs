//! Decides what is erased on purpose: the points that `Erasure` documents name, the last proven one
//! among them. Each has a reason, two people behind it and a cooling-off, and waits for approval.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::Erasure;
use model::id::{Address, Name, SnapshotId};
use model::observed::{RepositoryObservation, SnapshotInfo};
use model::plan::{Action, Class, Estimate, Precondition, Step};

use super::{Draft, ids};
use crate::render::points;
use crate::slots::seconds;
use crate::view::View;

/// Plans every erasure. Comes after recoveries, so that what they read stays.
pub(super) fn plan(draft: &mut Draft<'_, '_>) {
    let view = draft.view;
    for doc in view.desired.erasures.values() {
        if draft.in_scope(view.current(&doc.resource).unwrap_or(&doc.resource)) {
            one(draft, doc);
        }
    }
}

fn one(draft: &mut Draft<'_, '_>, doc: &Erasure) {
    let view = draft.view;
    let (found, unnamed) = named(view, doc);
    if found.is_empty() {
        let unread = view.repositories.values().any(|state| state.trouble().is_some());
        let note = if unread {
            "nothing of what it names was seen, and not every repository could be read"
        } else {
            "nothing is left of what it names"
        };
        draft.note(format!("erasure {}: {note}", doc.name));
        return;
    }
    if unnamed > 0 {
        let rest = points(unnamed);
        let resource = &doc.resource;
        draft.note(format!("erasure {}: {rest} of {resource} not named, so kept", doc.name));
    }
    for (repository, infos) in found {
        let id = ids::erase(&doc.name, &doc.resource, repository);
        let others: Vec<&SnapshotInfo> =
            infos.iter().copied().filter(|info| !belongs(view, doc, info)).collect();
        if let Some(other) = others.first() {
            let of = other.address.as_ref().map_or("nobody".to_owned(), Address::to_string);
            let reason =
                format!("{} is a point of {of}, not of {}", other.id.short(), doc.resource);
            draft.defer(id, "PointOfAnother", reason);
            continue;
        }
        match refusal(draft, doc, repository, &infos) {
            Some((code, reason, until)) => draft.defer_until(id, code, reason, until),
            None => add(draft, doc, repository, &infos),
        }
    }
}

/// The points that a document names, oldest first, by usable repository; and how many points of the
/// resource it does not name.
fn named<'a>(view: &View<'a>, doc: &Erasure) -> (BTreeMap<&'a Name, Vec<&'a SnapshotInfo>>, usize) {
    let mut found: BTreeMap<&Name, Vec<&SnapshotInfo>> = BTreeMap::new();
    let mut unnamed = 0;
    for name in view.repositories.keys().copied() {
        let (Some(_), Some(RepositoryObservation::Known { snapshots, .. })) =
            (view.repository_id(name), view.observed.repositories.get(name))
        else {
            continue;
        };
        for info in snapshots {
            if doc.snapshots.contains(&info.id) {
                found.entry(name).or_default().push(info);
            } else if belongs(view, doc, info) {
                unnamed += 1;
            }
        }
    }
    (found, unnamed)
}

/// Whether a point is of the resource that a document is about.
pub(crate) fn belongs(view: &View<'_>, doc: &Erasure, info: &SnapshotInfo) -> bool {
    info.address.as_ref().is_some_and(|address| view.same(address, &doc.resource))
}

/// The instant from which an erasure may be done: its cooling-off after it was first seen.
pub(crate) fn cooled(view: &View<'_>, doc: &Erasure) -> Option<Timestamp> {
    let seen = view.observed.memory.erasures.get(&doc.digest())?;
    seen.checked_add(seconds(doc.cooling_off_s)).ok()
}

type Refusal = (&'static str, String, Option<Timestamp>);

/// Why nothing may be erased now.
fn refusal(
    draft: &Draft<'_, '_>,
    doc: &Erasure,
    repository: &Name,
    infos: &[&SnapshotInfo],
) -> Option<Refusal> {
    let view = draft.view;
    if let Some(flaw) = doc.flaw() {
        return Some(("ErasureFlawed", flaw, None));
    }
    if view.desired.repositories.get(repository).is_some_and(|spec| spec.append_only) {
        return Some(("AppendOnly", "nothing is ever deleted there by us".to_owned(), None));
    }
    if !view.observed.memory.known {
        let reason = "our state is new or was lost, so its cooling-off begins anew".to_owned();
        return Some(("MemoryUnknown", reason, None));
    }
    match cooled(view, doc) {
        Some(at) if at <= view.now => {}
        Some(at) => {
            let reason = format!("people may object to it until {at}");
            return Some(("CoolingOff", reason, Some(at)));
        }
        None => {
            let reason = "its cooling-off begins with the first pass that may write".to_owned();
            return Some(("CoolingOff", reason, None));
        }
    }
    if let Some(why) = view.current(&doc.resource).and_then(|address| draft.busy.get(address)) {
        return Some(("RecoveryUnderWay", why.clone(), None));
    }
    let needed = infos.iter().find_map(|info| Some((info, draft.pins.get(&info.id)?)));
    needed.map(|(info, why)| {
        let reason = format!("{} is needed: {}", info.id.short(), why.join(", "));
        ("PointNeeded", reason, None)
    })
}

fn add(draft: &mut Draft<'_, '_>, doc: &Erasure, repository: &Name, infos: &[&SnapshotInfo]) {
    let snapshots: Vec<SnapshotId> = infos.iter().map(|info| info.id.clone()).collect();
    let bytes = infos.iter().filter_map(|info| info.receipt.as_ref()).map(|r| r.bytes).sum();
    let people: BTreeSet<&str> = doc.approved_by.iter().map(String::as_str).collect();
    let people = people.into_iter().collect::<Vec<_>>().join(" and ");
    if let Some(address) = draft.view.current(&doc.resource) {
        draft.erasing.insert(address.clone());
    }
    draft.add(Step {
        id: ids::erase(&doc.name, &doc.resource, repository),
        action: Action::Expire {
            resource: doc.resource.clone(),
            repository: repository.clone(),
            snapshots: snapshots.clone(),
            erasure: Some(doc.name.clone()),
        },
        class: Class::Destructive,
        reasons: vec![
            format!("erasure {} names {}: {}", doc.name, points(snapshots.len()), doc.reason),
            format!("{people} agreed, and its cooling-off has passed"),
        ],
        preconditions: vec![
            draft.repository_is(repository),
            Precondition::SnapshotsExist { repository: repository.clone(), snapshots },
            Precondition::NoOtherRecovery { resource: doc.resource.clone(), token: None },
        ],
        needs: Vec::new(),
        estimate: Estimate { bytes: Some(bytes), seconds: None },
        loss: None,
        waits: Vec::new(),
    });
}
