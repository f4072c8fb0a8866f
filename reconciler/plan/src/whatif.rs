//! What if something were lost now: which resources are hit, what could be brought back, from
//! where, in which order, and how old it would be. Called by `whatif`; a pure question to a saved
//! observation, for which no target need be reached.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::desired::{Desired, FailureDomain};
use model::id::{Address, Name, TargetRef};
use model::observed::{Observed, RepositoryObservation};
use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::status::PointStatus;
use crate::view::View;

/// What is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Disaster {
    /// A host and what lies on it.
    Host(Name),
    /// A repository.
    Repository(Name),
    /// A building or region.
    Site(String),
    /// An account at a provider.
    Account(String),
    /// Who holds these credentials deletes everything that they reach.
    Credentials(String),
}

/// What would be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhatIf {
    /// What is lost.
    pub disaster: Disaster,
    /// Hosts that go with it.
    pub hosts: BTreeSet<Name>,
    /// Repositories that go with it.
    pub repositories: BTreeSet<Name>,
    /// The resources whose live data is gone, in the order in which they would be brought back.
    pub resources: Vec<Survival>,
    /// Resources whose live data stays, but not one proven point of which is left.
    pub unprotected: BTreeSet<Address>,
    /// Things whose failure domain the documents do not tell; they are taken to survive, so the
    /// truth may be worse.
    pub unknown_domains: BTreeSet<String>,
}

/// What would be left of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survival {
    /// The resource.
    pub resource: Address,
    /// The point to bring back; `None`: it is gone for good.
    pub point: Option<PointStatus>,
    /// The point's stored bytes were read again.
    pub proven: bool,
    /// How much would be lost, in seconds.
    pub loss_s: Option<u64>,
    /// How much may be lost.
    pub rpo_s: Option<u64>,
    /// How many bytes come back.
    pub bytes: Option<u64>,
    /// What must be brought back before it.
    pub after: BTreeSet<Address>,
}

/// Answers the question.
pub fn what_if(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    disaster: &Disaster,
) -> WhatIf {
    let hosts: BTreeSet<Name> = desired
        .hosts
        .iter()
        .filter(|(name, host)| hits(disaster, Some(*name), None, &host.failure_domain))
        .map(|(name, _)| name.clone())
        .collect();
    let repositories: BTreeSet<Name> = desired
        .repositories
        .iter()
        .filter(|(name, spec)| {
            let on_lost_host = spec
                .failure_domain
                .host
                .as_ref()
                .is_some_and(|on| hosts.iter().any(|host| host.as_str() == on));
            on_lost_host || hits(disaster, None, Some(*name), &spec.failure_domain)
        })
        .map(|(name, _)| name.clone())
        .collect();
    let left = without(observed, &repositories);
    let view = View::new(desired, &left, now);
    let graph = Graph::new(desired);
    let mut resources = Vec::new();
    let mut unprotected = BTreeSet::new();
    let lost = |address: &Address| {
        desired.resources.get(address).is_some_and(|resource| match &resource.target {
            TargetRef::Host(host) => hosts.contains(host),
            TargetRef::Cluster(_) => false,
        })
    };
    for address in graph.order() {
        if lost(address) {
            let after = graph.nearest(address, lost).into_iter().cloned().collect();
            resources.push(survival(&view, address, after));
        } else if view.newest_proven(address).is_none() {
            unprotected.insert((*address).clone());
        }
    }
    WhatIf {
        disaster: disaster.clone(),
        unknown_domains: unknown_domains(desired, disaster),
        hosts,
        repositories,
        resources,
        unprotected,
    }
}

fn hits(
    disaster: &Disaster,
    host: Option<&Name>,
    repository: Option<&Name>,
    domain: &FailureDomain,
) -> bool {
    match disaster {
        Disaster::Host(name) => host == Some(name) || domain.host.as_deref() == Some(name.as_str()),
        Disaster::Repository(name) => repository == Some(name),
        Disaster::Site(site) => domain.site.as_ref() == Some(site),
        Disaster::Account(account) => domain.account.as_ref() == Some(account),
        Disaster::Credentials(who) => domain.credentials.as_ref() == Some(who),
    }
}

/// The observation without some repositories.
fn without(observed: &Observed, lost: &BTreeSet<Name>) -> Observed {
    let mut left = observed.clone();
    for name in lost {
        let gone = RepositoryObservation::Absent { detail: "lost".to_owned() };
        left.repositories.insert(name.clone(), gone);
    }
    left
}

fn survival(view: &View<'_>, address: &Address, after: BTreeSet<Address>) -> Survival {
    let proven = view.newest_proven(address);
    let point = proven.or_else(|| view.best(address, |_| true));
    Survival {
        resource: address.clone(),
        point: point.as_ref().map(|point| PointStatus {
            repository: point.repository.clone(),
            snapshot: point.id().clone(),
            taken_at: point.taken_at(),
        }),
        proven: proven.is_some(),
        loss_s: point.as_ref().map(|point| {
            u64::try_from(view.now.duration_since(point.taken_at()).as_secs()).unwrap_or(0)
        }),
        rpo_s: view.desired.resources.get(address).and_then(|r| r.objectives.rpo_s),
        bytes: point.and_then(|point| point.receipt()).map(|receipt| receipt.bytes),
        after,
    }
}

/// What cannot be told to survive, because its document does not say where it is.
fn unknown_domains(desired: &Desired, disaster: &Disaster) -> BTreeSet<String> {
    let says_nothing = |domain: &FailureDomain| match disaster {
        Disaster::Host(_) => domain.host.is_none(),
        Disaster::Repository(_) => false,
        Disaster::Site(_) => domain.site.is_none(),
        Disaster::Account(_) => domain.account.is_none(),
        Disaster::Credentials(_) => domain.credentials.is_none(),
    };
    let repositories = desired
        .repositories
        .iter()
        .filter(|(_, spec)| says_nothing(&spec.failure_domain))
        .map(|(name, _)| format!("repository/{name}"));
    let hosts = desired
        .hosts
        .iter()
        .filter(|(_, host)| {
            !matches!(disaster, Disaster::Host(_)) && says_nothing(&host.failure_domain)
        })
        .map(|(name, _)| format!("host/{name}"));
    repositories.chain(hosts).collect()
}
