//! What would help against a disaster that was asked about: the cheapest thing for each resource
//! that would not come back well, cheapest first. Called by `what_if`.

use std::collections::{BTreeMap, BTreeSet};

use model::desired::{Backup, FailureDomain, When};
use model::id::{Address, Name};
use serde::{Deserialize, Serialize};

use super::{Disaster, Fate, Lost, Survival};
use crate::view::View;

/// One thing that would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mend {
    /// How dear it is: 0 a command, 1 a line in a document, 2 more backups, 3 a new repository.
    pub cost: u8,
    /// What to do, as a sentence without full stop.
    pub what: String,
    /// Whom it helps.
    pub resources: BTreeSet<Address>,
}

/// Names what would help, cheapest first; among equals what helps most resources.
pub(super) fn mends(
    view: &View<'_>,
    lost: &Lost,
    disaster: &Disaster,
    resources: &[Survival],
    unprotected: &BTreeSet<Address>,
) -> Vec<Mend> {
    let mut found: BTreeMap<(u8, String), BTreeSet<Address>> = BTreeMap::new();
    let mut add = |(cost, what): (u8, String), address: &Address| {
        found.entry((cost, what)).or_default().insert(address.clone());
    };
    for survival in resources {
        if let Some(mend) = for_survival(view, lost, disaster, survival) {
            add(mend, &survival.resource);
        }
    }
    for address in unprotected {
        let any = view.best(address, |_| true).is_some();
        let mend =
            if any { prove(view, address) } else { elsewhere(view, lost, disaster, address) };
        add(mend, address);
    }
    let mut mends: Vec<Mend> =
        found.into_iter().map(|((cost, what), resources)| Mend { cost, what, resources }).collect();
    mends.sort_by_key(|mend| (mend.cost, std::cmp::Reverse(mend.resources.len())));
    mends
}

fn for_survival(
    view: &View<'_>,
    lost: &Lost,
    disaster: &Disaster,
    survival: &Survival,
) -> Option<(u8, String)> {
    match survival.fate {
        Fate::Gone => Some(elsewhere(view, lost, disaster, &survival.resource)),
        Fate::Unproven => Some(prove(view, &survival.resource)),
        Fate::Unknown => Some((0, "mend what keeps the repository from being read".to_owned())),
        Fate::MadeAnew => None,
        Fate::ComesBack => {
            let (loss, rpo) = (survival.loss_s?, survival.rpo_s?);
            let point = survival.point.as_ref().filter(|_| loss > rpo)?;
            Some(oftener(view, &survival.resource, &point.repository, rpo))
        }
    }
}

/// Points are there and none is proven.
fn prove(view: &View<'_>, address: &Address) -> (u8, String) {
    let silent = view
        .backups(address)
        .iter()
        .find(|b| !b.verify.after_backup && b.verify.again_after_s.is_none());
    match silent {
        Some(backup) => (1, format!("set `verify` in Backup {}: nothing is proven", backup.name)),
        None => (0, "run `mainstay apply`: it reads the unproven points again".to_owned()),
    }
}

/// No point would be left.
fn elsewhere(view: &View<'_>, lost: &Lost, disaster: &Disaster, address: &Address) -> (u8, String) {
    if let Disaster::Key(key) = disaster {
        return (
            0,
            format!("keep the secret `{key}` in a second place, outside of all that it opens"),
        );
    }
    let Some(backup) = view.backups(address).first() else {
        return (1, "write a Backup that selects it".to_owned());
    };
    let usable =
        |name: &&Name| !lost.repositories.contains(*name) && view.state(name).trouble().is_none();
    if let Some(there) = view.repositories_of(address).into_iter().find(usable) {
        return (0, format!("run `mainstay apply`: {there} has no point of it yet"));
    }
    let apart = view
        .desired
        .repositories
        .values()
        .find(|spec| usable(&&spec.name) && known_apart(disaster, &spec.failure_domain));
    match apart {
        Some(spec) => {
            (1, format!("name the repository {} in Backup {} as well", spec.name, backup.name))
        }
        None => {
            let what = disaster.words();
            (
                3,
                format!(
                    "make a repository outside of {what} and name it in Backup {}",
                    backup.name
                ),
            )
        }
    }
}

/// Whether a repository's document says that it is not where the disaster is. One that says nothing
/// is no mend: it may lie in the same place.
fn known_apart(disaster: &Disaster, domain: &FailureDomain) -> bool {
    match disaster {
        Disaster::Host(_) => domain.host.is_some() || domain.site.is_some(),
        Disaster::Site(_) => domain.site.is_some(),
        Disaster::Account(_) => domain.account.is_some(),
        Disaster::Credentials(_) => domain.credentials.is_some(),
        Disaster::Repository(_) | Disaster::Cluster(_) | Disaster::Key(_) => true,
    }
}

/// The point that is left is older than it may be.
fn oftener(view: &View<'_>, address: &Address, repository: &Name, rpo_s: u64) -> (u8, String) {
    let writes = |backup: &&&Backup| backup.repositories.contains(repository);
    let rpo = crate::render::duration(rpo_s);
    match view.backups(address).iter().find(writes) {
        Some(backup) => {
            let schedule = match &backup.schedule.when {
                When::Cron { expression } => format!("`{expression}`"),
                When::Every { seconds } => format!("every {}", crate::render::duration(*seconds)),
                When::Never => "only when asked".to_owned(),
            };
            let name = &backup.name;
            (2, format!("back up to {repository} within {rpo}: Backup {name} runs {schedule}"))
        }
        None => (2, format!("back up to {repository} again: no Backup writes there")),
    }
}
