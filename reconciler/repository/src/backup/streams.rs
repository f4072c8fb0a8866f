//! Backup of streams: each is cut and hashed in turn, its pieces sealed by the pool.

use std::collections::BTreeMap;

use model::error::PortError;
use model::ports::mover::{Chunking, Entry, EntryKind, FileTime, Owner};
use mover::chunk::{Chunker, CutError};

use super::pool::Pool;
use super::{BackupOptions, Stream, StreamDigest, Tally, keep_pieces};
use crate::format::node::{Node, TreeWriter, name_problem};
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::progress::Meter;
use crate::read::find_node;
use crate::session::Session;
use crate::treecache::TreeCache;

/// Directory levels in a stream's name.
const DEPTH_MAX: usize = 64;

/// A directory of the tree that the names make.
#[derive(Default)]
struct Folder {
    files: BTreeMap<Vec<u8>, (u64, Vec<Id>)>,
    folders: BTreeMap<Vec<u8>, Folder>,
}

/// Backs up the streams and returns the root tree.
pub(super) fn run(
    session: &Session<'_>,
    streams: Vec<Stream>,
    options: &BackupOptions,
    parent: Option<Id>,
    meter: &Meter<'_>,
    tally: &Tally,
) -> Result<Id, PortError> {
    if streams.is_empty() {
        return Err(PortError::terminal("NoStreams", "no stream is given"));
    }
    // All names are checked before the first byte is asked for.
    let mut root = Folder::default();
    for stream in &streams {
        root.place(&stream.name, (0, Vec::new()))?;
    }
    let mut digests = Vec::new();
    Pool::<()>::run(
        session,
        options.threads(),
        |_, ()| Ok(()),
        |feeder| {
            let mut chunker = Chunker::default();
            for mut stream in streams {
                let mut hasher = blake3::Hasher::new();
                let mut content = Vec::new();
                let source = &mut stream.source;
                let before = pieces_before(session, options, parent.as_ref(), &stream.name);
                let cut = chunker.run(
                    keep_pieces(options.chunking, before, stream.size_hint),
                    stream.size_hint,
                    &mut |buffer| source.read(buffer),
                    &mut |piece| {
                        session.check()?;
                        hasher.update(piece);
                        let id = Id::of(piece);
                        content.push(id);
                        if session.claim(BlobKind::Data, &id) {
                            feeder.worker.put(&id.0, piece, true)?;
                        }
                        meter.done(0, piece.len() as u64);
                        Ok(())
                    },
                );
                let bytes = cut.map_err(|e| failed(&stream.name, e))?;
                stream.source.finish()?;
                meter.done(1, 0);
                let blake3 = hasher.finalize().to_hex().to_string();
                root.place_again(&stream.name, (bytes, content));
                digests.push(StreamDigest { name: stream.name, bytes, blake3 });
            }
            Ok(())
        },
    )?;
    let time = FileTime {
        seconds: options.time.as_second(),
        nanos: u32::try_from(options.time.subsec_nanosecond()).unwrap_or(0),
    };
    let tree = root.save(session, time)?;
    tally.with(|summary| {
        summary.files = digests.len() as u64;
        summary.files_new = summary.files;
        summary.bytes = digests.iter().map(|d| d.bytes).sum();
        summary.content_digest = content_digest(&digests);
        summary.streams = digests;
    });
    Ok(tree)
}

/// Returns the size in bytes of the pieces that a stream was cut into in the parent snapshot; 0
/// when that cannot be told.
fn pieces_before(
    session: &Session<'_>,
    options: &BackupOptions,
    tree: Option<&Id>,
    name: &str,
) -> u32 {
    let Some(tree) = tree.filter(|_| options.chunking == Chunking::FixedBySize) else { return 0 };
    // A parent that cannot be read costs space, not the backup.
    let length = || {
        let trees = TreeCache::new(session.store, session.index).ok()?;
        let node = find_node(&trees, tree, name.as_bytes()).ok()??;
        let first = node.content.first().filter(|_| node.content.len() > 1)?;
        Some(session.index.get(BlobKind::Data, first)?.1.plain_length())
    };
    length().unwrap_or(0)
}

fn failed(name: &str, e: CutError) -> PortError {
    match e {
        CutError::Read(e) => {
            PortError::transient("SourceFailed", format!("stream {name} broke off")).with_source(e)
        }
        CutError::Sink(e) => e,
    }
}

/// Returns one digest for the content of several streams, whatever their order: of a single one its
/// own, of several the blake3 of their names and digests.
pub fn content_digest(digests: &[StreamDigest]) -> String {
    if let [only] = digests {
        return only.blake3.clone();
    }
    let mut sorted: Vec<&StreamDigest> = digests.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    for digest in sorted {
        hasher.update(&(digest.name.len() as u64).to_le_bytes());
        hasher.update(digest.name.as_bytes());
        hasher.update(digest.blake3.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn bad_name(name: &str, why: &str) -> PortError {
    PortError::terminal("BadStreamName", format!("stream name {name:?}: {why}"))
}

impl Folder {
    fn place(&mut self, name: &str, file: (u64, Vec<Id>)) -> Result<(), PortError> {
        let mut parts: Vec<&str> = name.split('/').collect();
        if parts.len() > DEPTH_MAX {
            return Err(bad_name(name, "too deep"));
        }
        if let Some(why) = parts.iter().find_map(|p| name_problem(p.as_bytes())) {
            return Err(bad_name(name, why));
        }
        let last = parts.pop().unwrap_or_default().as_bytes().to_vec();
        let mut folder = self;
        for part in parts {
            if folder.files.contains_key(part.as_bytes()) {
                return Err(bad_name(name, "lies below another stream"));
            }
            folder = folder.folders.entry(part.as_bytes().to_vec()).or_default();
        }
        if folder.folders.contains_key(&last) || folder.files.insert(last, file).is_some() {
            return Err(bad_name(name, "is taken"));
        }
        Ok(())
    }

    /// Fills the place that `place` made.
    fn place_again(&mut self, name: &str, file: (u64, Vec<Id>)) {
        let mut folder = self;
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                folder.files.insert(part.as_bytes().to_vec(), file);
                return;
            }
            folder = folder.folders.entry(part.as_bytes().to_vec()).or_default();
        }
    }

    fn save(self, session: &Session<'_>, time: FileTime) -> Result<Id, PortError> {
        let mut nodes = Vec::new();
        for (name, (size, content)) in self.files {
            let mut entry = virtual_entry(name, EntryKind::File, time);
            entry.size = size;
            nodes.push(Node { entry, content, subtree: None });
        }
        for (name, folder) in self.folders {
            let entry = virtual_entry(name, EntryKind::Directory, time);
            let subtree = Some(folder.save(session, time)?);
            nodes.push(Node { entry, content: Vec::new(), subtree });
        }
        nodes.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        let mut writer = TreeWriter::default();
        for node in &nodes {
            writer.push(node)?;
        }
        session.put_tree(&writer.finish())
    }
}

fn virtual_entry(name: Vec<u8>, kind: EntryKind, time: FileTime) -> Entry {
    let directory = kind == EntryKind::Directory;
    Entry {
        name,
        kind,
        mode: if directory { 0o755 } else { 0o644 },
        mtime: time,
        atime: time,
        ctime: time,
        owner: Owner::default(),
        inode: 0,
        device: 0,
        links: u64::from(!directory),
        size: 0,
        rdev: 0,
        link_target: Vec::new(),
        xattrs: Vec::new(),
    }
}
