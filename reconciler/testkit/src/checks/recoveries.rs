//! What is put in place and how it ends. P3, P7 and P8.

use model::plan::{Action, Plan};
use model::receipt::ControlBody;

use crate::documents::{self, Then};
use crate::world::World;
use crate::world::stores::Snap;
use crate::world::things::{Kind, Stage};

/// How much earlier than its time a recovery may end: what clocks differ and calls take.
const SLACK_MS: i64 = 30 * 60_000;

/// A restore step that runs.
struct Restoring {
    snapshot: model::id::SnapshotId,
    repository: String,
    by_policy: bool,
    elsewhere: bool,
}

impl World {
    fn restoring(&self, actor: usize, wanted: &str) -> Option<Restoring> {
        self.actors[actor].running.values().find_map(|action| match action {
            Action::Restore { recovery, repository, snapshot, token, elsewhere, .. }
                if token == wanted =>
            {
                Some(Restoring {
                    snapshot: snapshot.clone(),
                    repository: documents::store(repository.as_str()),
                    by_policy: recovery.is_none(),
                    elsewhere: *elsewhere,
                })
            }
            _ => None,
        })
    }

    /// Whether a token is noted as served beside the data, before an instant.
    pub(crate) fn is_noted(&self, wanted: &str, before_ms: i64) -> bool {
        let bodies = self.stores.values().filter_map(|store| store.body.as_ref());
        bodies.flat_map(|body| body.snaps.values()).any(|snap| {
            snap.control.as_ref().is_some_and(|control| {
                control.at.as_millisecond() < before_ms
                    && matches!(&control.body, ControlBody::RecoveryServed { token, .. }
                        if token == wanted)
            })
        })
    }

    /// Whether our memory was lost and no note of a token is in sight. Where no point shows that it
    /// was lost, nothing is left anywhere that could tell; and where one does, what a policy brings
    /// back where nothing is harms nothing.
    fn forgot_all_of(&self, actor: usize, wanted: &str, first_ms: i64, by_policy: bool) -> bool {
        let state = &self.states[self.actors[actor].state];
        let lost = state.ever_doubted || state.doubt.is_some();
        let shows = state.doubt.as_ref().is_some_and(|doubt| self.could_notice(actor, doubt));
        let visible = self.actors[actor].pass.stores.keys();
        let mut bodies = visible.filter_map(|path| self.stores.get(path)?.body.as_ref());
        // A note of a later attempt says nothing of the first.
        let is_note = |snap: &Snap| {
            snap.made_ms <= first_ms
                && snap.control.as_ref().is_some_and(|control| {
                    matches!(&control.body, ControlBody::RecoveryServed { token, .. }
                        if token == wanted)
                })
        };
        let noted = bodies.any(|body| body.snaps.values().any(is_note));
        lost && (by_policy || !shows) && !noted
    }

    /// Something restored is about to be put in place.
    pub fn on_swap(&mut self, actor: usize, place: &str, token: &str) {
        let Some(restoring) = self.restoring(actor, token) else {
            self.broke("P3", format!("{place} is replaced by no step"));
            return;
        };
        let Some(thing) = self.things.get(place).cloned() else { return };
        if let Some(first_ms) = thing.swapped.get(token)
            && !self.forgot_all_of(actor, token, *first_ms, restoring.by_policy)
        {
            self.broke("P7", format!("token {token} is served again at {place}"));
        }
        let other = thing
            .recoveries
            .iter()
            .find(|(of, recovery)| of.as_str() != token && recovery.stage != Stage::Beside);
        if let Some((other, _)) = other
            && self.one_memory(actor)
        {
            self.broke("P7", format!("{token} goes over {other}, which is not ended"));
        }
        // A repository may be taken away between the note and the swap.
        if !self.actors[actor].pass.noted.contains(token) && !self.is_noted(token, i64::MAX) {
            self.broke("P7", format!("token {token} is served before that is noted"));
        }
        self.restored_is_whole(&restoring, place, token);
        if !restoring.elsewhere {
            self.swap_may_be(actor, place, token, &restoring);
        }
    }

    /// What lies beside is what the point holds.
    fn restored_is_whole(&mut self, restoring: &Restoring, place: &str, token: &str) {
        let body = self.stores.get(&restoring.repository).and_then(|store| store.body.as_ref());
        let point = body.and_then(|body| body.read(body.snaps.get(&restoring.snapshot)?));
        let thing = self.things.get(place);
        let beside =
            thing.and_then(|thing| thing.recoveries.get(token)).and_then(|r| r.beside.clone());
        if let Some(point) = point
            && beside.as_deref() != Some(&point)
        {
            self.broke("P7", format!("what goes to {place} is not what its point holds"));
        }
    }

    /// Live data is replaced only with a person's yes, and only if it is what the plan saw.
    fn swap_may_be(&mut self, actor: usize, place: &str, token: &str, restoring: &Restoring) {
        if restoring.by_policy {
            let recoveries = self.things.get(place).map(|thing| &thing.recoveries);
            let begun = recoveries.and_then(|recoveries| recoveries.get(token));
            let since_ms = begun.map_or(i64::MAX, |of| of.prepared_ms);
            self.policy_may(actor, place, since_ms);
        }
    }

    /// Something is about to be made anew.
    pub fn on_recreate(&mut self, actor: usize, place: &str) {
        let of = |action: &Action| match action {
            Action::Recreate { resource, .. } => {
                documents::place(resource.resource.as_str()) == place
            }
            _ => false,
        };
        if !self.runs(actor, of) {
            self.broke("P3", format!("{place} is made anew by no step"));
        }
        let open = self.things.get(place).and_then(|thing| thing.open_recovery());
        if let Some(open) = open.map(str::to_owned)
            && self.one_memory(actor)
        {
            self.broke("P7", format!("{place} is made anew over {open}, which is not ended"));
        }
        // What is written while its commands begin is theirs to see.
        self.policy_may(actor, place, i64::MAX);
    }

    /// What a policy puts over something, and when it began to.
    fn policy_may(&mut self, actor: usize, place: &str, prepared_ms: i64) {
        let Some(thing) = self.things.get(place).cloned() else { return };
        let live = thing.live.as_ref().is_some_and(|l| !l.damaged && !l.rows.is_empty());
        let damaged = thing.live.as_ref().is_some_and(|l| l.damaged);
        if let Some(why) = self.git_went_back(actor) {
            self.broke("P8", format!("{place} is restored although {why}"));
        }
        if let Some(why) = self.fleet_is_gone(actor) {
            self.broke("P1", format!("{place} is restored although {why}"));
        }
        if !live && !damaged {
            return;
        }
        // What changed after the last look of the step is a race that keeps what it replaces.
        let (kind, disturbed_ms) = (thing.kind, thing.disturbed_ms);
        let probed = self.actors[actor].pass.probed.get(place).cloned();
        let Some((first, last)) = probed else {
            // Who was answered with what was before has looked all the same.
            if !self.actors[actor].pass.misled {
                self.broke("P3", format!("{place} is replaced without a look at it"));
            }
            return;
        };
        let now = thing.live.as_ref().map(|live| thing.stored(live));
        let wrote_since = last.at_ms >= prepared_ms && now != last.stored;
        if disturbed_ms > last.at_ms || wrote_since {
            return;
        }
        if live && kind != Kind::Folder && first.stored != last.stored {
            self.broke("P3", format!("{place} moved since the plan and is replaced"));
        }
        if live && let Some(why) = self.memory_went_back(actor) {
            self.broke("P4", format!("{place} is replaced although {why}"));
        }
        let plan: Option<Plan> =
            self.actors[actor].plan.as_deref().and_then(runtime::memory::decode);
        let digest = plan.and_then(|plan| plan.destructive);
        let approved = &self.states[self.actors[actor].state].approved;
        let yes = digest.is_some_and(|digest| approved.contains(digest.as_str()));
        if live && !yes {
            self.broke("P8", format!("{place} is live and is replaced without a person's yes"));
        }
    }

    /// A recovery is about to be committed or rolled back.
    pub fn on_end(&mut self, actor: usize, place: &str, wanted: &str, commit: bool) {
        let Some(thing) = self.things.get(place).cloned() else { return };
        let Some(recovery) = thing.recoveries.get(wanted) else { return };
        let planned = |action: &Action| match action {
            Action::Commit { token, .. } => commit && token == wanted,
            Action::Rollback { token, .. } => !commit && token == wanted,
            // Where nothing was, there is nothing to decide.
            Action::Restore { token, .. } => commit && token == wanted && recovery.old.is_none(),
            _ => false,
        };
        if !self.runs(actor, planned) {
            self.broke("P3", format!("the recovery at {place} is ended by no step"));
        }
        if self.actors[actor].by_hand || (commit && recovery.old.is_none()) {
            return;
        }
        self.removal(actor, &format!("the recovery at {place} is ended"));
        let then = self.asked(actor).map_or(Then::Wait, |asked| asked.then);
        let hours = match then {
            Then::Commit(hours) if commit => hours,
            Then::Rollback(hours) if !commit => hours,
            _ => {
                self.broke("P7", format!("nobody asked to end the recovery at {place}"));
                return;
            }
        };
        let due_ms = recovery.swapped_ms + i64::try_from(hours).unwrap_or(0) * 3_600_000;
        if self.clock_ms(actor) + SLACK_MS < due_ms {
            self.broke("P7", format!("the recovery at {place} is ended before its time"));
        }
        let usable = thing.live.as_ref().is_some_and(|live| !live.damaged);
        let last_ms = self.actors[actor].pass.probed.get(place).map_or(0, |(_, l)| l.at_ms);
        if commit && !usable && thing.disturbed_ms < last_ms && !self.actors[actor].pass.misled {
            self.broke("P7", format!("what {place} had before goes, and it cannot be used"));
        }
    }
}
