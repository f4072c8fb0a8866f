//! Looks at the world: every resource and every repository, at most so many at once. What cannot be
//! looked at is `Unknown`; nothing here fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::cancel::Cancel;
use model::desired::Desired;
use model::id::{Address, Name};
use model::observed::{Memory, Observation, Observed, RepositoryObservation};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::world::World;

enum Seen {
    Resource(Address, Observation),
    Repository(Name, RepositoryObservation),
}

/// Looks at everything that is desired.
pub async fn observe(
    world: &World,
    desired: &Arc<Desired>,
    memory: Memory,
    cancel: &Cancel,
) -> Observed {
    let resources = desired.resources.keys().cloned().collect();
    let repositories = desired.repositories.keys().cloned().collect();
    let (resources, repositories) = look(world, desired, resources, repositories, cancel).await;
    Observed { at: world.clock.now(), resources, repositories, memory }
}

/// Looks at some resources and repositories.
pub async fn look(
    world: &World,
    desired: &Arc<Desired>,
    resources: BTreeSet<Address>,
    repositories: BTreeSet<Name>,
    cancel: &Cancel,
) -> (BTreeMap<Address, Observation>, BTreeMap<Name, RepositoryObservation>) {
    let permits = Arc::new(Semaphore::new(world.limits.observations_max.max(1)));
    let mut tasks = JoinSet::new();
    for address in resources {
        let (world, desired) = (world.clone(), desired.clone());
        let (permits, cancel) = (permits.clone(), cancel.clone());
        let span = tracing::info_span!("probe", resource = %address);
        let task = async move {
            let _permit = permits.acquire_owned().await;
            let seen = match desired.resources.get(&address) {
                Some(resource) => world.agents.probe(resource, &cancel).await,
                None => Observation::Unknown {
                    reason: "NotDesired".into(),
                    detail: "no document describes it".into(),
                },
            };
            Seen::Resource(address, seen)
        };
        tasks.spawn(task.instrument(span));
    }
    for name in repositories {
        let (world, desired, permits) = (world.clone(), desired.clone(), permits.clone());
        let span = tracing::info_span!("open", repository = %name);
        let task = async move {
            let _permit = permits.acquire_owned().await;
            let seen = match desired.repositories.get(&name) {
                Some(spec) => world.engine.observe(spec).await,
                None => RepositoryObservation::Unknown {
                    reason: "NotDesired".into(),
                    detail: "no document describes it".into(),
                },
            };
            Seen::Repository(name, seen)
        };
        tasks.spawn(task.instrument(span));
    }
    collect(tasks).await
}

async fn collect(
    mut tasks: JoinSet<Seen>,
) -> (BTreeMap<Address, Observation>, BTreeMap<Name, RepositoryObservation>) {
    let (mut resources, mut repositories) = (BTreeMap::new(), BTreeMap::new());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(Seen::Resource(address, seen)) => {
                tracing::debug!(resource = %address, seen = word(&seen), "observed");
                resources.insert(address, seen);
            }
            Ok(Seen::Repository(name, seen)) => {
                repositories.insert(name, seen);
            }
            // A probe that panicked leaves its resource out of the observation, which the planner
            // reads as unknown.
            Err(error) => tracing::error!(%error, "an observation broke off"),
        }
    }
    (resources, repositories)
}

fn word(seen: &Observation) -> &'static str {
    match seen {
        Observation::Known { damaged: None, .. } => "known",
        Observation::Known { .. } => "damaged",
        Observation::Absent { .. } => "absent",
        Observation::Unknown { .. } => "unknown",
    }
}
