//! One backup: trees through the mover in this process, streams as they come. The source is closed
//! before the snapshot is written, so that a session or hook that ends badly leaves none.

use std::collections::BTreeSet;

use model::agent::{Chunking, Tree};
use model::cancel::Cancel;
use model::desired::RepositorySpec;
use model::error::PortError;
use model::id::SnapshotId;
use model::ports::agents::{Close, Content, NamedStream, OpenSource};
use model::ports::engine::BackupMade;
use model::ports::mover::{self, Problem, WalkRequest};
use model::progress::Counts;
use model::receipt::{FAILURES_MAX, ItemFailure, Receipt};
use repository::{BackupOptions, BackupReport, BackupSummary, Finishing, Id, Repository, Stream};
use tokio::runtime::Handle;

use super::bridge::Caller;
use super::labels;
use super::open::Doors;
use super::streams::{Asked, Verdicts};

/// What is to be backed up, owned.
pub(super) struct Job {
    pub(super) source: OpenSource,
    pub(super) receipt: Receipt,
    pub(super) parent: Option<SnapshotId>,
    pub(super) hostname: String,
    pub(super) tags: BTreeSet<String>,
}

/// Makes the snapshot. Closes the source in every case.
pub(super) fn run(
    doors: &Doors,
    spec: &RepositorySpec,
    job: Job,
    caller: &Caller,
    runtime: &Handle,
    cancel: &Cancel,
) -> Result<BackupMade, PortError> {
    let Job { source, receipt, parent, hostname, tags } = job;
    let mut close = Some(source.close);
    let mut kept = None;
    let verdicts = Verdicts::default();
    let result = doors.open(spec).and_then(|repository| {
        let mut options = BackupOptions::new(hostname, source.taken_at);
        options.program_version = format!("mainstay {}", model::VERSION);
        options.parent = parent.as_ref().and_then(|id| usable_parent(&repository, id));
        let finishing = |summary: &BackupSummary| {
            close_source(&mut close, false, runtime)?;
            let receipt = caller.judge(filled(receipt, summary))?;
            let value = serde_json::to_value(&receipt).map_err(|e| {
                PortError::terminal("Internal", "a receipt is not JSON").with_source(e)
            })?;
            let tags = labels::tags(&receipt, &tags);
            kept = Some(receipt);
            Ok(Finishing { tags, receipt: value })
        };
        match source.content {
            Content::Tree { tree, .. } => {
                let request = walk_request(&tree);
                let files = ::mover::LocalSource::default();
                repository.backup_tree(&files, &request, &options, finishing, caller, cancel)
            }
            Content::Streams(streams) => {
                options.chunking = chunking(&streams);
                let streams = streams.into_iter().map(|s| asked(s, &verdicts)).collect();
                repository.backup_streams(streams, &options, finishing, caller, cancel)
            }
        }
    });
    match result {
        Ok(report) => Ok(made(&report, kept)?),
        Err(error) => {
            let error = verdicts.instead_of(error);
            if let Err(second) = close_source(&mut close, true, runtime) {
                tracing::warn!(error = %second.chain(), "closing the source of a failed backup");
            }
            Err(error)
        }
    }
}

fn close_source(
    close: &mut Option<Box<dyn Close>>,
    failed: bool,
    runtime: &Handle,
) -> Result<(), PortError> {
    match close.take() {
        Some(close) => runtime.block_on(close.close(failed)),
        None => Ok(()),
    }
}

/// A parent that was forgotten meanwhile is none: only time is lost.
fn usable_parent(repository: &Repository, id: &SnapshotId) -> Option<Id> {
    Id::parse(id.as_str()).filter(|id| repository.snapshot(id).is_ok())
}

fn walk_request(tree: &Tree) -> WalkRequest {
    WalkRequest {
        roots: vec![tree.path.trim_end_matches('/').as_bytes().to_vec()],
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

/// The engine cuts all streams of a snapshot alike: in pages only if all are made of pages.
fn chunking(streams: &[NamedStream]) -> mover::Chunking {
    if !streams.is_empty() && streams.iter().all(|s| s.chunking == Chunking::Pages) {
        mover::Chunking::FixedBySize
    } else {
        mover::Chunking::ContentDefined
    }
}

fn asked(stream: NamedStream, verdicts: &Verdicts) -> Stream {
    Stream {
        name: stream.name,
        size_hint: 0,
        source: Box::new(Asked::new(stream.source, verdicts.clone())),
    }
}

/// Fills in what only the finished work knows.
fn filled(mut receipt: Receipt, summary: &BackupSummary) -> Receipt {
    receipt.digest = summary.content_digest.clone();
    receipt.files = summary.files;
    receipt.bytes = summary.bytes;
    receipt.failures = failures(&summary.problems);
    receipt.failures_count = summary.problems.len() as u64 + summary.problems_unlisted;
    receipt.complete = receipt.failures_count == 0;
    receipt
}

/// Names items that failed, as many as a receipt takes.
pub(super) fn failures(problems: &[Problem]) -> Vec<ItemFailure> {
    let named = problems.iter().take(FAILURES_MAX).map(|problem| ItemFailure {
        item: printable(&problem.path),
        error: format!("{:?}: {}", problem.kind, problem.message),
    });
    named.collect()
}

fn printable(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

fn made(report: &BackupReport, receipt: Option<Receipt>) -> Result<BackupMade, PortError> {
    let summary = &report.summary;
    let receipt = receipt
        .ok_or_else(|| PortError::terminal("Internal", "a snapshot was written unjudged"))?;
    Ok(BackupMade {
        snapshot: SnapshotId::from(report.snapshot.id.hex()),
        counts: Counts {
            files_done: summary.files,
            files_total: summary.files,
            bytes_done: summary.bytes,
            bytes_total: summary.bytes,
            bytes_new: summary.written.bytes_new,
            bytes_stored: summary.written.bytes_stored,
            errors: receipt.failures_count,
        },
        receipt,
    })
}
