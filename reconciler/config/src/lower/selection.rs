//! Reads selectors: which resources a document means.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::Resource;
use model::id::{Address, Name};

use crate::diagnostics as d;
use crate::documents::{Kind, SelectSpec};
use crate::lower::{At, Lowering, text};

/// The resources of an application.
fn of<'r>(
    all: &'r BTreeMap<Address, Resource>,
    application: &Name,
) -> impl Iterator<Item = (&'r Address, &'r Resource)> + use<'r> {
    let application = application.clone();
    // The name that comes before every other one.
    let first = "0".parse().ok();
    let first = first.map(|resource| Address { application: application.clone(), resource });
    let from = first.into_iter().flat_map(|first| all.range(first..));
    from.take_while(move |(address, _)| address.application == application)
}

impl Lowering<'_> {
    /// Returns the resources that a selector means; every field narrows. `owner` names the document
    /// in the message that nothing was selected.
    pub(super) fn select(
        &mut self,
        spec: &SelectSpec,
        at: &At<'_>,
        owner: &str,
    ) -> BTreeSet<Address> {
        let before = self.found.len();
        let narrows = spec.application.is_some()
            || spec.applications.is_some()
            || spec.resources.is_some()
            || spec.types.is_some()
            || spec.labels.as_ref().is_some_and(|labels| !labels.is_empty());
        if !narrows && spec.all != Some(true) {
            self.found.push(d::selector_empty(at.place_key()));
            return BTreeSet::new();
        }
        let applications = self.selected_applications(spec, at);
        let resources = self.selected_resources(spec, at);
        self.selected_types(spec, at);
        let types = spec.types.as_ref();
        let fits = |address: &Address, resource: &Resource| {
            resources.as_ref().is_none_or(|r| r.contains(address))
                && types.is_none_or(|t| t.iter().any(|t| t == resource.agent.template.as_str()))
                && spec.labels.iter().flatten().all(|(k, v)| resource.labels.get(k) == Some(v))
        };
        let all = &self.lowered.desired.resources;
        let fitting = |(address, resource): (&Address, &Resource)| {
            fits(address, resource).then(|| address.clone())
        };
        // Most documents name their application: a fleet is not gone through for each of them.
        let selected: BTreeSet<Address> = match &applications {
            None => all.iter().filter_map(fitting).collect(),
            Some(named) => named.iter().flat_map(|n| of(all, n)).filter_map(fitting).collect(),
        };
        // What could not be read might have been selected, so nothing is said then.
        let certain = self.lowered.broken.resources.is_empty()
            && !self.lowered.broken.documents.iter().any(|(kind, _)| *kind == Kind::Application);
        if selected.is_empty() && certain && self.found.len() == before {
            self.found.push(d::selector_nothing(at.place_key(), owner));
        }
        selected
    }

    fn selected_applications(&mut self, spec: &SelectSpec, at: &At<'_>) -> Option<BTreeSet<Name>> {
        let mut named: Vec<(&str, At<'_>)> = Vec::new();
        if let Some(name) = &spec.application {
            named.push((name, at.at("application")));
        }
        for (index, name) in spec.applications.iter().flatten().enumerate() {
            named.push((name, at.at("applications").item(index)));
        }
        let given = spec.application.is_some() || spec.applications.is_some();
        for (name, at) in &named {
            self.document(Kind::Application, name, at.place());
        }
        // What is no name is none of an application; that was said above.
        given.then(|| named.iter().filter_map(|(name, _)| name.parse().ok()).collect())
    }

    fn selected_resources(&mut self, spec: &SelectSpec, at: &At<'_>) -> Option<BTreeSet<Address>> {
        let texts = spec.resources.as_ref()?;
        let application: Option<Name> = spec.application.as_ref().and_then(|a| a.parse().ok());
        let at = at.at("resources");
        let mut selected = BTreeSet::new();
        for (index, written) in texts.iter().enumerate() {
            let place = at.item(index).place();
            let read = text::address(place.clone(), written, application.as_ref(), &mut self.found);
            let Some(address) = read else { continue };
            self.exists(&address, place);
            selected.insert(address);
        }
        Some(selected)
    }

    fn selected_types(&mut self, spec: &SelectSpec, at: &At<'_>) {
        for (index, name) in spec.types.iter().flatten().enumerate() {
            let place = at.at("types").item(index).place();
            self.document(Kind::AgentTemplate, name, place);
        }
    }

    /// Says so when there is no such resource.
    pub(super) fn exists(&mut self, address: &Address, place: d::Place) -> bool {
        let there = self.lowered.desired.resources.contains_key(address);
        if !there && !self.lowered.broken.has(address) {
            let application = address.application.as_str();
            let known: Vec<String> =
                self.lowered.desired.resources.keys().map(ToString::to_string).collect();
            let near: Vec<&str> = known
                .iter()
                .filter(|known| known.split('/').next() == Some(application))
                .map(String::as_str)
                .collect();
            let text = address.to_string();
            let known: Vec<&str> =
                if near.is_empty() { known.iter().map(String::as_str).collect() } else { near };
            self.found.push(d::reference_unknown(place, "resource", &text, &known));
        }
        there
    }
}
