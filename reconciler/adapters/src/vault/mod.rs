//! The data engine behind the port: repositories in restic's format, opened with secrets, driven on
//! threads of their own. What a repository must not forget is written into it.

mod backup;
mod bridge;
mod labels;
mod looks;
mod open;
mod place;
mod restore;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;

use model::Timestamp;
use model::cancel::Cancel;
use model::desired::RepositorySpec;
use model::error::PortError;
use model::id::{RepositoryId, SnapshotId};
use model::observed::RepositoryObservation;
use model::ports::Boxed;
use model::ports::agents::Beside;
use model::ports::clock::Clock;
use model::ports::engine::{BackupMade, BackupOrder, Engine, Reclaimed, Restored, Verified};
use model::ports::secrets::Secrets;
use model::progress::{Counts, ProgressSink, Silent};
use model::receipt::{Control, ItemFailure};
use repository::{CheckOptions, Depth, Id, PruneMark, PruneOptions};

use crate::fault;
use open::Doors;

/// What an engine is made of.
pub struct Parts {
    /// Where passwords come from.
    pub secrets: Arc<dyn Secrets>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// A folder of our own for what may be lost: marks of prunes.
    pub cache: PathBuf,
    /// The id of this start of the process, so that locks of our own dead runs can be told.
    pub run: String,
}

/// The data engine over all repositories of a config repository.
#[derive(Clone)]
pub struct Vault(Arc<Doors>);

impl Vault {
    /// Returns the engine. Nothing is opened before it is used.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Doors::new(parts)))
    }

    /// Opens a repository for hand tools that the port does not have: `ls`, `find`, `diff`, `dump`.
    pub fn open(&self, spec: &RepositorySpec) -> Result<Arc<repository::Repository>, PortError> {
        self.0.open(spec)
    }

    fn with<T, F>(&self, spec: &RepositorySpec, work: F) -> Boxed<'static, Result<T, PortError>>
    where
        T: Send + 'static,
        F: FnOnce(&Doors, &RepositorySpec) -> Result<T, PortError> + Send + 'static,
    {
        let (doors, spec) = (self.0.clone(), spec.clone());
        let span = tracing::info_span!("repository", name = %spec.name);
        Box::pin(fault::blocking(move || {
            let _entered = span.enter();
            work(&doors, &spec)
        }))
    }
}

impl Engine for Vault {
    fn observe<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, RepositoryObservation> {
        Box::pin(async move {
            let seen = self.with(spec, |doors, spec| Ok(looks::observe(doors, spec)));
            seen.await.unwrap_or_else(|error| looks::unknown(&error))
        })
    }

    fn init<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, Result<RepositoryId, PortError>> {
        self.with(spec, |doors, spec| {
            place::refuse_unless_free(spec)?;
            doors.init(spec).map(|repository| RepositoryId::from(repository.id()))
        })
    }

    fn backup<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        order: BackupOrder<'a>,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<BackupMade, PortError>> {
        let BackupOrder { source, receipt, parent, hostname, tags, judge } = order;
        let job = backup::Job { source, receipt, parent, hostname, tags };
        let (cancel, runtime) = (cancel.clone(), tokio::runtime::Handle::current());
        Box::pin(bridge::run(progress, judge, |caller| {
            self.with(spec, move |doors, spec| {
                backup::run(doors, spec, job, &caller, &runtime, &cancel)
            })
        }))
    }

    fn verify<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Verified, PortError>> {
        let (snapshot, cancel) = (snapshot.clone(), cancel.clone());
        Box::pin(bridge::run(progress, &|_| {}, |caller| {
            self.with(spec, move |doors, spec| verify(doors, spec, &snapshot, &caller, &cancel))
        }))
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
        let (snapshot, paths, cancel) = (snapshot.clone(), paths.to_vec(), cancel.clone());
        Box::pin(bridge::run(progress, &|_| {}, |caller| {
            self.with(spec, move |doors, spec| {
                let repository = doors.open(spec)?;
                let id = snapshot_id(&snapshot)?;
                restore::run(&repository, &id, &paths, into, &caller, &cancel)
            })
        }))
    }

    fn forget<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshots: &'a [SnapshotId],
    ) -> Boxed<'a, Result<Vec<SnapshotId>, PortError>> {
        let snapshots = snapshots.to_vec();
        self.with(spec, move |doors, spec| {
            refuse_append_only(spec)?;
            let ids = snapshots.iter().map(snapshot_id).collect::<Result<Vec<_>, _>>()?;
            doors.open(spec)?.forget(&ids, &Cancel::default())?;
            Ok(snapshots)
        })
    }

    fn reclaim<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        _now: Timestamp,
        progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Reclaimed, PortError>> {
        let cancel = cancel.clone();
        Box::pin(bridge::run(progress, &|_| {}, |caller| {
            self.with(spec, move |doors, spec| reclaim(doors, spec, &caller, &cancel))
        }))
    }

    fn record<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        control: &'a Control,
    ) -> Boxed<'a, Result<(), PortError>> {
        let control = control.clone();
        self.with(spec, move |doors, spec| {
            let repository = doors.open(spec)?;
            labels::write_control(&repository, &control, &Silent, &Cancel::default())
        })
    }
}

/// Reads an id; what is none was never written by a repository.
fn snapshot_id(id: &SnapshotId) -> Result<Id, PortError> {
    Id::parse(id.as_str())
        .ok_or_else(|| PortError::terminal("BadSnapshotId", format!("`{id}` is no snapshot's id")))
}

fn refuse_append_only(spec: &RepositorySpec) -> Result<(), PortError> {
    if spec.append_only {
        return Err(PortError::terminal(
            "AppendOnly",
            format!("nothing is ever deleted from the repository `{}`", spec.name),
        ));
    }
    Ok(())
}

fn verify(
    doors: &Doors,
    spec: &RepositorySpec,
    snapshot: &SnapshotId,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Verified, PortError> {
    let snapshots = vec![snapshot_id(snapshot)?];
    let options = CheckOptions { depth: Depth::All, snapshots, threads: 0 };
    let report = doors.open(spec)?.check(&options, progress, cancel)?;
    let failure = |fault: &repository::Fault| {
        let item = match (&fault.needed_by, &fault.pack) {
            (Some((_, path)), _) => path.escape_ascii().to_string(),
            (None, Some(pack)) => format!("pack {}", pack.short()),
            (None, None) => fault.reason.to_owned(),
        };
        ItemFailure { item, error: format!("{}: {}", fault.reason, fault.message) }
    };
    let mut failures: Vec<_> = report.faults.iter().map(failure).collect();
    failures.truncate(model::receipt::FAILURES_MAX);
    Ok(Verified {
        counts: Counts {
            files_done: report.packs_read,
            files_total: report.packs_read,
            bytes_done: report.bytes_read,
            bytes_total: report.bytes_read,
            errors: report.faults.len() as u64 + report.faults_unlisted,
            ..Counts::default()
        },
        failures,
    })
}

fn reclaim(
    doors: &Doors,
    spec: &RepositorySpec,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Reclaimed, PortError> {
    refuse_append_only(spec)?;
    let repository = doors.open(spec)?;
    let mark: PruneMark = doors.prune_note(repository.id()).mark;
    let report = repository.prune(&mark, &PruneOptions::default(), progress, cancel)?;
    let reclaimed =
        Reclaimed { freed_bytes: report.bytes_deleted, marked_bytes: report.bytes_waiting };
    doors.keep_prune_note(repository.id(), &report)?;
    Ok(reclaimed)
}
