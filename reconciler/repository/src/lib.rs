//! The data engine: repositories in restic's format, version 2 (version 1 is read, and migrated on
//! request), on a storage port. What is written here, restic checks, restores and prunes, and the
//! other way round.
//!
//! [`Repository`] is the door; its verbs lie in the modules named after them.
//!
//! - Make or open one: [`Repository::init`], [`Repository::open`], with [`Options`].
//! - Back up files, streams, objects: [`Repository::backup_tree`], [`Repository::backup_streams`],
//!   [`Repository::backup_objects`].
//! - Look into snapshots: [`Repository::snapshots`], [`Repository::ls`], [`Repository::find`],
//!   [`Repository::diff`], [`Repository::dump`], [`Repository::dump_tar`]; as a file system:
//!   [`browse`].
//! - Bring data back: [`Repository::restore`].
//! - Prove it: [`Repository::check`] reads structure, a part, all, or what one snapshot needs.
//! - Give space back: [`Repository::forget`], then [`Repository::prune`] in two phases.
//! - Keep a second copy: [`Repository::copy`], under the other repository's own key.
//! - Spare storage far away: [`CacheFolder`] in the [`Options`].
//! - Mend damage: [`Repository::rebuild_index`], [`Repository::salvage`],
//!   [`Repository::repair_snapshots`].
//!
//! Trees of files are read and written through the mover port, so the engine never touches a
//! protected file itself. It has threads of its own and no async runtime; time and identity are
//! handed in. Every long verb takes a [`Cancel`](model::cancel::Cancel), and reports exact counts
//! to a [`ProgressSink`](model::progress::ProgressSink). Errors have a class and a stable reason
//! word; a panic of a worker thread is one of them.
//!
//! # Promises
//!
//! - Packs are written before their index, an index before the snapshot, and removed in reverse: at
//!   any instant, at any crash, each snapshot that is there is whole.
//! - Every sealed blob is opened and compared with its source in memory before it is uploaded;
//!   every read is authenticated and compared with its id.
//! - restic's locks are written, renewed and honoured. A snapshot is published only while the lock
//!   still protects what it refers to.
//! - Memory is bounded whatever the source; sizes that are read are checked before memory is taken.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use mainstay_repository::{
//!     BackupOptions, Finishing, Options, Owner, Repository, Stream, storage::MemoryStorage,
//! };
//! use model::{cancel::Cancel, ports::mover::Bytes, progress::Silent};
//!
//! # fn main() -> Result<(), model::error::PortError> {
//! let clock = Arc::new(|| "2026-01-01T00:00:00Z".parse().expect("an instant"));
//! let mut options = Options::new(Owner::current("example"), clock);
//! # options.kdf = mainstay_repository::crypto::Kdf { log_n: 8, r: 8, p: 1 };
//! let repository = Repository::init(Arc::new(MemoryStorage::default()), b"password", options)?;
//!
//! let dump = Stream {
//!     name: "notes.txt".to_owned(),
//!     size_hint: 0,
//!     source: Box::new(Bytes::new("remember this")),
//! };
//! let options = BackupOptions::new("host-a", "2026-01-01T00:00:00Z".parse().expect("an instant"));
//! let cancel = Cancel::default();
//! let made = repository.backup_streams(
//!     vec![dump],
//!     &options,
//!     |_summary| Ok(Finishing { tags: vec!["daily".to_owned()], ..Finishing::default() }),
//!     &Silent,
//!     &cancel,
//! )?;
//!
//! let mut text = Vec::new();
//! repository.dump(&made.snapshot.id, b"/notes.txt", &mut text, &cancel)?;
//! assert_eq!(text, b"remember this");
//! # Ok(())
//! # }
//! ```
//!
//! Must not contain: policy, knowledge of applications, an async runtime.

mod affected;
pub mod backup;
pub mod browse;
pub mod cache;
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
pub mod objects;
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
#[cfg(feature = "testing")]
pub mod testing;
mod treecache;
mod used;

pub use affected::{AFFECTED_MAX, Affected};
pub use backup::{
    BackupOptions, BackupReport, BackupSummary, Finishing, Stream, StreamDigest, content_digest,
};
pub use cache::{CacheFolder, CachedRepository};
pub use check::{CheckOptions, CheckReport, Depth, Fault};
pub use copy::CopyReport;
pub use forget::Rewrite;
pub use format::snapshot::Snapshot;
pub use id::Id;
pub use keys::KeyInfo;
pub use lock::{Clock, Instance, LockInfo, Owner};
pub use objects::{Object, Objects};
pub use prune::{PruneMark, PruneOptions, PruneReport};
pub use read::{Change, Difference};
pub use repair::RebuildReport;
pub use repair::packs::{LostBlob, SalvageReport};
pub use repair::snapshots::{LostItem, RepairedSnapshot, SnapshotRepair};
pub use repo::{Options, Repository};
pub use restore::{RestoreOptions, RestoreSummary};
pub use stats::{SnapshotStats, Stats};

/// Returns what a thread returned; its panic is an error, see [`caught`].
fn join<T>(
    handle: std::thread::ScopedJoinHandle<'_, Result<T, model::error::PortError>>,
) -> Result<T, model::error::PortError> {
    handle.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// Runs work and makes an error of a panic in it, so that a defect, here or in a caller's storage
/// or source, fails the operation by name and hangs nothing that waits for the thread. What the
/// work had under way is dropped; nothing that was not finished is published.
fn caught<T>(
    work: impl FnOnce() -> Result<T, model::error::PortError>,
) -> Result<T, model::error::PortError> {
    // The error ends the operation: what a panic left half done is looked at by nobody.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> model::error::PortError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    model::error::PortError::terminal("Panicked", format!("a defect: {text}"))
        .with_hint("please report it")
}
