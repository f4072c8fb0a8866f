//! The config repository of the simulated world, with the cache of fetched commits that lies in an
//! actor's own memory.

use model::error::PortError;
use model::id::CommitId;
use model::observed::Ancestry;
use model::ports::Boxed;
use model::ports::source::{ConfigTree, Source};

use super::Ports;
use crate::faults::{Fault, Op};
use crate::world::{PassFacts, World};

/// See the module.
pub struct SimulatedSource(pub Ports);

fn tree(world: &World, number: usize) -> ConfigTree {
    let commit = &world.history.commits[number];
    ConfigTree {
        commit: commit.id.clone(),
        reference: "main".to_owned(),
        committed_at: None,
        files: commit.files.clone(),
    }
}

impl Source for SimulatedSource {
    fn fetch(&self) -> Boxed<'_, Result<ConfigTree, PortError>> {
        let actor = self.0.actor;
        Box::pin(async move {
            self.0.world.lock().begin_pass(actor);
            let act = move |world: &mut World, fault: Option<Fault>| {
                if world.history.cut_off || world.history.commits.is_empty() {
                    return Err(PortError::transient("Unreachable", "git does not answer"));
                }
                let number = match fault {
                    Some(Fault::Stale) => world.history.before,
                    // Half a fetch is no fetch: fewer files than the commit has are never answered.
                    Some(Fault::Partial) => {
                        return Err(PortError::transient("FetchBroken", "the connection broke"));
                    }
                    _ => world.history.head,
                };
                let state = world.actors[actor].state;
                world.states[state].lineage.fetched.insert(number);
                world.actors[actor].pass.commit = Some(number);
                Ok(tree(world, number))
            };
            self.0.call(Op::SourceFetch, "main", None, act).await
        })
    }

    fn at<'a>(&'a self, commit: &'a CommitId) -> Boxed<'a, Result<ConfigTree, PortError>> {
        let actor = self.0.actor;
        let act = move |world: &mut World, _: Option<Fault>| {
            let state = world.actors[actor].state;
            let fetched = &world.states[state].lineage.fetched;
            match world.history.find(commit).filter(|number| fetched.contains(number)) {
                Some(number) => {
                    world.actors[actor].pass.commit = Some(number);
                    Ok(tree(world, number))
                }
                None => Err(PortError::terminal("CommitUnknown", "it was never fetched")),
            }
        };
        Box::pin(self.0.call(Op::SourceAt, commit.short(), None, act))
    }

    fn ancestry<'a>(&'a self, old: &'a CommitId, new: &'a CommitId) -> Boxed<'a, Ancestry> {
        let actor = self.0.actor;
        let act = move |world: &mut World, _: Option<Fault>| {
            if old == new {
                return Ok(Ancestry::Same);
            }
            let state = world.actors[actor].state;
            let fetched = world.states[state].lineage.fetched.clone();
            let history = &world.history;
            let known = |id| {
                history
                    .find(id)
                    .filter(|number: &usize| fetched.iter().any(|f| history.descends(*f, *number)))
            };
            Ok(match (known(old), known(new)) {
                (Some(old), Some(new)) if history.descends(new, old) => Ancestry::Descends,
                (Some(_), Some(_)) => Ancestry::Diverged,
                _ => Ancestry::Unknown,
            })
        };
        Box::pin(async move {
            let answer = self.0.call(Op::SourceAncestry, new.short(), None, act).await;
            let answer = answer.unwrap_or(Ancestry::Unknown);
            if answer == Ancestry::Unknown {
                self.0.world.lock().actors[actor].pass.untold = true;
            }
            answer
        })
    }
}

impl World {
    /// An actor looks at everything anew.
    pub fn begin_pass(&mut self, actor: usize) {
        let since_ms = self.now_ms();
        self.actors[actor].pass = PassFacts { since_ms, ..PassFacts::default() };
    }
}
