//! Lowers `Recovery`, `RecoveryPolicy`, `Guardrail` and `Hold`.

use std::collections::BTreeSet;

use model::agent::Agent;
use model::desired::{
    Budget, CommitThen, ConditionKind, Guardrail, Hold, Point, Recovery, RecoveryPolicy, Repeat,
    Response, Scope,
};
use model::id::{Address, Name, SnapshotId};

use crate::diagnostics as d;
use crate::documents::{
    BudgetSpec, CommitThenSpec, IntoSpec, Kind, PointRef, RecoverySpec, RepeatSpec, ResponseSpec,
    ResponsesSpec, ScopeRef, SelectSpec, Spec,
};
use crate::lower::{At, Lowering, text};
use crate::template::Where;

/// When more than half of the resources are lost at once, we are more probably blind.
const MASS_LOSS_PERCENT: u8 = 50;

impl<'d> Lowering<'d> {
    pub(super) fn recovery(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Recovery(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let place = at.at("resource").place();
        let address = text::address(place.clone(), &spec.resource, None, &mut self.found);
        let there = address.as_ref().is_some_and(|address| self.exists(address, place));
        if let Some(repository) = &spec.repository {
            self.document(Kind::Repository, repository, at.at("repository").place());
        }
        let point = self.point(spec.point.as_ref(), &at.at("point"));
        let into = match (&spec.into, &address) {
            (Some(into), Some(address)) if there => self.into(address, into, &at.at("into")),
            _ => None,
        };
        self.paths(spec, &at, address.as_ref());
        if matches!(spec.repeat, RepeatSpec::Always) && !spec.acknowledges_newer_data {
            self.found.push(d::recovery_unacknowledged(at.at("repeat").place()));
        }
        let token = text::token(at.at("token").place(), &spec.token, &mut self.found);
        let (Some(resource), Some(point), Some(token)) = (address, point, token) else { return };
        let recovery = Recovery {
            name: name.clone(),
            resource,
            repository: spec.repository.as_ref().and_then(|name| name.parse().ok()),
            point,
            into,
            paths: spec.paths.clone(),
            repeat: match spec.repeat {
                RepeatSpec::IfNotRecovered => Repeat::IfNotRecovered,
                RepeatSpec::Always => Repeat::Always,
            },
            acknowledges_newer_data: spec.acknowledges_newer_data,
            token,
        };
        self.lowered.desired.recoveries.insert(name, recovery);
    }

    fn point(&mut self, spec: Option<&PointRef>, at: &At<'_>) -> Option<Point> {
        let full = match spec {
            None => return Some(Point::Latest),
            Some(PointRef::Text(word)) if word == "latest" => return Some(Point::Latest),
            Some(PointRef::Text(word)) => {
                self.found.push(d::value_unknown(at.place(), &at.name(), word, &["latest"]));
                return None;
            }
            Some(PointRef::Full(full)) => full,
        };
        match (&full.at, &full.snapshot) {
            (Some(written), None) => {
                let at = at.at("at");
                text::instant(at.place(), &at.name(), written, &mut self.found)
                    .map(Point::AtOrBefore)
            }
            (None, Some(id)) if text::is_id(id) => {
                Some(Point::Snapshot(SnapshotId::from(id.as_str())))
            }
            (None, Some(id)) => {
                self.found.push(d::snapshot_id_malformed(at.at("snapshot").place(), id));
                None
            }
            _ => {
                self.found.push(d::one_of(at.place_key(), &at.name(), &["at", "snapshot"]));
                None
            }
        }
    }

    /// Renders the resource's type with the parameters that differ.
    fn into(&mut self, address: &Address, into: &IntoSpec, at: &At<'_>) -> Option<Agent> {
        let written = self.lowered.written.get(address)?;
        let document: &'d crate::source::Document = &self.documents[written.document];
        let Some(Spec::Application(application)) = &document.spec else { return None };
        let name = address.resource.as_str();
        let resource = application.resources.iter().find(|resource| resource.name == name)?;
        let mut with = resource.with.clone();
        with.extend(into.with.clone());
        let template = self.templates.get(&resource.kind)?;
        let at = at.at("with");
        let place = |part: Where<'_>| match part {
            Where::Value(key) if into.with.contains_key(key) => at.at(key).place(),
            Where::Key(key) if into.with.contains_key(key) => at.at(key).place_key(),
            _ => at.place_key(),
        };
        template.render(&address.to_string(), &with, &place, &mut self.found)
    }

    fn paths(&mut self, spec: &RecoverySpec, at: &At<'_>, address: Option<&Address>) {
        let at = at.at("paths");
        let resource = address.and_then(|address| self.lowered.desired.resources.get(address));
        if !spec.paths.is_empty() && resource.is_some_and(|resource| resource.agent.tree.is_none())
        {
            let why = "only the paths of a tree can be brought back one by one";
            self.found.push(d::recovery_paths(at.place_key(), why));
        }
        if !spec.paths.is_empty() && spec.into.is_none() {
            let why = "only a part of the resource is asked for, and over the resource itself the \
                       rest of it would be lost; it needs a place of its own: `into`";
            self.found.push(d::recovery_paths(at.place_key(), why));
        }
        for (index, path) in spec.paths.iter().enumerate() {
            let absolute = format!("/{}", path.trim_start_matches('/'));
            if path.is_empty() || text::check_path(&absolute).is_err() {
                let why =
                    "a path is written as in the tree, without `.`, `..`, `//` or a `/` at its end";
                self.found.push(d::recovery_paths(at.item(index).place(), why));
            }
        }
    }

    fn select_or_all(
        &mut self,
        spec: Option<&SelectSpec>,
        at: &At<'_>,
        owner: &str,
    ) -> BTreeSet<Address> {
        match spec {
            Some(spec) => self.select(spec, &at.at("select"), owner),
            None => self.lowered.desired.resources.keys().cloned().collect(),
        }
    }

    pub(super) fn recovery_policy(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::RecoveryPolicy(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let owner = format!("RecoveryPolicy `{name}`");
        let resources = self.select_or_all(spec.select.as_ref(), &at, &owner);
        let answers = answers(&spec.responses);
        self.recreatable(&at.at("responses"), &name, &answers, &resources);
        let on = answers.into_iter().map(|(_, kind, response)| (kind, response)).collect();
        let mut seconds = |key: &str, written: Option<&String>| {
            let at = at.at(key);
            written.and_then(|w| text::duration(at.place(), &at.name(), w, &mut self.found))
        };
        let loss_s_max = seconds("lossMax", spec.loss_max.as_ref());
        let commit_after_s = seconds("commitAfter", spec.commit_after.as_ref());
        let then = match spec.then {
            CommitThenSpec::Wait => CommitThen::Wait,
            CommitThenSpec::Commit => CommitThen::Commit,
            CommitThenSpec::Rollback => CommitThen::Rollback,
        };
        if commit_after_s.is_none() && spec.commit_after.is_none() && then != CommitThen::Wait {
            self.found.push(d::field_missing(
                at.at("then").place(),
                "commitAfter",
                "spec",
                "how long to wait before that, such as `7d`.",
            ));
        }
        let policy =
            RecoveryPolicy { name: name.clone(), resources, on, loss_s_max, commit_after_s, then };
        self.lowered.desired.recovery_policies.insert(name, policy);
    }

    /// Whatever a policy makes anew must have commands for it; the first one without is named.
    fn recreatable(
        &mut self,
        at: &At<'_>,
        policy: &Name,
        answers: &[(&str, ConditionKind, Response)],
        resources: &BTreeSet<Address>,
    ) {
        let known = &self.lowered.desired.resources;
        let unable = resources
            .iter()
            .filter_map(|address| Some((address, &known.get(address)?.agent)))
            .find(|(_, agent)| agent.recreate.is_empty());
        let Some((address, agent)) = unable else { return };
        let (address, kind) = (address.to_string(), agent.template.to_string());
        for (key, ..) in answers.iter().filter(|(.., answer)| *answer == Response::Recreate) {
            let place = at.at(key).place();
            self.found.push(d::recreate_unknown(place, policy.as_str(), &address, &kind));
        }
    }

    pub(super) fn guardrail(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Guardrail(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let owner = format!("Guardrail `{name}`");
        let guardrail = Guardrail {
            name: name.clone(),
            resources: self.select_or_all(spec.select.as_ref(), &at, &owner),
            windows: self.windows(&spec.windows, &at.at("windows")),
            expire: budget(&spec.expire),
            restore_over: budget(&spec.restore_over),
            recreate: budget(&spec.recreate),
            mass_loss_percent: spec.mass_loss_percent.unwrap_or(MASS_LOSS_PERCENT),
        };
        self.lowered.desired.guardrails.insert(name, guardrail);
    }

    pub(super) fn hold(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Hold(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let scope = self.scope(&spec.scope, &at.at("scope"));
        for (key, written) in [("owner", &spec.owner), ("reason", &spec.reason)] {
            if written.trim().is_empty() {
                let at = at.at(key);
                self.found.push(d::text_empty(at.place(), &at.name()));
            }
        }
        let end = at.at("until");
        let until = spec
            .until
            .as_ref()
            .and_then(|written| text::instant(end.place(), &end.name(), written, &mut self.found));
        let Some(scope) = scope else { return };
        let (owner, reason) = (spec.owner.clone(), spec.reason.clone());
        let hold = Hold { name: name.clone(), scope, owner, reason, until };
        self.lowered.desired.holds.insert(name, hold);
    }

    fn scope(&mut self, spec: &ScopeRef, at: &At<'_>) -> Option<Scope> {
        let full = match spec {
            ScopeRef::Text(word) if word == "all" => return Some(Scope::All),
            ScopeRef::Text(word) => {
                self.found.push(d::value_unknown(at.place(), &at.name(), word, &["all"]));
                return None;
            }
            ScopeRef::Full(full) => full,
        };
        match (&full.application, &full.resource, &full.repository) {
            (Some(name), None, None) => {
                self.document(Kind::Application, name, at.at("application").place())?;
                name.parse().ok().map(Scope::Application)
            }
            (None, Some(written), None) => {
                let place = at.at("resource").place();
                let address = text::address(place.clone(), written, None, &mut self.found)?;
                self.exists(&address, place);
                Some(Scope::Resource(address))
            }
            (None, None, Some(name)) => {
                self.document(Kind::Repository, name, at.at("repository").place())?;
                name.parse().ok().map(Scope::Repository)
            }
            _ => {
                let fields = ["application", "resource", "repository"];
                self.found.push(d::one_of(at.place_key(), &at.name(), &fields));
                None
            }
        }
    }
}

/// The answers that are given, with the keys at which they stand.
fn answers(responses: &ResponsesSpec) -> Vec<(&'static str, ConditionKind, Response)> {
    let all = [
        ("lost", ConditionKind::Lost, responses.lost),
        ("rolledBack", ConditionKind::RolledBack, responses.rolled_back),
        ("replaced", ConditionKind::Replaced, responses.replaced),
        ("damaged", ConditionKind::Damaged, responses.damaged),
    ];
    all.into_iter()
        .filter_map(|(key, kind, response)| Some((key, kind, answer(response?))))
        .collect()
}

fn answer(response: ResponseSpec) -> Response {
    match response {
        ResponseSpec::Hold => Response::Hold,
        ResponseSpec::Restore => Response::Restore,
        ResponseSpec::Recreate => Response::Recreate,
        ResponseSpec::Adopt => Response::Adopt,
    }
}

fn budget(spec: &BudgetSpec) -> Budget {
    Budget {
        per_run: spec.per_run,
        per_hour: spec.per_hour,
        per_day: spec.per_day,
        percent: spec.percent,
        percent_per_day: spec.percent_per_day,
    }
}
