//! One restore: a folder's content into the folder beside, or streams into the commands that take
//! them.

use std::path::Path;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::{Beside, NamedSink};
use model::ports::engine::Restored;
use model::ports::mover::Overwrite;
use model::progress::{Counts, ProgressSink};
use repository::{Id, Repository, RestoreOptions, StreamDigest, content_digest};

use super::backup::failures;
use super::bridge::Caller;
use super::streams::{Hashed, Verdicts};

pub(super) fn run(
    repository: &Repository,
    snapshot: &Id,
    paths: &[String],
    into: Beside,
    progress: &Caller,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    match into {
        Beside::Folder { path, original, .. } => {
            folder(repository, snapshot, paths, &path, &original, progress, cancel)
        }
        Beside::Streams(sinks) => streams(repository, snapshot, sinks, progress, cancel),
    }
}

/// Writes the content of the snapshot's folder into the target, not the folders above it.
fn folder(
    repository: &Repository,
    snapshot: &Id,
    paths: &[String],
    target: &str,
    original: &str,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    let known = repository.snapshot(snapshot)?;
    // A restore into another place than the resource's own: the snapshot knows where it was.
    let base = match known.paths.as_slice() {
        [only] => only.as_str(),
        _ => original,
    };
    let base = base.trim_end_matches('/');
    let include = paths.iter().map(|path| within(base, path).into_bytes()).collect();
    let options = RestoreOptions {
        base: base.as_bytes().to_vec(),
        include,
        overwrite: Overwrite::Always,
        // What an earlier try left there and the snapshot does not have must not come along.
        delete_extra: paths.is_empty(),
        verify: true,
        ..RestoreOptions::default()
    };
    let mover = ::mover::LocalTarget::open(Path::new(target))?;
    let summary = repository.restore(snapshot, &mover, &options, progress, cancel)?;
    let errors = summary.problems.len() as u64 + summary.problems_unlisted;
    // Every file was read again and compared, so the whole is what the snapshot's root says.
    let whole = errors == 0 && paths.is_empty();
    Ok(Restored {
        counts: Counts {
            files_done: summary.files,
            files_total: summary.files,
            bytes_done: summary.bytes,
            bytes_total: summary.bytes,
            bytes_new: summary.bytes_written,
            bytes_stored: 0,
            errors,
        },
        failures: failures(&summary.problems),
        digest: whole.then(|| known.tree.hex()),
    })
}

/// Returns a path as it is called in the snapshot; one that is not below the base is meant from it.
fn within(base: &str, path: &str) -> String {
    let inside =
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if inside { path.to_owned() } else { format!("{base}/{}", path.trim_start_matches('/')) }
}

fn streams(
    repository: &Repository,
    snapshot: &Id,
    sinks: Vec<NamedSink>,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<Restored, PortError> {
    let known = repository.snapshot(snapshot)?;
    let mut counts = Counts { files_total: sinks.len() as u64, ..Counts::default() };
    let mut digests = Vec::new();
    for sink in sinks {
        let verdicts = Verdicts::default();
        let mut writer = Hashed::new(sink.sink, verdicts.clone());
        let path = format!("/{}", sink.name);
        let written = repository
            .dump(snapshot, path.as_bytes(), &mut writer, cancel)
            .map_err(|e| verdicts.instead_of(e))?;
        digests.push(StreamDigest { name: sink.name, bytes: written, blake3: writer.finish()? });
        counts.files_done += 1;
        counts.bytes_done += written;
        counts.bytes_total = counts.bytes_done;
        progress.event(model::progress::Progress::Counts(counts));
    }
    let whole = digests.len() == known.paths.len();
    Ok(Restored { counts, failures: Vec::new(), digest: whole.then(|| content_digest(&digests)) })
}
