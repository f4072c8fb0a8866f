//! The data engine behind its port: opens repositories, turns resources into snapshots with
//! receipts and snapshots into data again. The engine itself works on threads of its own.

mod open;
mod place;
mod receipts;
mod restore;
mod sinks;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use model::cancel::Cancel;
use model::desired::RepositorySpec;
use model::error::PortError;
use model::id::{RepositoryId, SnapshotId};
use model::observed::RepositoryObservation;
use model::ports::Boxed;
use model::ports::agents::{Beside, Content};
use model::ports::clock::Clock;
use model::ports::engine::{BackupMade, BackupOrder, Engine, Reclaimed, Restored, Verified};
use model::ports::mover::{Chunking, Problem, WalkRequest};
use model::ports::secrets::Secrets;
use model::ports::storage::{FileKind, Storage};
use model::progress::{Counts, ProgressSink};
use model::receipt::{Control, FAILURES_MAX, ItemFailure, Receipt};
use mover::LocalSource;
use repository::{
    BackupOptions, BackupSummary, CheckOptions, Depth, Finishing, Id, PruneMark, PruneOptions,
    Repository, Stream,
};

pub use open::{Openings, parse_id};
pub use receipts::{ADOPTED_TAGS, RESOURCE_TAG, info_of, is_control};

use crate::{durable, fault};

/// What an engine is made of.
pub struct Parts {
    /// Where passwords come from.
    pub secrets: Arc<dyn Secrets>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// A folder for the marks of two-phase pruning. Losing it restarts the grace period.
    pub marks: PathBuf,
    /// A folder for copies of what is read often of storage services; it may be lost at any moment.
    pub cache: PathBuf,
}

/// All repositories of a config repository.
#[derive(Clone)]
pub struct Repositories(Arc<Inner>);

struct Inner {
    openings: Openings,
    clock: Arc<dyn Clock>,
    marks: PathBuf,
}

impl Repositories {
    /// Returns the engine.
    pub fn new(parts: Parts) -> Self {
        let openings = Openings::new(parts.secrets, parts.clock.clone(), parts.cache);
        Self(Arc::new(Inner { openings, clock: parts.clock, marks: parts.marks }))
    }

    /// Opens a repository for hand tools. Blocks.
    pub fn open(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        self.0.openings.open(spec)
    }

    /// Opens a repository for a hand tool with options of its own. Blocks.
    pub fn open_with(
        &self,
        spec: &RepositorySpec,
        change: &dyn Fn(&mut repository::Options),
    ) -> Result<Arc<Repository>, PortError> {
        self.0.openings.open_with(spec, change)
    }

    /// Makes a repository for a hand tool. Blocks.
    pub fn make(&self, spec: &RepositorySpec) -> Result<Arc<Repository>, PortError> {
        self.0.openings.init(spec)
    }

    /// Prunes with the mark of the last time, and keeps the new one. Blocks.
    pub fn prune(
        &self,
        repository: &Repository,
        options: &PruneOptions,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<repository::PruneReport, PortError> {
        self.0.prune(repository, options, progress, cancel)
    }
}

/// Runs engine work on a blocking thread while the caller's borrowed sinks stay usable: the future
/// waits for the end, so nothing borrowed is outlived.
async fn off_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // `block_in_place` needs the multi-threaded runtime; a current-thread one (tests) just blocks.
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn failures(problems: &[Problem], unlisted: u64) -> (Vec<ItemFailure>, u64) {
    let named = problems.iter().take(FAILURES_MAX).map(|problem| ItemFailure {
        item: problem.path.escape_ascii().to_string(),
        error: problem.message.clone(),
    });
    (named.collect(), problems.len() as u64 + unlisted)
}

/// Completes a receipt with what the engine found.
fn complete(receipt: &mut Receipt, summary: &BackupSummary) {
    receipt.digest = summary.content_digest.as_str().into();
    receipt.files = summary.files;
    receipt.bytes = summary.bytes;
    let (failures, count) = failures(&summary.problems, summary.problems_unlisted);
    (receipt.failures, receipt.failures_count) = (failures.into(), count);
    receipt.complete = receipt.failures_count == 0;
}

fn counts(summary: &BackupSummary) -> Counts {
    Counts {
        files_done: summary.files,
        files_total: summary.files,
        bytes_done: summary.bytes,
        bytes_total: summary.bytes,
        bytes_new: summary.written.bytes_new,
        bytes_stored: summary.written.bytes_stored,
        errors: summary.problems.len() as u64 + summary.problems_unlisted,
    }
}

impl Inner {
    fn observe(&self, spec: &RepositorySpec) -> RepositoryObservation {
        let repository = match self.openings.look(spec) {
            Ok(repository) => repository,
            Err(observation) => return observation,
        };
        match repository.snapshots() {
            Ok(snapshots) => receipts::observation(
                RepositoryId::from(repository.id().to_owned()),
                &snapshots,
                place::free_bytes(&spec.storage),
            ),
            Err(error) => open::unknown(&error),
        }
    }

    fn backup(
        &self,
        spec: &RepositorySpec,
        order: BackupOrder<'_>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<(BackupMade, Box<dyn model::ports::agents::Close>), Failed> {
        let BackupOrder { source, receipt, parent, hostname, tags, judge } = order;
        let (content, close) = (source.content, source.close);
        let result = (|| {
            let repository = self.openings.open(spec)?;
            let mut options = BackupOptions::new(hostname, receipt.taken_at);
            options.parent = parent.as_ref().and_then(|id| Id::parse(id.to_string()));
            let mut stored = receipt;
            let finishing = |summary: &BackupSummary| {
                complete(&mut stored, summary);
                judge(&mut stored);
                Ok(Finishing {
                    tags: receipts::tags(&stored, &tags),
                    receipt: receipts::value(&stored),
                })
            };
            let report = match content {
                Content::Tree { tree, .. } => {
                    let request = walk_request(&tree);
                    let mover = LocalSource::default();
                    repository
                        .backup_tree(&mover, &request, &options, finishing, progress, cancel)?
                }
                Content::Streams(streams) => {
                    options.chunking = chunking(&streams);
                    let streams = streams.into_iter().map(|s| Stream {
                        name: s.name,
                        size_hint: 0,
                        source: s.source,
                    });
                    let streams = streams.collect();
                    repository.backup_streams(streams, &options, finishing, progress, cancel)?
                }
            };
            Ok(BackupMade {
                snapshot: SnapshotId::from(report.snapshot.id.hex()),
                receipt: stored,
                counts: counts(&report.summary),
            })
        })();
        match result {
            Ok(made) => Ok((made, close)),
            Err(error) => Err(Failed { error, close }),
        }
    }

    fn verify(
        &self,
        spec: &RepositorySpec,
        snapshot: &SnapshotId,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<Verified, PortError> {
        let repository = self.openings.open(spec)?;
        let id = parse_id(snapshot)?;
        let options = CheckOptions { depth: Depth::All, snapshots: vec![id], threads: 0 };
        let report = repository.check(&options, progress, cancel)?;
        let failures = report
            .faults
            .iter()
            .take(FAILURES_MAX)
            .map(|fault| ItemFailure {
                item: fault.needed_by.as_ref().map_or_else(
                    || fault.reason.to_owned(),
                    |(_, path)| path.escape_ascii().to_string(),
                ),
                error: fault.message.clone(),
            })
            .collect();
        let counts = Counts {
            bytes_done: report.bytes_read,
            bytes_total: report.bytes_read,
            errors: report.faults.len() as u64 + report.faults_unlisted,
            ..Counts::default()
        };
        Ok(Verified { counts, failures })
    }

    fn reclaim(
        &self,
        spec: &RepositorySpec,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<Reclaimed, PortError> {
        let repository = self.openings.open(spec)?;
        let report = self.prune(&repository, &PruneOptions::default(), progress, cancel)?;
        Ok(Reclaimed { freed_bytes: report.bytes_deleted, marked_bytes: report.bytes_waiting })
    }

    fn prune(
        &self,
        repository: &Repository,
        options: &PruneOptions,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<repository::PruneReport, PortError> {
        let file = self.marks.join(format!("{}.json", repository.id()));
        // A lost or spoiled mark only begins the grace period anew.
        let mark: PruneMark = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let report = repository.prune(&mark, options, progress, cancel)?;
        if options.dry_run {
            return Ok(report);
        }
        std::fs::create_dir_all(&self.marks).map_err(|e| fault::path("create", &self.marks, e))?;
        durable::write_json(&file, "the mark of a prune", &report.mark)?;
        Ok(report)
    }
}

/// A backup that failed, with what must still be closed.
struct Failed {
    error: PortError,
    close: Box<dyn model::ports::agents::Close>,
}

fn chunking(streams: &[model::ports::agents::NamedStream]) -> Chunking {
    // One snapshot is cut one way. A dump with a small side stream is content-defined; only where
    // every stream is made of pages are pages worth it.
    let pages = |s: &model::ports::agents::NamedStream| s.chunking == model::agent::Chunking::Pages;
    if !streams.is_empty() && streams.iter().all(pages) {
        Chunking::FixedBySize
    } else {
        Chunking::ContentDefined
    }
}

fn walk_request(tree: &model::agent::Tree) -> WalkRequest {
    WalkRequest {
        roots: vec![tree.path.clone().into_bytes()],
        excludes: tree.excludes.clone(),
        exclude_caches: tree.exclude_caches,
        exclude_if_present: tree
            .exclude_if_present
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect(),
        one_file_system: tree.one_file_system,
        file_size_bytes_max: tree.largest_bytes,
    }
}

impl Engine for Repositories {
    fn observe<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, RepositoryObservation> {
        let (inner, spec) = (self.0.clone(), spec.clone());
        Box::pin(async move {
            fault::blocking(move || Ok(inner.observe(&spec)))
                .await
                .unwrap_or_else(|error| open::unknown(&error))
        })
    }

    fn init<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, Result<RepositoryId, PortError>> {
        let (inner, spec) = (self.0.clone(), spec.clone());
        Box::pin(fault::blocking(move || {
            let made = inner.openings.init(&spec)?;
            Ok(RepositoryId::from(made.id().to_owned()))
        }))
    }

    fn backup<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        order: BackupOrder<'a>,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<BackupMade, PortError>> {
        Box::pin(async move {
            match off_thread(|| self.0.backup(spec, order, progress, cancel)).await {
                Ok((made, close)) => {
                    // The data is whole: every stream ended well before the snapshot was written.
                    // A hook that fails afterwards still fails the step, by name.
                    close.close(false).await?;
                    Ok(made)
                }
                Err(Failed { error, close }) => {
                    if let Err(second) = close.close(true).await {
                        tracing::warn!("after the failed backup: {}", second.chain());
                    }
                    Err(error)
                }
            }
        })
    }

    fn verify<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Verified, PortError>> {
        Box::pin(off_thread(move || self.0.verify(spec, snapshot, progress, cancel)))
    }

    fn restore<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        paths: &'a [String],
        into: Beside,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Restored, PortError>> {
        Box::pin(off_thread(move || {
            let repository = self.0.openings.open(spec)?;
            restore::restore(&repository, snapshot, paths, into, progress, cancel)
        }))
    }

    fn forget<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshots: &'a [SnapshotId],
    ) -> Boxed<'a, Result<Vec<SnapshotId>, PortError>> {
        let (inner, spec, snapshots) = (self.0.clone(), spec.clone(), snapshots.to_vec());
        Box::pin(fault::blocking(move || {
            if spec.append_only {
                return Err(PortError::terminal(
                    "AppendOnly",
                    format!("repository `{}` is append-only", spec.name),
                ));
            }
            let ids = snapshots.iter().map(parse_id).collect::<Result<Vec<_>, _>>()?;
            inner.openings.open(&spec)?.forget(&ids, &Cancel::default())?;
            Ok(snapshots)
        }))
    }

    fn reclaim<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        _now: model::Timestamp,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Reclaimed, PortError>> {
        Box::pin(off_thread(move || self.0.reclaim(spec, progress, cancel)))
    }

    fn record<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        control: &'a Control,
    ) -> Boxed<'a, Result<(), PortError>> {
        let (inner, spec, control) = (self.0.clone(), spec.clone(), control.clone());
        Box::pin(fault::blocking(move || {
            let repository = inner.openings.open(&spec)?;
            receipts::record(&repository, &control, inner.clock.now())
        }))
    }
}

/// Returns the raw config file: it never changes while a repository is the same.
fn config_bytes(storage: &dyn Storage) -> Result<Vec<u8>, PortError> {
    storage.load(FileKind::Config, "", CONFIG_BYTES_MAX)
}

/// Largest config file in bytes; restic's have less than 200.
const CONFIG_BYTES_MAX: u64 = 64 << 10;
