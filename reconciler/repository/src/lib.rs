//! The data engine: repositories in restic's format, version 2 (version 1 is read), on a storage
//! port.
//!
//! [`Repository`] is the door. Trees of files are read and written through the mover port, so the
//! engine never touches a protected file itself.
//!
//! Must not contain: policy, knowledge of applications, an async runtime.

mod affected;
pub mod backup;
pub mod check;
pub mod codec;
pub mod copy;
pub mod crypto;
mod fetch;
pub mod forget;
pub mod format;
pub mod id;
pub mod index;
mod keys;
pub mod lock;
mod migrate;
mod progress;
pub mod prune;
mod publish;
pub mod read;
pub mod repair;
pub mod repo;
pub mod restore;
mod session;
pub mod stats;
pub mod storage;
pub mod store;
mod tar;
#[doc(hidden)]
pub mod testing;
mod treecache;
mod used;

pub use affected::{AFFECTED_MAX, Affected};
pub use backup::{
    BackupOptions, BackupReport, BackupSummary, Finishing, Stream, StreamDigest, content_digest,
};
pub use check::{CheckOptions, CheckReport, Depth, Fault};
pub use copy::CopyReport;
pub use forget::Rewrite;
pub use format::snapshot::Snapshot;
pub use id::Id;
pub use keys::KeyInfo;
pub use lock::{Clock, Instance, LockInfo, Owner};
pub use prune::{PruneMark, PruneOptions, PruneReport};
pub use read::{Change, Difference};
pub use repair::RebuildReport;
pub use repair::packs::{LostBlob, SalvageReport};
pub use repair::snapshots::{LostItem, RepairedSnapshot, SnapshotRepair};
pub use repo::{Options, Repository};
pub use restore::{RestoreOptions, RestoreSummary};
pub use stats::{SnapshotStats, Stats};

/// Returns what a thread returned; its panic goes on in the caller.
fn join<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
