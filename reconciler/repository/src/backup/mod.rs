//! Backup: of trees of files through a mover, of streams without temporary files. A snapshot is
//! written only when every source ended well; what could not be read of a tree is named in it.

mod pool;
mod streams;

pub use streams::content_digest;
mod tree;

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    Chunking, Problem, SourceMover, StreamSource, WalkRequest, fixed_chunk_size,
};
use model::progress::ProgressSink;
use serde_json::{Map, Value, json};

use crate::format::snapshot::{RECEIPT_FIELD, Snapshot};
use crate::id::Id;
use crate::objects::{ObjectTree, Objects};
use crate::progress::Meter;
use crate::repo::Repository;
use crate::session::{Session, Written};

/// Problems that are kept by name; more are only counted.
pub const PROBLEMS_MAX: usize = 10_000;

/// What a backup is of, besides its source.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The host that the data is of.
    pub host: String,
    /// When the backup counts as taken.
    pub time: Timestamp,
    /// The snapshot to compare with; files that look unchanged since are not read.
    pub parent: Option<Id>,
    /// How content is cut. Give the same as last time, or little deduplicates.
    pub chunking: Chunking,
    /// The program and version to record, for example `mainstay 0.1.0`.
    pub program_version: String,
    /// Threads that read, compress and seal; 0 for one per processor.
    pub threads: usize,
    /// Compares inode numbers with the parent's as well. Off for file systems without stable ones.
    pub compare_inode: bool,
    /// Compares change times with the parent's as well.
    pub compare_ctime: bool,
}

impl BackupOptions {
    /// Returns the usual options.
    pub fn new(host: impl Into<String>, time: Timestamp) -> Self {
        Self {
            host: host.into(),
            time,
            parent: None,
            chunking: Chunking::ContentDefined,
            program_version: concat!("mainstay ", env!("CARGO_PKG_VERSION")).to_owned(),
            threads: 0,
            compare_inode: true,
            compare_ctime: true,
        }
    }

    fn threads(&self) -> usize {
        crate::store::workers(self.threads)
    }
}

/// A stream and the name of the file that it becomes: one or more components joined by `/`.
pub struct Stream {
    /// Its path in the snapshot, relative to the root.
    pub name: String,
    /// Expected size in bytes, 0 when unknown. Chooses the piece size of `FixedBySize`.
    pub size_hint: u64,
    /// Where its bytes come from.
    pub source: Box<dyn StreamSource>,
}

/// What one stream held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDigest {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The blake3 digest of its content, in hexadecimal.
    pub blake3: String,
}

/// What a backup found and did, at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupSummary {
    /// Regular files (or streams) in the snapshot.
    pub files: u64,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files taken over from the parent unread.
    pub files_unmodified: u64,
    /// Directories.
    pub dirs: u64,
    /// Directories that the parent did not have.
    pub dirs_new: u64,
    /// Directories that differ from the parent's.
    pub dirs_changed: u64,
    /// Directories that are the parent's.
    pub dirs_unmodified: u64,
    /// Content of the snapshot in bytes.
    pub bytes: u64,
    /// Blobs and bytes that were not known before.
    pub written: Written,
    /// The root tree.
    pub tree: Option<Id>,
    /// Each stream's length and digest, in the order given; empty for trees.
    pub streams: Vec<StreamDigest>,
    /// A digest of the content: of a single stream its blake3, of several the blake3 of their
    /// names and digests, of a tree the root tree's id. In hexadecimal.
    pub content_digest: String,
    /// What is missing or uncertain. Not empty means that the backup is partial.
    pub problems: Vec<Problem>,
    /// Problems above [`PROBLEMS_MAX`], not listed by name.
    pub problems_unlisted: u64,
}

/// What the caller adds to a snapshot once its summary is known.
#[derive(Clone, Debug, Default)]
pub struct Finishing {
    /// Tags, in order.
    pub tags: Vec<String>,
    /// The receipt, kept in the snapshot's `mainstay` field; `Null` for none.
    pub receipt: Value,
}

/// A finished backup.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The snapshot as written.
    pub snapshot: Snapshot,
    /// What was found and done.
    pub summary: BackupSummary,
}

/// The summary while it grows.
#[derive(Default)]
struct Tally(Mutex<BackupSummary>);

/// Returns how a source of a size is cut, given the size in bytes of the pieces it had in the
/// parent snapshot, 0 for none: that size stays, or all of it would be stored again, unless it is
/// more than fourfold off what is right for the source.
fn keep_pieces(chunking: Chunking, before: u32, size: u64) -> Chunking {
    if chunking != Chunking::FixedBySize {
        return chunking;
    }
    let now = fixed_chunk_size(size);
    let fits = before.is_power_of_two() && (now / 4..=now * 4).contains(&before);
    Chunking::Fixed { size_bytes: if fits { before } else { now } }
}

impl Tally {
    fn with(&self, change: impl FnOnce(&mut BackupSummary)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn problem(&self, meter: &Meter<'_>, problem: Problem) {
        meter.problem(&problem);
        self.with(|summary| {
            if summary.problems.len() < PROBLEMS_MAX {
                summary.problems.push(problem);
            } else {
                summary.problems_unlisted += 1;
            }
        });
    }
}

impl Repository {
    /// Backs up trees of files. `finishing` is called once with the summary, right before the
    /// snapshot is written; its error prevents the snapshot.
    ///
    /// Fails with `SourceMissing` when a root is not there; items below that cannot be read make
    /// the summary's problems instead.
    pub fn backup_tree(
        &self,
        source: &dyn SourceMover,
        request: &WalkRequest,
        options: &BackupOptions,
        finishing: impl FnOnce(&BackupSummary) -> Result<Finishing, PortError>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<BackupReport, PortError> {
        let mut paths: Vec<String> =
            request.roots.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect();
        paths.sort();
        let extra = |raw: &mut Map<String, Value>| {
            if !request.excludes.is_empty() {
                raw.insert("excludes".to_owned(), json!(request.excludes));
            }
        };
        self.backup(paths, options, extra, finishing, progress, cancel, |session, meter, tally| {
            tree::run(session, source, request, options, self.parent(options)?, meter, tally)
        })
    }

    /// Backs up streams as files at the root. The snapshot is written only when every stream came
    /// to its end and then finished well.
    pub fn backup_streams(
        &self,
        streams: Vec<Stream>,
        options: &BackupOptions,
        finishing: impl FnOnce(&BackupSummary) -> Result<Finishing, PortError>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<BackupReport, PortError> {
        let paths = streams.iter().map(|s| format!("/{}", s.name)).collect();
        self.backup(
            paths,
            options,
            |_| {},
            finishing,
            progress,
            cancel,
            |session, meter, tally| {
                let parent = self.parent(options)?;
                streams::run(session, streams, options, parent, meter, tally)
            },
        )
    }

    /// Backs up objects that an adapter hands over, as a tree of files. What is unchanged since the
    /// parent snapshot is not asked for.
    pub fn backup_objects(
        &self,
        objects: &dyn Objects,
        options: &BackupOptions,
        finishing: impl FnOnce(&BackupSummary) -> Result<Finishing, PortError>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<BackupReport, PortError> {
        let source = ObjectTree::new(objects);
        let request = WalkRequest { roots: vec![b"/".to_vec()], ..WalkRequest::default() };
        self.backup_tree(&source, &request, options, finishing, progress, cancel)
    }

    fn parent(&self, options: &BackupOptions) -> Result<Option<Id>, PortError> {
        match &options.parent {
            None => Ok(None),
            Some(id) => Ok(Some(self.snapshot(id)?.tree)),
        }
    }

    #[allow(clippy::too_many_arguments)] // One place where both kinds of backup meet.
    fn backup(
        &self,
        paths: Vec<String>,
        options: &BackupOptions,
        extra: impl FnOnce(&mut Map<String, Value>),
        finishing: impl FnOnce(&BackupSummary) -> Result<Finishing, PortError>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
        work: impl FnOnce(&Session<'_>, &Meter<'_>, &Tally) -> Result<Id, PortError>,
    ) -> Result<BackupReport, PortError> {
        self.writable()?;
        let meter = Meter::new(progress);
        let started = self.now();
        let lock = self.lock(false, cancel)?;
        meter.phase("index");
        let index = self.index(cancel)?;
        meter.phase("backup");
        let tally = Tally::default();
        let (tree, outcome) =
            Session::run(&self.store, &index, cancel, |session| work(session, &meter, &tally))?;
        drop(index);
        let mut summary = tally.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.tree = Some(tree);
        summary.written = outcome.written;
        if summary.content_digest.is_empty() {
            summary.content_digest = tree.hex();
        }
        self.learn(outcome);
        meter
            .bytes_stored
            .store(summary.written.bytes_stored, std::sync::atomic::Ordering::Relaxed);
        meter.report();
        let finishing = finishing(&summary)?;
        let mut raw = self.snapshot_fields(paths, options, started, &summary, finishing);
        extra(&mut raw);
        let snapshot = self.publish(raw, lock.as_ref(), cancel)?;
        Ok(BackupReport { snapshot, summary })
    }

    fn snapshot_fields(
        &self,
        paths: Vec<String>,
        options: &BackupOptions,
        started: Timestamp,
        summary: &BackupSummary,
        finishing: Finishing,
    ) -> Map<String, Value> {
        let owner = &self.options.owner;
        let mut raw = Map::new();
        let mut put = |key: &str, value: Value| raw.insert(key.to_owned(), value);
        put("time", json!(options.time.to_string()));
        if let Some(parent) = &options.parent {
            put("parent", json!(parent));
        }
        put("tree", json!(summary.tree));
        put("paths", json!(paths));
        put("hostname", json!(options.host));
        put("username", json!(owner.username));
        put("uid", json!(owner.uid));
        put("gid", json!(owner.gid));
        if !finishing.tags.is_empty() {
            put("tags", json!(finishing.tags));
        }
        put("program_version", json!(options.program_version));
        put(
            "summary",
            json!({
                "backup_start": started.to_string(),
                "backup_end": self.now().to_string(),
                "files_new": summary.files_new,
                "files_changed": summary.files_changed,
                "files_unmodified": summary.files_unmodified,
                "dirs_new": summary.dirs_new,
                "dirs_changed": summary.dirs_changed,
                "dirs_unmodified": summary.dirs_unmodified,
                "data_blobs": summary.written.data_blobs,
                "tree_blobs": summary.written.tree_blobs,
                "data_added": summary.written.bytes_new,
                "data_added_packed": summary.written.bytes_stored,
                "total_files_processed": summary.files,
                "total_bytes_processed": summary.bytes,
            }),
        );
        if !finishing.receipt.is_null() {
            put(RECEIPT_FIELD, finishing.receipt);
        }
        raw
    }
}
