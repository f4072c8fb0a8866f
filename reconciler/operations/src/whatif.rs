//! `whatif`: questions to what is seen now, or to a bundle that was taken along.

use std::sync::Arc;

use model::Timestamp;
use model::cancel::Cancel;
use model::desired::Desired;
use model::observed::{Ancestry, Observation, Observed, RepositoryObservation};
use model::plan::Plan;
use plan::whatif::{Difference, Disaster, Forecast, Measured, WhatIf};
use runtime::pass::{Pass, PassError};
use runtime::{Observer, World};

use crate::bundle::{Bundle, HISTORY_MAX};

/// What a question is asked of.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the documents ask for.
    pub desired: Arc<Desired>,
    /// What was seen.
    pub observed: Arc<Observed>,
    /// When.
    pub at: Timestamp,
    /// How fast restores were.
    pub measured: Measured,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Looks at the world now.
///
/// # Errors
/// As a pass has them; a journal that cannot be read only leaves times unknown.
pub async fn look(
    world: &World,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Seen, Pass), PassError> {
    let only = std::collections::BTreeSet::new();
    let pass = crate::status::look(world, None, only, observer, cancel).await?;
    Ok((seen(world, &pass).await, pass))
}

/// What a pass saw, to be asked; a journal that cannot be read only leaves times unknown.
pub async fn seen(world: &World, pass: &Pass) -> Seen {
    let history = crate::history::history(world, None, HISTORY_MAX).await;
    let mut notes = pass.notes.clone();
    let history = history.unwrap_or_else(|error| {
        notes.push(format!("the journal could not be read: {}", error.chain()));
        Vec::new()
    });
    Seen {
        desired: pass.desired.clone(),
        observed: pass.observed.clone(),
        at: pass.plan.at,
        measured: crate::bundle::measured(&history),
        notes,
    }
}

impl From<Bundle> for Seen {
    fn from(bundle: Bundle) -> Self {
        let mut notes = bundle.notes.clone();
        if bundle.replaced > 0 {
            let n = bundle.replaced;
            notes.push(format!("{n} values were replaced in the bundle: digests differ from home"));
        }
        if bundle.mainstay != model::VERSION {
            let made = &bundle.mainstay;
            notes
                .push(format!("the bundle was made by version {made}: plans may differ from home"));
        }
        Self {
            at: bundle.at,
            measured: bundle.measured(),
            desired: Arc::new(bundle.desired),
            observed: Arc::new(bundle.observed),
            notes,
        }
    }
}

impl Seen {
    /// Something is lost. The name must be one that the documents know.
    ///
    /// # Errors
    /// In words, with the names that are known.
    pub fn lose(&self, kind: &str, name: &str) -> Result<WhatIf, String> {
        let disaster: Disaster = crate::scenario::disaster(&self.desired, kind, name)?;
        let (desired, observed) = (&self.desired, &self.observed);
        Ok(plan::whatif::what_if(desired, observed, self.at, &self.measured, &disaster))
    }

    /// The next days of all schedules.
    pub fn schedules(&self, days: u32) -> Forecast {
        plan::whatif::forecast(&self.desired, &self.observed, self.at, days)
    }

    /// The plan as it is.
    pub fn plan(&self) -> Plan {
        plan::plan(&self.desired, &self.observed, self.at)
    }
}

/// What changed documents would do.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The plan under the changed documents.
    pub plan: Plan,
    /// How it differs from the present plan.
    pub difference: Difference,
    /// What was never looked at, because only the changed documents speak of it.
    pub unseen: Vec<String>,
}

/// Asks what changed documents would do. With a world, what only they speak of is looked at;
/// without one it is not known.
pub async fn policy(
    seen: &Seen,
    changed: Desired,
    world: Option<&World>,
    cancel: &Cancel,
) -> Changed {
    let changed = Arc::new(changed);
    let mut observed = (*seen.observed).clone();
    let fresh = |address: &&model::id::Address| {
        let now = changed.resources.get(*address).map(|r| (&r.agent, &r.target));
        now != seen.desired.resources.get(*address).map(|r| (&r.agent, &r.target))
    };
    let resources: std::collections::BTreeSet<_> =
        changed.resources.keys().filter(fresh).cloned().collect();
    let moved = |name: &&model::id::Name| {
        let now = changed.repositories.get(*name).map(|r| (&r.storage, &r.password));
        now != seen.desired.repositories.get(*name).map(|r| (&r.storage, &r.password))
    };
    let repositories: std::collections::BTreeSet<_> =
        changed.repositories.keys().filter(moved).cloned().collect();
    let mut unseen = Vec::new();
    if let Some(world) = world {
        let looked = runtime::observe::look(world, &changed, resources, repositories, cancel).await;
        observed.resources.extend(looked.0);
        observed.repositories.extend(looked.1);
    } else {
        let (reason, detail) = ("NotLookedAt", "the bundle was made before a document spoke of it");
        for address in resources {
            unseen.push(format!("resource {address}"));
            let unknown =
                Observation::Unknown { reason: reason.to_owned(), detail: detail.to_owned() };
            observed.resources.insert(address, unknown);
        }
        for name in repositories {
            unseen.push(format!("repository {name}"));
            let (reason, detail) = (reason.to_owned(), detail.to_owned());
            observed.repositories.insert(name, RepositoryObservation::Unknown { reason, detail });
        }
    }
    // The changed documents would be the next commit.
    if observed.memory.last_applied.is_some() {
        observed.memory.ancestry = Ancestry::Descends;
    }
    let plan = plan::plan(&changed, &observed, seen.at);
    let mut difference = plan::whatif::difference(&seen.plan(), &plan);
    difference.resources = plan::whatif::resources(&seen.desired, &changed);
    Changed { plan, difference, unseen }
}
