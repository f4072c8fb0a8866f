//! What if something were lost now: which resources are hit, what could be brought back, from
//! where, in which order, how old it would be, how long it would take, and what the cheapest mend
//! is. Called by `whatif`; a pure question to an observation, for which no target need be reached.
//!
//! `mend` names what would help, `forecast` runs schedules ahead, `difference` compares two plans.

mod difference;
mod forecast;
mod mend;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::agent::{Agent, Arg, Command, Piece};
use model::desired::{
    ConditionKind, Desired, FailureDomain, RepositorySpec, Response, StorageSpec,
};
use model::id::{Address, Name, TargetRef};
use model::observed::{Observed, RepositoryObservation};
use serde::{Deserialize, Serialize};

pub use self::difference::{Difference, StepChange, VerdictChange, difference, resources};
pub use self::forecast::{FORECAST_SLOTS_MAX, Forecast, Load, forecast};
pub use self::mend::Mend;
use crate::graph::Graph;
use crate::status::PointStatus;
use crate::view::View;

/// What is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Disaster {
    /// A host and what lies on it.
    Host(Name),
    /// A cluster and what lies on it.
    Cluster(Name),
    /// A repository.
    Repository(Name),
    /// A building or region.
    Site(String),
    /// An account at a provider.
    Account(String),
    /// Who holds these credentials deletes everything that they reach.
    Credentials(String),
    /// A secret, by its name: what it encrypts can no longer be read.
    Key(String),
}

impl Disaster {
    /// Returns it in words, such as `site north`.
    pub fn words(&self) -> String {
        match self {
            Self::Host(name) => format!("host {name}"),
            Self::Cluster(name) => format!("cluster {name}"),
            Self::Repository(name) => format!("repository {name}"),
            Self::Site(name) => format!("site {name}"),
            Self::Account(name) => format!("account {name}"),
            Self::Credentials(name) => format!("credentials {name}"),
            Self::Key(name) => format!("key {name}"),
        }
    }
}

/// What was measured, by repository: the base of estimates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Restores: read, written and compared.
    pub restores: BTreeMap<Name, Rate>,
    /// Verifications: read only, so that a restore takes longer.
    pub verifications: BTreeMap<Name, Rate>,
}

/// Bytes in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Bytes of all runs.
    pub bytes: u64,
    /// Milliseconds of all runs.
    pub milliseconds: u64,
    /// How many runs.
    pub runs: u64,
}

impl Rate {
    /// Adds a run.
    pub fn add(&mut self, bytes: u64, milliseconds: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.milliseconds = self.milliseconds.saturating_add(milliseconds);
        self.runs = self.runs.saturating_add(1);
    }

    /// Returns how long so many bytes take, in whole seconds, rounded up; `None` without a base.
    pub fn seconds_for(&self, bytes: u64) -> Option<u64> {
        let (bytes, whole) = (u128::from(bytes), u128::from(self.bytes));
        if whole == 0 {
            return None;
        }
        let seconds = (bytes * u128::from(self.milliseconds)).div_ceil(whole).div_ceil(1000);
        u64::try_from(seconds).ok()
    }
}

/// How long something takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Duration {
    /// As restores from the same repository were measured.
    About {
        /// Seconds.
        seconds: u64,
        /// How many restores that rests on.
        runs: u64,
    },
    /// Longer than this: only reading was measured.
    MoreThan {
        /// Seconds.
        seconds: u64,
    },
    /// Nothing was measured.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Whether a resource comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// From a proven point.
    ComesBack,
    /// From a point whose stored bytes nobody has read again.
    Unproven,
    /// Its policy has it made anew; what it held does not come back by that.
    MadeAnew,
    /// A repository that may hold a point could not be read.
    Unknown,
    /// There is no point left.
    Gone,
}

/// What would be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhatIf {
    /// The instant of the question.
    pub at: Timestamp,
    /// What is lost.
    pub disaster: Disaster,
    /// Hosts that go with it.
    pub hosts: BTreeSet<Name>,
    /// Clusters that go with it.
    pub clusters: BTreeSet<Name>,
    /// Repositories that go with it.
    pub repositories: BTreeSet<Name>,
    /// The resources whose live data is gone, in the order in which they would be brought back.
    pub resources: Vec<Survival>,
    /// Resources whose live data stays, but not one proven point of which is left.
    pub unprotected: BTreeSet<Address>,
    /// Resources whose live data stays and that are reached with the lost key: neither looked at,
    /// backed up nor restored until it is set anew.
    pub locked: BTreeSet<Address>,
    /// Repositories that are reached with the lost key: their data is there and out of reach until
    /// the service's owner makes another credential.
    pub closed: BTreeSet<Name>,
    /// Things whose failure domain the documents do not tell; they are taken to survive, so the
    /// truth may be worse.
    pub unknown_domains: BTreeSet<String>,
    /// How long all restores take, one after the other.
    pub duration: Duration,
    /// What would help, cheapest first.
    pub mends: Vec<Mend>,
}

/// What would be left of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survival {
    /// The resource.
    pub resource: Address,
    /// Whether it comes back.
    pub fate: Fate,
    /// Why it does not, or not surely; who has it made anew.
    pub why: Option<String>,
    /// The point to bring back; `None`: there is none, or it is made anew.
    pub point: Option<PointStatus>,
    /// The point's stored bytes were read again.
    pub proven: bool,
    /// How much would be lost, in seconds.
    pub loss_s: Option<u64>,
    /// How much may be lost.
    pub rpo_s: Option<u64>,
    /// How many bytes come back.
    pub bytes: Option<u64>,
    /// How long that takes.
    pub duration: Duration,
    /// How long it may take.
    pub rto_s: Option<u64>,
    /// What must be brought back before it.
    pub after: BTreeSet<Address>,
}

/// Answers the question.
pub fn what_if(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    measured: &Measured,
    disaster: &Disaster,
) -> WhatIf {
    let lost = Lost::new(desired, disaster);
    let left = without(observed, &lost.repositories);
    let view = View::new(desired, &left, now);
    let graph = Graph::new(desired);
    let mut resources = Vec::new();
    let mut unprotected = BTreeSet::new();
    for address in graph.order() {
        if lost.has(desired, address) {
            let needs = graph.nearest(address, |a| lost.has(desired, a));
            let after = needs.into_iter().cloned().collect();
            resources.push(survival(&view, &lost, measured, address, after));
        } else if view.newest_proven(address).is_none() {
            unprotected.insert((*address).clone());
        }
    }
    let (locked, closed) = match disaster {
        Disaster::Key(key) => (locked(desired, key), closed(desired, key)),
        _ => (BTreeSet::new(), BTreeSet::new()),
    };
    WhatIf {
        at: now,
        disaster: disaster.clone(),
        unknown_domains: unknown_domains(desired, disaster),
        duration: total(&resources),
        mends: mend::mends(&view, &lost, disaster, &resources, &unprotected),
        hosts: lost.hosts,
        clusters: lost.clusters,
        repositories: lost.repositories,
        resources,
        unprotected,
        locked,
        closed,
    }
}

/// Returns the names that can be asked for, by the word of the disaster.
pub fn names(desired: &Desired) -> BTreeMap<&'static str, BTreeSet<String>> {
    let domains = || {
        let repositories = desired.repositories.values().map(|r| &r.failure_domain);
        desired.hosts.values().map(|h| &h.failure_domain).chain(repositories)
    };
    let field = |of: fn(&FailureDomain) -> &Option<String>| -> BTreeSet<String> {
        domains().filter_map(|domain| of(domain).clone()).collect()
    };
    let clusters = desired.resources.values().filter_map(|r| match &r.target {
        TargetRef::Cluster(name) => Some(name.to_string()),
        TargetRef::Host(_) => None,
    });
    let mut hosts: BTreeSet<String> = desired.hosts.keys().map(ToString::to_string).collect();
    hosts.extend(field(|d| &d.host));
    let passwords = desired.repositories.values().map(|r| r.password.0.clone());
    let credentials = desired.repositories.values().flat_map(credentials_of);
    let secrets = desired.resources.values().flat_map(|r| secrets_of(&r.agent)).chain(credentials);
    BTreeMap::from([
        ("account", field(|d| &d.account)),
        ("cluster", clusters.collect()),
        ("credentials", field(|d| &d.credentials)),
        ("host", hosts),
        ("key", passwords.chain(secrets).collect()),
        ("repository", desired.repositories.keys().map(ToString::to_string).collect()),
        ("site", field(|d| &d.site)),
    ])
}

/// What goes with a disaster.
pub(crate) struct Lost {
    pub(crate) hosts: BTreeSet<Name>,
    pub(crate) clusters: BTreeSet<Name>,
    pub(crate) repositories: BTreeSet<Name>,
}

impl Lost {
    fn new(desired: &Desired, disaster: &Disaster) -> Self {
        let hosts: BTreeSet<Name> = desired
            .hosts
            .iter()
            .filter(|(name, host)| hits(disaster, Some(*name), None, &host.failure_domain))
            .map(|(name, _)| name.clone())
            .collect();
        let repositories = desired
            .repositories
            .iter()
            .filter(|(name, spec)| {
                let on_lost_host = spec
                    .failure_domain
                    .host
                    .as_ref()
                    .is_some_and(|on| hosts.iter().any(|host| host.as_str() == on));
                let locked = matches!(disaster, Disaster::Key(key) if spec.password.0 == *key);
                on_lost_host || locked || hits(disaster, None, Some(*name), &spec.failure_domain)
            })
            .map(|(name, _)| name.clone())
            .collect();
        let clusters = match disaster {
            Disaster::Cluster(name) => BTreeSet::from([name.clone()]),
            _ => BTreeSet::new(),
        };
        Self { hosts, clusters, repositories }
    }

    /// Whether a resource's live data is gone.
    fn has(&self, desired: &Desired, address: &Address) -> bool {
        desired.resources.get(address).is_some_and(|resource| match &resource.target {
            TargetRef::Host(host) => self.hosts.contains(host),
            TargetRef::Cluster(cluster) => self.clusters.contains(cluster),
        })
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
        Disaster::Cluster(_) | Disaster::Key(_) => false,
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

fn survival(
    view: &View<'_>,
    lost: &Lost,
    measured: &Measured,
    address: &Address,
    after: BTreeSet<Address>,
) -> Survival {
    let anew = view
        .policy(address)
        .filter(|policy| policy.on.get(&ConditionKind::Lost) == Some(&Response::Recreate));
    let (proven, point) = match anew {
        Some(_) => (None, None),
        None => {
            let proven = view.newest_proven(address);
            (proven, proven.or_else(|| view.best(address, |_| true)))
        }
    };
    let bytes = point.and_then(|point| point.receipt()).map(|receipt| receipt.bytes);
    let objectives = view.desired.resources.get(address).map(|r| &r.objectives);
    let (fate, why) = match anew {
        Some(policy) => {
            let why = format!("policy {} has it made anew; what it held is gone", policy.name);
            (Fate::MadeAnew, Some(why))
        }
        None => fate(view, lost, address, point.is_some(), proven.is_some()),
    };
    Survival {
        resource: address.clone(),
        fate,
        why,
        point: point.as_ref().map(|point| PointStatus {
            repository: point.repository.clone(),
            snapshot: point.id().clone(),
            taken_at: point.taken_at(),
        }),
        proven: proven.is_some(),
        loss_s: point.as_ref().map(|point| {
            u64::try_from(view.now.duration_since(point.taken_at()).as_secs()).unwrap_or(0)
        }),
        rpo_s: objectives.and_then(|o| o.rpo_s),
        rto_s: objectives.and_then(|o| o.rto_s),
        duration: duration(measured, point.map(|p| p.repository), bytes),
        bytes,
        after,
    }
}

fn fate(
    view: &View<'_>,
    lost: &Lost,
    address: &Address,
    point: bool,
    proven: bool,
) -> (Fate, Option<String>) {
    if proven {
        return (Fate::ComesBack, None);
    }
    if point {
        let why = "no stored byte of any point that is left was read again";
        return (Fate::Unproven, Some(why.to_owned()));
    }
    let mine = view.repositories_of(address);
    if mine.is_empty() {
        return (Fate::Gone, Some("no backup covers it".to_owned()));
    }
    let left: Vec<&Name> = mine.into_iter().filter(|r| !lost.repositories.contains(*r)).collect();
    if left.is_empty() {
        return (Fate::Gone, Some("every repository that it is backed up to is lost".to_owned()));
    }
    for name in &left {
        if let Some((_, detail)) = view.state(name).trouble() {
            return (Fate::Unknown, Some(format!("{name} may have points, but {detail}")));
        }
    }
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    (Fate::Gone, Some(format!("{} has no good point of it", names.join(", "))))
}

fn duration(measured: &Measured, repository: Option<&Name>, bytes: Option<u64>) -> Duration {
    let unknown = |why: String| Duration::Unknown { why };
    let Some(repository) = repository else {
        return unknown("there is nothing to restore".to_owned());
    };
    let Some(bytes) = bytes else {
        return unknown("the point has no receipt that says how large it is".to_owned());
    };
    let restores = measured.restores.get(repository);
    if let Some((rate, seconds)) = restores.and_then(|r| Some((r, r.seconds_for(bytes)?))) {
        return Duration::About { seconds, runs: rate.runs };
    }
    match measured.verifications.get(repository).and_then(|rate| rate.seconds_for(bytes)) {
        Some(seconds) => Duration::MoreThan { seconds },
        None => unknown(format!("no restore or verification from {repository} was measured")),
    }
}

/// The sum; one that is not known makes the sum unknown.
fn total(resources: &[Survival]) -> Duration {
    let (mut sum, mut runs_min, mut more) = (0_u64, u64::MAX, false);
    for survival in resources.iter().filter(|s| s.point.is_some()) {
        match &survival.duration {
            Duration::About { seconds, runs } => {
                sum = sum.saturating_add(*seconds);
                runs_min = runs_min.min(*runs);
            }
            Duration::MoreThan { seconds } => {
                sum = sum.saturating_add(*seconds);
                more = true;
            }
            Duration::Unknown { why } => {
                return Duration::Unknown { why: format!("{}: {why}", survival.resource) };
            }
        }
    }
    match (more, runs_min) {
        (true, _) => Duration::MoreThan { seconds: sum },
        (false, u64::MAX) => Duration::Unknown { why: "there is nothing to restore".to_owned() },
        (false, runs) => Duration::About { seconds: sum, runs },
    }
}

/// The resources that are reached with a secret.
fn locked(desired: &Desired, key: &str) -> BTreeSet<Address> {
    let uses = |agent: &Agent| secrets_of(agent).contains(key);
    desired.resources.values().filter(|r| uses(&r.agent)).map(|r| r.address.clone()).collect()
}

/// The repositories that are reached with a secret.
fn closed(desired: &Desired, key: &str) -> BTreeSet<Name> {
    let uses = |spec: &RepositorySpec| credentials_of(spec).contains(key);
    desired.repositories.values().filter(|spec| uses(spec)).map(|spec| spec.name.clone()).collect()
}

/// The names of the secrets that a repository's storage is reached with, its password apart.
fn credentials_of(spec: &RepositorySpec) -> BTreeSet<String> {
    match &spec.storage {
        StorageSpec::Local { .. } => BTreeSet::new(),
        StorageSpec::Remote(remote) => {
            remote.secrets().into_iter().map(|secret| secret.0.clone()).collect()
        }
    }
}

/// The names of the secrets that an agent uses.
pub(crate) fn secrets_of(agent: &Agent) -> BTreeSet<String> {
    let mut commands: Vec<&Command> = agent.probe.iter().collect();
    commands.extend(agent.session.iter().map(|session| &session.command));
    commands.extend(agent.streams.iter().map(|stream| &stream.command));
    if let Some(recovery) = &agent.recovery {
        let lists = [
            &recovery.state,
            &recovery.prepare,
            &recovery.verify,
            &recovery.swap,
            &recovery.commit,
        ];
        commands.extend(lists.into_iter().flatten());
        commands.extend(recovery.rollback.iter().chain(&recovery.discard));
        commands.extend(recovery.load.iter().map(|load| &load.command));
    }
    let args = commands.iter().flat_map(|c| c.argv.iter().chain(&c.input));
    let pieces = |arg: &Arg| arg.0.clone();
    args.chain(agent.env.values())
        .flat_map(pieces)
        .filter_map(|piece| match piece {
            Piece::Secret(secret) => Some(secret.0),
            Piece::Text(_) | Piece::Hole(_) => None,
        })
        .collect()
}

/// What cannot be told to survive, because its document does not say where it is.
fn unknown_domains(desired: &Desired, disaster: &Disaster) -> BTreeSet<String> {
    let says_nothing = |domain: &FailureDomain| match disaster {
        Disaster::Host(_) => domain.host.is_none(),
        Disaster::Repository(_) | Disaster::Cluster(_) | Disaster::Key(_) => false,
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
