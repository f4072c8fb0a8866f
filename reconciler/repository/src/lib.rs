//! The data engine: repositories in restic's format, version 2 (version 1 is read), on a storage port.
//!
//! [`Repository`] is the door. Trees of files are read and written through the mover port, so the
//! engine never touches a protected file itself.
//!
//! Must not contain: policy, knowledge of applications, an async runtime.

pub mod backup;
pub mod codec;
pub mod crypto;
pub mod format;
pub mod id;
pub mod index;
pub mod lock;
mod progress;
pub mod repo;
mod session;
pub mod storage;
pub mod store;
mod treecache;

pub use backup::{BackupOptions, BackupReport, BackupSummary, Finishing, Stream};
pub use format::snapshot::Snapshot;
pub use id::Id;
pub use lock::{Clock, LockInfo, Owner};
pub use repo::{KeyInfo, Options, Repository};

/// Returns what a thread returned; its panic goes on in the caller.
fn join<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match handle.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
