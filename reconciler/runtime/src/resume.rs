//! What a writer does first: takes the right to write, names its state, and looks at intents that a
//! crash left without a result. Nothing is repeated from the journal: the next plan sees what is
//! there, and each effect is found again where it was made (a slot's receipt in its repository, a
//! recovery's place on its target).

use std::collections::{BTreeMap, BTreeSet};

use model::digest::Digest;
use model::error::PortError;
use model::id::StepId;
use model::journal::Body;
use model::plan::Action;
use model::ports::state::{Lease, Owner};

use crate::execute::journal;
use crate::memory::{self, kind, meta};
use crate::world::World;

/// Journal records that are looked at after a start: one run's worth and more.
const JOURNAL_TAIL_MAX: usize = 20_000;

/// Takes the right to write.
pub async fn begin_writing(world: &World, owner: &Owner) -> Result<Box<dyn Lease>, PortError> {
    let lease = world.state.acquire(owner).await?;
    let metas = world.state.list(kind::META).await?;
    if !metas.contains_key(meta::WRITER_ID) {
        let id = Digest::of("writer", owner).short().to_owned();
        world.state.write(&[memory::set(kind::META, meta::WRITER_ID, &id)?]).await?;
    }
    let looked = memory::settled(&*world.state).await?.into_values().max().unwrap_or(0);
    let before = memory::set(kind::META, meta::EPOCH_BEFORE, &looked)?;
    let epoch = memory::set(kind::META, meta::EPOCH, &lease.epoch())?;
    world.state.write(&[before, epoch]).await?;
    let who = format!("{} on {} (process {})", owner.command, owner.host, owner.pid);
    journal(world, lease.epoch(), Body::Started { owner: who }).await?;
    for (step, action) in open_intents(world).await? {
        let verdict = match action {
            Action::Restore { .. } => "resumes from where the target stands",
            Action::Backup { .. } => "the slot counts only if its receipt is in the repository",
            _ => "planned again if it is still due",
        };
        tracing::info!(%step, verdict, "an earlier run broke off in this step");
        let body = Body::Recovered { step, verdict: verdict.to_owned() };
        journal(world, lease.epoch(), body).await?;
    }
    Ok(lease)
}

/// Returns the intents that have no result.
pub async fn open_intents(world: &World) -> Result<BTreeMap<StepId, Action>, PortError> {
    let mut open = BTreeMap::new();
    let mut closed: BTreeSet<StepId> = BTreeSet::new();
    let mut from = 0;
    loop {
        let records = world.state.read_journal(from, JOURNAL_TAIL_MAX).await?;
        let Some(last) = records.last().map(|r| r.sequence) else { break };
        for record in records {
            match record.body {
                Body::StepBegun { step, action, .. } => {
                    closed.remove(&step);
                    open.insert(step, action);
                }
                Body::StepEnded { step, .. } | Body::Recovered { step, .. } => {
                    open.remove(&step);
                    closed.insert(step);
                }
                _ => {}
            }
        }
        from = last + 1;
    }
    Ok(open)
}
