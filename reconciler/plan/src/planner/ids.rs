//! Ids of steps: readable, and the same while the same thing is planned.

use model::id::{Address, Name, SnapshotId, StepId};

use crate::view::View;

/// Digits of a snapshot id inside a step id: enough to be unique within one resource's points.
const SNAPSHOT_DIGITS: usize = 12;

pub(crate) fn init(repository: &Name) -> StepId {
    StepId::from(format!("init/{repository}"))
}

/// The document's name is part of the id only where several documents write the same resource to
/// the same repository.
pub(crate) fn backup(view: &View<'_>, resource: &Address, repository: &Name, doc: &Name) -> StepId {
    StepId::from(format!(
        "backup/{resource}/{repository}{}",
        suffix(view, resource, repository, doc)
    ))
}

pub(crate) fn verify_new(
    view: &View<'_>,
    resource: &Address,
    repository: &Name,
    doc: &Name,
) -> StepId {
    StepId::from(format!(
        "verify/{resource}/{repository}/new{}",
        suffix(view, resource, repository, doc)
    ))
}

fn suffix(view: &View<'_>, resource: &Address, repository: &Name, doc: &Name) -> String {
    let writers =
        view.backups(resource).iter().filter(|b| b.repositories.contains(repository)).count();
    if writers > 1 { format!("/{doc}") } else { String::new() }
}

pub(crate) fn verify(resource: &Address, repository: &Name, snapshot: &SnapshotId) -> StepId {
    let digits = snapshot.digits(SNAPSHOT_DIGITS);
    StepId::from(format!("verify/{resource}/{repository}/{digits}"))
}

/// Returns the repository, and the first digits of the point in it, of which a step is the proof;
/// `None` for other steps, and for the proof of a point that is still to be made.
pub fn proof_of(step: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = step.split('/').collect();
    match parts[..] {
        ["verify", _, _, repository, digits] if digits != "new" => Some((repository, digits)),
        _ => None,
    }
}

pub(crate) fn expire(resource: &Address, repository: &Name) -> StepId {
    StepId::from(format!("expire/{resource}/{repository}"))
}

pub(crate) fn erase(erasure: &Name, resource: &Address, repository: &Name) -> StepId {
    StepId::from(format!("erase/{erasure}/{resource}/{repository}"))
}

pub(crate) fn reclaim(repository: &Name) -> StepId {
    StepId::from(format!("reclaim/{repository}"))
}

/// Returns the id of the step that brings a resource back, for a document or by policy.
pub fn restore(resource: &Address, recovery: Option<&Name>) -> StepId {
    match recovery {
        Some(recovery) => StepId::from(format!("restore/{resource}/{recovery}")),
        None => StepId::from(format!("restore/{resource}")),
    }
}

pub(crate) fn recreate(resource: &Address) -> StepId {
    StepId::from(format!("recreate/{resource}"))
}

pub(crate) fn commit(resource: &Address) -> StepId {
    StepId::from(format!("commit/{resource}"))
}

pub(crate) fn rollback(resource: &Address) -> StepId {
    StepId::from(format!("rollback/{resource}"))
}

pub(crate) fn adopt(resource: &Address) -> StepId {
    StepId::from(format!("adopt/{resource}"))
}
