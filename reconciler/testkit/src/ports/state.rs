//! Our own memory in the simulated world: kept, lost or taken back by whoever plays with it.

use std::collections::BTreeMap;

use model::error::PortError;
use model::journal::Record;
use model::ports::Boxed;
use model::ports::state::{Change, Lease, Owner, State};

use super::Ports;
use crate::faults::Op;
use crate::world::{SharedWorld, World};

/// See the module.
pub struct SimulatedState(pub Ports);

struct SimulatedLease {
    world: SharedWorld,
    actor: usize,
    state: usize,
}

impl Lease for SimulatedLease {
    fn epoch(&self) -> u64 {
        self.world.lock().states[self.state].epoch
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        let writer = &mut world.states[self.state].writer;
        if writer.as_ref().is_some_and(|(actor, _)| *actor == self.actor) {
            *writer = None;
        }
    }
}

impl SimulatedState {
    fn state(&self) -> usize {
        self.0.world.lock().actors[self.0.actor].state
    }
}

impl State for SimulatedState {
    fn acquire<'a>(&'a self, owner: &'a Owner) -> Boxed<'a, Result<Box<dyn Lease>, PortError>> {
        let (state, actor, shared) = (self.state(), self.0.actor, self.0.world.clone());
        let act = move |world: &mut World, _| {
            let store = &mut world.states[state];
            if let Some((_, other)) = &store.writer {
                return Err(PortError::waiting(
                    "StateInUse",
                    format!("the state is in use by `{}`, process {}", other.command, other.pid),
                ));
            }
            store.epoch += 1;
            store.writer = Some((actor, owner.clone()));
            // Given back when it is dropped, on the way to the caller as well.
            let lease: Box<dyn Lease> = Box::new(SimulatedLease { world: shared, actor, state });
            Ok(lease)
        };
        Box::pin(self.0.call(Op::StateAcquire, &owner.command, None, act))
    }

    fn raise_epoch(&self, at_least: u64) -> Boxed<'_, Result<u64, PortError>> {
        let state = self.state();
        let act = move |world: &mut World, _| {
            let epoch = &mut world.states[state].epoch;
            *epoch = at_least.max(*epoch);
            Ok(*epoch)
        };
        Box::pin(self.0.call(Op::StateRaiseEpoch, "", None, act))
    }

    fn writer(&self) -> Boxed<'_, Result<Option<Owner>, PortError>> {
        let state = self.state();
        let act = move |world: &mut World, _| {
            Ok(world.states[state].writer.as_ref().map(|(_, owner)| owner.clone()))
        };
        Box::pin(self.0.call(Op::StateWriter, "", None, act))
    }

    fn list<'a>(
        &'a self,
        kind: &'a str,
    ) -> Boxed<'a, Result<BTreeMap<String, Vec<u8>>, PortError>> {
        let (state, actor) = (self.state(), self.0.actor);
        let act = move |world: &mut World, _| {
            if kind == runtime::memory::kind::WAKE {
                world.rests(actor);
            }
            Ok(world.states[state].records.get(kind).cloned().unwrap_or_default())
        };
        Box::pin(self.0.call(Op::StateList, kind, None, act))
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Boxed<'a, Result<(), PortError>> {
        let (state, actor) = (self.state(), self.0.actor);
        let subject = changes.first().map_or("", |change| change.kind.as_str());
        let act = move |world: &mut World, _| {
            world.on_state_write(actor, changes);
            let records = &mut world.states[state].records;
            for change in changes {
                let of_kind = records.entry(change.kind.clone()).or_default();
                match &change.value {
                    Some(value) => of_kind.insert(change.key.clone(), value.clone()),
                    None => of_kind.remove(&change.key),
                };
            }
            Ok(())
        };
        Box::pin(self.0.call(Op::StateWrite, subject, None, act))
    }

    fn append<'a>(&'a self, record: &'a Record) -> Boxed<'a, Result<u64, PortError>> {
        let (state, actor) = (self.state(), self.0.actor);
        let act = move |world: &mut World, _| {
            world.on_journal(actor, record);
            let store = &mut world.states[state];
            let sequence = store.journal_end();
            store.journal.push(Record { sequence, ..record.clone() });
            Ok(sequence)
        };
        Box::pin(self.0.call(Op::StateAppend, "", None, act))
    }

    fn read_journal(
        &self,
        from: u64,
        count_max: usize,
    ) -> Boxed<'_, Result<Vec<Record>, PortError>> {
        let state = self.state();
        let act = move |world: &mut World, _| {
            let records = world.states[state].journal.iter();
            Ok(records.filter(|r| r.sequence >= from).take(count_max).cloned().collect())
        };
        Box::pin(self.0.call(Op::StateReadJournal, "", None, act))
    }

    fn journal_end(&self) -> Boxed<'_, Result<u64, PortError>> {
        let state = self.state();
        let act = move |world: &mut World, _| Ok(world.states[state].journal_end());
        Box::pin(self.0.call(Op::StateReadJournal, "", None, act))
    }
}
