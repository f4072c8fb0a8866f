//! Lowers `Application` and its resources.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{Objectives, Resource};
use model::id::{Address, Name, TargetRef};

use crate::diagnostics as d;
use crate::documents::{CopiesRef, CopiesSpec, Kind, ObjectivesSpec, ResourceSpec, Spec};
use crate::lower::{At, Lowering, Written, text};
use crate::template::Where;

impl<'d> Lowering<'d> {
    pub(super) fn application(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Application(spec)) = &document.spec else { return };
        let Some(application) = self.claim(document) else { return };
        let resources = At::spec(document).at("resources");
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, resource) in spec.resources.iter().enumerate() {
            let at = resources.item(index);
            if let Some(&first) = seen.get(resource.name.as_str()) {
                let place = at.at("name").place();
                let duplicate = d::name_duplicate(place, "resource", &resource.name);
                let first = resources.item(first).at("name").place();
                self.found.push(d::related(duplicate, first, "the other one"));
                continue;
            }
            seen.insert(&resource.name, index);
            self.resource(number, &application, resource, &at);
        }
    }

    fn resource(&mut self, number: usize, app: &Name, spec: &'d ResourceSpec, at: &At<'d>) {
        let before = self.found.len();
        let lowered = self.resource_parts(app, spec, at);
        let Some((resource, copies)) = lowered.filter(|_| self.found.len() == before) else {
            let key = (app.as_str().to_owned(), spec.name.clone());
            self.lowered.broken.resources.insert(key);
            return;
        };
        let address = resource.address.clone();
        let origin = at.at("name").place().origin;
        self.lowered.desired.origins.insert(format!("resource/{address}"), origin);
        let written = Written { document: number, pointer: at.pointer.clone(), copies };
        self.lowered.written.insert(address.clone(), written);
        self.lowered.desired.resources.insert(address, resource);
    }

    fn resource_parts(
        &mut self,
        app: &Name,
        spec: &'d ResourceSpec,
        at: &At<'d>,
    ) -> Option<(Resource, CopiesSpec)> {
        let name = text::name(at.at("name").place(), &spec.name, &mut self.found);
        let target = self.target(&spec.target, &at.at("target"));
        let depends_on = self.addresses(&spec.depends_on, &at.at("dependsOn"), Some(app));
        let formerly = self.addresses(&spec.formerly, &at.at("formerly"), Some(app));
        let (objectives, copies) = self.objectives(&spec.objectives, &at.at("objectives"));
        let agent = self.agent(app, spec, at);
        let address = Address { application: app.clone(), resource: name? };
        let mut labels = at.document.labels.clone();
        labels.extend(spec.labels.clone());
        let resource = Resource {
            address,
            target: target?,
            agent: agent?,
            depends_on: depends_on.into_iter().collect::<BTreeSet<_>>(),
            priority: spec.priority,
            formerly,
            objectives,
            labels,
        };
        Some((resource, copies))
    }

    fn target(&mut self, written: &str, at: &At<'_>) -> Option<TargetRef> {
        let target: TargetRef = match written.parse() {
            Ok(target) => target,
            Err(_) => {
                self.found.push(d::target_invalid(at.place(), written));
                return None;
            }
        };
        match &target {
            TargetRef::Host(name) => {
                self.document(Kind::Host, name.as_str(), at.place())?;
            }
            TargetRef::Cluster(_) => {
                self.found.push(d::target_not_yet(at.place(), written));
                return None;
            }
        }
        Some(target)
    }

    /// Reads a list of addresses without asking whether they exist.
    pub(super) fn addresses(
        &mut self,
        texts: &[String],
        at: &At<'_>,
        application: Option<&Name>,
    ) -> Vec<Address> {
        let mut addresses = Vec::with_capacity(texts.len());
        for (index, written) in texts.iter().enumerate() {
            let place = at.item(index).place();
            let read = text::address(place.clone(), written, application, &mut self.found);
            let Some(address) = read else { continue };
            if addresses.contains(&address) {
                self.found.push(d::item_duplicate(place, &at.name(), written));
            } else {
                addresses.push(address);
            }
        }
        addresses
    }

    fn objectives(&mut self, spec: &ObjectivesSpec, at: &At<'_>) -> (Objectives, CopiesSpec) {
        let mut seconds = |key: &str, written: Option<&String>| {
            let at = at.at(key);
            written.and_then(|w| text::duration_some(at.place(), &at.name(), w, &mut self.found))
        };
        let rpo_s = seconds("rpo", spec.rpo.as_ref());
        let rto_s = seconds("rto", spec.rto.as_ref());
        let copies = match &spec.copies {
            None => CopiesSpec::default(),
            Some(CopiesRef::Total(total)) => CopiesSpec { total: *total, ..CopiesSpec::default() },
            Some(CopiesRef::Full(copies)) => copies.clone(),
        };
        if spec.copies.is_some() {
            let stored = copies.total.saturating_sub(1);
            for (key, part) in [
                ("offsite", copies.offsite),
                ("media", copies.media),
                ("immutable", copies.immutable),
            ] {
                if part.is_some_and(|part| part > stored) {
                    let why = format!(
                        "`{key}` is more than the {stored} copies that remain of `total` beside \
                         the live data"
                    );
                    let place = at.at("copies").at(key).place();
                    self.found.push(d::objectives_invalid(place, &why));
                }
            }
        }
        let total = spec.copies.as_ref().map(|_| copies.total);
        let objectives = Objectives {
            rpo_s,
            rto_s,
            copies: total,
            media: copies.media,
            formats: copies.formats,
            offsite: copies.offsite,
            immutable: copies.immutable,
        };
        (objectives, copies)
    }

    fn agent(
        &mut self,
        app: &Name,
        spec: &ResourceSpec,
        at: &At<'_>,
    ) -> Option<model::agent::Agent> {
        let kind = at.at("type");
        self.document(Kind::AgentTemplate, &spec.kind, kind.place())?;
        let template = self.templates.get(&spec.kind)?;
        let with = at.at("with");
        let place = |part: Where<'_>| match part {
            Where::Value(key) if spec.with.contains_key(key) => with.at(key).place(),
            Where::Key(key) => with.at(key).place_key(),
            _ => kind.place(),
        };
        let resource = format!("{app}/{}", spec.name);
        template.render(&resource, &spec.with, &place, &mut self.found)
    }
}
