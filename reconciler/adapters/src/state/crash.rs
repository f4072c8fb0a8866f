//! A state that kills its process after so many journal records: how the crash sweep reaches every
//! border between two effects of the real binary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::error::PortError;
use model::journal::Record;
use model::ports::Boxed;
use model::ports::state::{Change, Lease, Owner, State};

/// Wraps a state.
pub struct CrashAfter {
    inner: Arc<dyn State>,
    left: AtomicU64,
}

impl CrashAfter {
    /// Returns a state that dies right after the given number of journal records was written.
    pub fn new(inner: Arc<dyn State>, records: u64) -> Self {
        Self { inner, left: AtomicU64::new(records) }
    }
}

impl State for CrashAfter {
    fn acquire<'a>(&'a self, owner: &'a Owner) -> Boxed<'a, Result<Box<dyn Lease>, PortError>> {
        self.inner.acquire(owner)
    }

    fn raise_epoch(&self, at_least: u64) -> Boxed<'_, Result<u64, PortError>> {
        self.inner.raise_epoch(at_least)
    }

    fn writer(&self) -> Boxed<'_, Result<Option<Owner>, PortError>> {
        self.inner.writer()
    }

    fn list<'a>(
        &'a self,
        kind: &'a str,
    ) -> Boxed<'a, Result<BTreeMap<String, Vec<u8>>, PortError>> {
        self.inner.list(kind)
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Boxed<'a, Result<(), PortError>> {
        self.inner.write(changes)
    }

    fn append<'a>(&'a self, record: &'a Record) -> Boxed<'a, Result<u64, PortError>> {
        Box::pin(async move {
            let sequence = self.inner.append(record).await?;
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                let own = rustix::process::getpid();
                // Nothing is unwound, flushed or released: as `kill -9` from outside.
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            }
            Ok(sequence)
        })
    }

    fn read_journal(
        &self,
        from: u64,
        count_max: usize,
    ) -> Boxed<'_, Result<Vec<Record>, PortError>> {
        self.inner.read_journal(from, count_max)
    }

    fn journal_end(&self) -> Boxed<'_, Result<u64, PortError>> {
        self.inner.journal_end()
    }
}
