//! Lowers `Erasure`.

use std::collections::BTreeSet;

use model::desired::{APPROVERS_MIN, COOLING_OFF_S_MIN, Erasure};
use model::id::SnapshotId;

use crate::diagnostics as d;
use crate::documents::Spec;
use crate::lower::{At, Lowering, text};

/// Three days: a weekend does not pass unseen.
const COOLING_OFF_S: u64 = 72 * 3600;

impl Lowering<'_> {
    pub(super) fn erasure(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Erasure(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let place = at.at("resource").place();
        let resource = text::address(place, &spec.resource, None, &mut self.found);
        if spec.reason.trim().is_empty() {
            let at = at.at("reason");
            self.found.push(d::text_empty(at.place(), &at.name()));
        }
        let list = at.at("snapshots");
        if spec.snapshots.is_empty() {
            self.found.push(d::erasure_invalid(list.place_key(), "it names no snapshot"));
        }
        for (index, id) in spec.snapshots.iter().enumerate().filter(|(_, id)| !text::is_id(id)) {
            self.found.push(d::snapshot_id_malformed(list.item(index).place(), id));
        }
        let people: BTreeSet<String> = spec
            .approved_by
            .iter()
            .map(|who| who.trim().to_lowercase())
            .filter(|who| !who.is_empty())
            .collect();
        if people.len() < APPROVERS_MIN {
            let why = "two different people must agree to it";
            self.found.push(d::erasure_invalid(at.at("approvedBy").place_key(), why));
        }
        let cooling = at.at("coolingOff");
        let cooling_off_s = match &spec.cooling_off {
            None => Some(COOLING_OFF_S),
            Some(written) => {
                text::duration(cooling.place(), &cooling.name(), written, &mut self.found)
            }
        };
        if cooling_off_s.is_some_and(|seconds| seconds < COOLING_OFF_S_MIN) {
            let why = "its cooling-off is shorter than 24 hours";
            self.found.push(d::erasure_invalid(cooling.place(), why));
        }
        let (Some(resource), Some(cooling_off_s)) = (resource, cooling_off_s) else { return };
        let selects = |b: &&model::desired::Backup| b.resources.contains(&resource);
        if let Some(backup) = self.lowered.desired.backups.values().find(selects) {
            let place = at.at("resource").place();
            let (resource, backup) = (resource.to_string(), backup.name.to_string());
            self.found.push(d::erasure_protected(place, &resource, &backup));
        }
        let erasure = Erasure {
            name: name.clone(),
            resource,
            reason: spec.reason.clone(),
            snapshots: spec.snapshots.iter().map(|id| SnapshotId::from(id.as_str())).collect(),
            approved_by: spec.approved_by.iter().map(|who| who.trim().to_owned()).collect(),
            cooling_off_s,
        };
        self.lowered.desired.erasures.insert(name, erasure);
    }
}
