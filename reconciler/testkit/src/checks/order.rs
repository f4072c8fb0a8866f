//! In which order the steps of a plan begin. The rules are written down here once more and read the
//! steps alone, never what the planner says that a step needs.

use std::sync::Arc;

use model::id::{Address, Name, StepId};
use model::plan::{Action, Plan, SnapshotRef, Step};

use crate::documents::{self, Documents};
use crate::world::World;

impl World {
    /// A step begins: what must come before it has succeeded, and nothing in its way runs.
    pub(crate) fn on_begun(&mut self, actor: usize, id: &StepId, action: &Action) {
        let in_the_way: Vec<StepId> = self.actors[actor]
            .running
            .iter()
            .filter(|(other, of)| *other != id && are_in_each_others_way(action, of))
            .map(|(other, _)| other.clone())
            .collect();
        for other in in_the_way {
            self.broke("order", format!("{id} begins while {other} runs"));
        }
        let Some(plan) = self.last_plan(actor) else { return };
        let asked = self.asked(actor).cloned();
        let unread = self.is_unread(action);
        let before =
            plan.steps.iter().filter(|step| goes_before(step, action, asked.as_ref(), unread));
        let done = &self.actors[actor].pass.done;
        let early = before.map(|step| &step.id).find(|of| *of != id && !done.contains(*of));
        if let Some(of) = early.cloned() {
            self.broke("order", format!("{id} begins, and {of} before it did not succeed"));
        }
    }

    /// Whether a restore takes a point whose stored bytes nobody ever read. One that was read may
    /// be due to be read again without being in the way.
    fn is_unread(&self, action: &Action) -> bool {
        let Action::Restore { repository, snapshot, .. } = action else { return false };
        let store = self.stores.get(&documents::store(repository.as_str()));
        let body = store.and_then(|store| store.body.as_ref());
        body.and_then(|body| body.snaps.get(snapshot)).is_some_and(|point| !point.proven)
    }

    /// The plan that an actor wrote down last, read once.
    fn last_plan(&mut self, actor: usize) -> Option<Arc<Plan>> {
        let actor = &mut self.actors[actor];
        if actor.read.is_none() {
            let plan = actor.plan.as_deref().and_then(runtime::memory::decode::<Plan>)?;
            actor.read = Some(Arc::new(plan));
        }
        actor.read.clone()
    }
}

/// One step at a time has a resource, and what makes, empties or forgets has its repository alone.
fn are_in_each_others_way(one: &Action, other: &Action) -> bool {
    let alone = |action: &Action| {
        matches!(action, Action::Init { .. } | Action::Expire { .. } | Action::Reclaim { .. })
    };
    let same_resource = one.resource().is_some() && one.resource() == other.resource();
    let same_repository = one.repository().is_some() && one.repository() == other.repository();
    same_resource || (same_repository && (alone(one) || alone(other)))
}

/// Whether a step of the plan must have succeeded before an action begins.
fn goes_before(step: &Step, action: &Action, asked: Option<&Documents>, unread: bool) -> bool {
    let of = |address: &Address, name: &Name| {
        step.action.resource() == Some(address) && step.action.repository() == Some(name)
    };
    match (&step.action, action) {
        // A repository is there before anything is written to it.
        (Action::Init { repository }, Action::Backup { repository: to, .. }) => repository == to,
        // What replaces the old is written and proven before the old goes. Known points are proven
        // anew beside that; one that is damaged must not keep everything for ever.
        (
            Action::Backup { .. } | Action::Verify { snapshot: SnapshotRef::Of(_), .. },
            Action::Expire { resource, repository, .. },
        ) => of(resource, repository),
        // What is brought back was read before.
        (
            Action::Verify { snapshot: SnapshotRef::Id(read), repository, .. },
            Action::Restore { snapshot, repository: from, .. },
        ) => unread && read == snapshot && repository == from,
        // What something depends on is back before it.
        (
            Action::Restore { resource: first, elsewhere: false, recovery: None, .. }
            | Action::Recreate { resource: first, .. },
            Action::Restore { resource, elsewhere: false, recovery: None, .. }
            | Action::Recreate { resource, .. },
        ) => asked.is_some_and(|asked| asked.depends(resource, first)),
        // A prune finds all that was forgotten.
        (Action::Expire { repository, .. }, Action::Reclaim { repository: pruned }) => {
            repository == pruned
        }
        _ => false,
    }
}
