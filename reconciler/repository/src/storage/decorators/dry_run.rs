//! Reads pass, writes are counted and not done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, FileKind, NOT_FOUND, Storage};

use super::{Answer, Call, Operation, Rule, decorator};

/// What would have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Files that would have been made.
    pub saved: u64,
    /// Their bytes.
    pub saved_bytes: u64,
    /// Files that would have been removed.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counting {
    saved: AtomicU64,
    saved_bytes: AtomicU64,
    deleted: AtomicU64,
    deleted_bytes: AtomicU64,
}

decorator! {
    /// Storage on which nothing changes. A write that the storage would refuse for what is there
    /// (`AlreadyExists`, `NotFound`) is refused, too; what was "written" is not found afterwards.
    DryRun, Counting
}

impl DryRun {
    /// Wraps a storage.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, rule: Counting::default() }
    }

    /// Returns what would have been written so far.
    pub fn counted(&self) -> Counted {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            saved: get(&self.rule.saved),
            saved_bytes: get(&self.rule.saved_bytes),
            deleted: get(&self.rule.deleted),
            deleted_bytes: get(&self.rule.deleted_bytes),
        }
    }
}

impl Rule for Counting {
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        if call.operation == Operation::Create {
            return Err(PortError::terminal("DryRun", "a dry run makes no repository"));
        }
        act()
    }

    fn save(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        name: &str,
        data: &[u8],
        _sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        match inner.stat(kind, name) {
            Ok(_) => {
                let what = format!("{}/{name} exists already", kind.folder());
                return Err(PortError::terminal(ALREADY_EXISTS, what));
            }
            Err(error) if error.reason == NOT_FOUND => {}
            Err(error) => return Err(error),
        }
        self.saved.fetch_add(1, Ordering::Relaxed);
        self.saved_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn delete(&self, inner: &dyn Storage, kind: FileKind, name: &str) -> Result<(), PortError> {
        let bytes = inner.stat(kind, name)?;
        self.deleted.fetch_add(1, Ordering::Relaxed);
        self.deleted_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}
