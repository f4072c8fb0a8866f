//! A state that ends with the process, for tests and for commands that need no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::error::PortError;
use model::journal::Record;
use model::ports::Boxed;
use model::ports::state::{Change, Lease, Owner, State};

/// A state in memory. Clones share it, as processes share a folder.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    records: BTreeMap<(String, String), Vec<u8>>,
    journal: Vec<Record>,
    epoch: u64,
    writer: Option<Owner>,
}

impl Inner {
    /// The sequence number that the journal's next record will have.
    fn end(&self) -> u64 {
        self.journal.last().map_or(1, |last| last.sequence + 1)
    }
}

struct MemoryLease {
    inner: Arc<Mutex<Inner>>,
}

impl Lease for MemoryLease {
    fn epoch(&self) -> u64 {
        locked(&self.inner).epoch
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        locked(&self.inner).writer = None;
    }
}

fn locked(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Returns an empty state.
    pub fn new() -> Self {
        Self::default()
    }

    fn ready<'a, T: Send + 'a>(value: Result<T, PortError>) -> Boxed<'a, Result<T, PortError>> {
        Box::pin(std::future::ready(value))
    }
}

impl State for Memory {
    fn acquire<'a>(&'a self, owner: &'a Owner) -> Boxed<'a, Result<Box<dyn Lease>, PortError>> {
        let mut inner = locked(&self.0);
        if let Some(other) = &inner.writer {
            return Self::ready(Err(PortError::waiting(
                "StateInUse",
                format!("the state is in use by `{}`, process {}", other.command, other.pid),
            )));
        }
        inner.epoch += 1;
        inner.writer = Some(owner.clone());
        Self::ready(Ok(Box::new(MemoryLease { inner: self.0.clone() })))
    }

    fn raise_epoch(&self, at_least: u64) -> Boxed<'_, Result<u64, PortError>> {
        let mut inner = locked(&self.0);
        inner.epoch = inner.epoch.max(at_least);
        Self::ready(Ok(inner.epoch))
    }

    fn writer(&self) -> Boxed<'_, Result<Option<Owner>, PortError>> {
        Self::ready(Ok(locked(&self.0).writer.clone()))
    }

    fn list<'a>(
        &'a self,
        kind: &'a str,
    ) -> Boxed<'a, Result<BTreeMap<String, Vec<u8>>, PortError>> {
        let inner = locked(&self.0);
        let of_kind = inner.records.iter().filter(|((k, _), _)| k == kind);
        Self::ready(Ok(of_kind.map(|((_, key), value)| (key.clone(), value.clone())).collect()))
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Boxed<'a, Result<(), PortError>> {
        let mut inner = locked(&self.0);
        for change in changes {
            let at = (change.kind.clone(), change.key.clone());
            match &change.value {
                Some(value) => inner.records.insert(at, value.clone()),
                None => inner.records.remove(&at),
            };
        }
        Self::ready(Ok(()))
    }

    fn append<'a>(&'a self, record: &'a Record) -> Boxed<'a, Result<u64, PortError>> {
        let mut inner = locked(&self.0);
        let sequence = inner.end();
        inner.journal.push(Record { sequence, ..record.clone() });
        Self::ready(Ok(sequence))
    }

    fn read_journal(
        &self,
        from: u64,
        count_max: usize,
    ) -> Boxed<'_, Result<Vec<Record>, PortError>> {
        let inner = locked(&self.0);
        let records = inner.journal.iter().filter(|r| r.sequence >= from).take(count_max);
        Self::ready(Ok(records.cloned().collect()))
    }

    fn journal_end(&self) -> Boxed<'_, Result<u64, PortError>> {
        Self::ready(Ok(locked(&self.0).end()))
    }
}
