//! Brings a snapshot back: a folder through the mover, streams into their programs.

use std::collections::BTreeSet;
use std::path::Path;

use model::cancel::Cancel;
use model::error::PortError;
use model::id::SnapshotId;
use model::ports::agents::{Beside, NamedSink};
use model::ports::engine::Restored;
use model::ports::mover::{Overwrite, ProblemKind};
use model::progress::{Counts, ProgressSink};
use mover::LocalTarget;
use repository::{Repository, RestoreOptions};

use super::open::parse_id;
use super::sinks::Feeding;

/// Restores into a prepared place.
pub fn restore(
    repository: &Repository,
    snapshot: &SnapshotId,
    paths: &[String],
    into: Beside,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    match into {
        Beside::Folder { path, original, .. } => {
            folder(repository, snapshot, paths, &path, &original, progress, cancel)
        }
        Beside::Streams(sinks) => streams(repository, snapshot, sinks, progress, cancel),
    }
}

fn folder(
    repository: &Repository,
    snapshot: &SnapshotId,
    paths: &[String],
    path: &str,
    original: &str,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    let id = parse_id(snapshot)?;
    // A resource that was restored elsewhere, or whose path changed, keeps its data under the path
    // of its backup: the snapshot's own word comes first.
    let stored = repository.snapshot(&id)?.paths;
    let base = match stored.as_slice() {
        [only] => only.clone(),
        _ => original.to_owned(),
    };
    let target = LocalTarget::open(Path::new(path))?;
    let options = RestoreOptions {
        base: base.clone().into_bytes(),
        include: paths.iter().map(|p| below(&base, p).into_bytes()).collect(),
        // A restore that broke off is resumed: what matches stays, the rest is made right.
        overwrite: Overwrite::Always,
        delete_extra: true,
        verify: true,
        ..RestoreOptions::default()
    };
    let summary = repository.restore(&id, &target, &options, progress, cancel)?;
    let (failures, count) = super::failures(&summary.problems, summary.problems_unlisted);
    Ok(Restored {
        counts: Counts {
            files_done: summary.files,
            files_total: summary.files,
            bytes_done: summary.bytes,
            bytes_total: summary.bytes,
            bytes_new: summary.bytes_written,
            errors: count,
            ..Counts::default()
        },
        failures,
        damaged: summary.problems.iter().any(|problem| problem.kind == ProblemKind::Damaged),
        digest: None,
    })
}

/// Returns a path of the snapshot: absolute ones as they are, others below the base.
fn below(base: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") }
}

fn streams(
    repository: &Repository,
    snapshot: &SnapshotId,
    sinks: Vec<NamedSink>,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    let id = parse_id(snapshot)?;
    let mut stored = BTreeSet::new();
    repository.ls(&id, cancel, &mut |path, _| {
        stored.insert(path.to_vec());
        Ok(true)
    })?;
    let mut feeding = Feeding::new(progress, cancel);
    let mut fed = 0;
    for NamedSink { name, optional, sink } in sinks {
        let path = format!("/{name}");
        if optional && !stored.contains(path.as_bytes()) {
            continue;
        }
        feeding.begin(&name, sink);
        let read = repository.dump(&id, path.as_bytes(), &mut feeding, cancel);
        feeding.end(read)?;
        fed += 1;
    }
    let (counts, digest) = feeding.result();
    // Streams that a template stores and does not load (roles of a server) leave no common digest.
    let digest = (stored.len() == fed).then_some(digest);
    Ok(Restored { counts, failures: Vec::new(), damaged: false, digest })
}
