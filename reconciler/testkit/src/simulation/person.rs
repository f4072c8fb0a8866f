//! What a person does who reads plans and decides; through the same operations as the command line.

use std::sync::Arc;

use model::cancel::Cancel;
use model::plan::{Plan, Wait};
use operations::recovery::End;
use runtime::{Observer, Unobserved};

use super::{Director, owner, thing_name, wire};
use crate::documents::Documents;

impl Director {
    /// Reads the last plan; accepts every alarm and approves what waits for approval.
    pub(crate) async fn person_looks(&mut self) {
        let plan: Option<Plan> = {
            let world = self.shared.lock();
            let plans = world.states[0].records.get(runtime::memory::kind::PLAN);
            plans.and_then(|plans| plans.get("last")).and_then(runtime::memory::decode)
        };
        let Some(plan) = plan else { return };
        self.decide(&plan).await;
    }

    /// Says yes to everything that a plan asks. Returns whether it asked for anything.
    pub(crate) async fn decide(&mut self, plan: &Plan) -> bool {
        let actor = self.enter(0, 0, true);
        let world = wire(&self.shared, actor);
        let steps = plan.steps.iter().flat_map(|step| &step.waits);
        let mut waits: Vec<Wait> = plan.report.alarms.iter().chain(steps).cloned().collect();
        waits.sort();
        waits.dedup();
        let (mut asked, mut killed) = (false, false);
        for wait in waits {
            match wait {
                Wait::Approval { digest } => {
                    asked = true;
                    self.shared.lock().states[0].approved.insert(digest.to_string());
                    // A failure leaves it waiting, as it would for a person.
                    let approved = operations::decide::approve(&world, digest.as_str(), "ops");
                    killed = self.unless_killed(actor, approved).await.is_none();
                }
                Wait::Alarm { accept, .. } => {
                    asked = true;
                    {
                        let mut shared = self.shared.lock();
                        let state = &mut shared.states[0];
                        state.accepted.insert(accept.clone());
                        if accept.starts_with("memory:") || accept.starts_with("epoch:") {
                            state.doubt = None;
                        }
                    }
                    let accepted = operations::decide::accept(&world, &accept, "ops");
                    killed = self.unless_killed(actor, accepted).await.is_none();
                }
                _ => {}
            }
            if killed {
                // The memory stays: the daemon beside it has it open.
                break;
            }
        }
        self.shared.lock().actors[actor].dead = true;
        asked
    }

    /// Stops the daemon, ends the recovery of a thing, and starts the daemon again.
    pub(crate) async fn person_ends(&mut self, thing: usize, commit: bool) {
        let Some((state, skew_ms)) = self.stop(false).await else { return };
        self.end_by_hand(thing, commit).await;
        self.first = Some(self.start(state, skew_ms));
    }

    pub(crate) async fn end_by_hand(&mut self, thing: usize, commit: bool) {
        let actor = self.enter(0, 0, true);
        let world = wire(&self.shared, actor);
        let Ok(address) = Documents::address(&thing_name(&self.scenario, thing)).parse() else {
            return;
        };
        let end = if commit { End::Commit } else { End::Rollback };
        let owner = owner("commit", actor, &*world.clock);
        let observer: Arc<dyn Observer> = Arc::new(Unobserved);
        let cancel = Cancel::default();
        let work = operations::recovery::end(&world, &owner, &address, end, &observer, &cancel);
        let _ = self.unless_killed(actor, work).await;
        let mut shared = self.shared.lock();
        let fate = shared.actors[actor].fate;
        shared.actors[actor].dead = true;
        shared.actors[actor].running.clear();
        if let Some(fate) = fate {
            shared.forget_state(0, fate);
        }
    }
}
