//! Trees that lie in no file system: an adapter lists objects by path and opens those that are
//! wanted; here they look like a mover's files. For exports, buckets, the objects of a cluster.

use std::io;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    Chunking, Entry, EntryKind, FileTime, Owner, Problem, ProblemKind, ReadOutcome, ReadRequest,
    ReadSink, SourceMover, StreamSource, WalkEvent, WalkRequest,
};
use mover::chunk::{Chunker, CutError};
use mover::hash::hash;

use crate::format::node::name_problem;

/// Events that are handed over at once.
const BATCH_EVENTS: usize = 256;
/// Directory levels of a path.
const DEPTH_MAX: usize = 256;

/// One object as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its path: components joined by `/`, without one at the begin.
    pub path: Vec<u8>,
    /// Its size in bytes; 0 when it is not known before it is read.
    pub size: u64,
    /// When it last changed.
    pub mtime: FileTime,
    /// A word for its version (an ETag, a resource version); empty when there is none. With it an
    /// object that changed within its time's precision is read again.
    pub version: String,
    /// Permission bits; 0 for the usual ones.
    pub mode: u32,
}

/// Lists and opens objects. Called from many threads at once.
pub trait Objects: Send + Sync {
    /// Calls `each` for every object, in the byte order of the paths' components: what lies in a
    /// folder comes together. See [`order`].
    fn list(
        &self,
        cancel: &Cancel,
        each: &mut dyn FnMut(Object) -> Result<(), PortError>,
    ) -> Result<(), PortError>;

    /// Opens an object by its path. An error, or one while it is read or at its end, leaves this
    /// object out of the snapshot and names it.
    fn open(&self, path: &[u8]) -> Result<Box<dyn StreamSource>, PortError>;
}

/// Sorts objects as [`Objects::list`] must hand them over: `/` comes before every other byte.
pub fn order(objects: &mut [Object]) {
    objects.sort_by(|a, b| a.path.split(is_slash).cmp(b.path.split(is_slash)));
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// Objects behind the mover's port.
pub(crate) struct ObjectTree<'o> {
    objects: &'o dyn Objects,
}

impl<'o> ObjectTree<'o> {
    pub fn new(objects: &'o dyn Objects) -> Self {
        Self { objects }
    }
}

fn entry(name: &[u8], kind: EntryKind) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
        mtime: FileTime::default(),
        atime: FileTime::default(),
        ctime: FileTime::default(),
        owner: Owner::default(),
        inode: 0,
        device: 0,
        links: u64::from(kind != EntryKind::Directory),
        size: 0,
        rdev: 0,
        link_target: Vec::new(),
        xattrs: Vec::new(),
    }
}

fn file(name: &[u8], object: &Object) -> Entry {
    let mut file = entry(name, EntryKind::File);
    file.size = object.size;
    file.mtime = object.mtime;
    file.atime = object.mtime;
    file.ctime = object.mtime;
    if object.mode != 0 {
        file.mode = object.mode & 0o7777;
    }
    if !object.version.is_empty() {
        // What tells a version from the next stands where a file system has its inode number.
        let digest = blake3::hash(object.version.as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&digest.as_bytes()[..8]);
        file.inode = u64::from_le_bytes(number) | 1;
    }
    file
}

fn bad_path(path: &[u8], why: &str) -> PortError {
    PortError::terminal("BadObjectPath", format!("object {}: {why}", path.escape_ascii()))
}

/// The walk's state: the folders that are open, and the events not yet handed over.
struct Walk<'w> {
    open: Vec<Vec<u8>>,
    last: Vec<Vec<u8>>,
    events: Vec<WalkEvent>,
    each: &'w mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
}

impl Walk<'_> {
    fn send(&mut self, event: WalkEvent) -> Result<(), PortError> {
        self.events.push(event);
        if self.events.len() >= BATCH_EVENTS {
            (self.each)(std::mem::take(&mut self.events))?;
        }
        Ok(())
    }

    fn object(&mut self, object: &Object) -> Result<(), PortError> {
        let mut parts: Vec<Vec<u8>> = object.path.split(|b| *b == b'/').map(Vec::from).collect();
        if parts.len() > DEPTH_MAX {
            return Err(bad_path(&object.path, "too deep"));
        }
        if let Some(why) = parts.iter().find_map(|p| name_problem(p)) {
            return Err(bad_path(&object.path, why));
        }
        if !self.last.is_empty() && parts <= self.last {
            return Err(bad_path(&object.path, "comes twice or out of order"));
        }
        if !self.last.is_empty() && parts.starts_with(&self.last) {
            return Err(bad_path(&object.path, "lies below another object"));
        }
        self.last.clone_from(&parts);
        let name = parts.pop().unwrap_or_default();
        let common = parts.iter().zip(&self.open).take_while(|(a, b)| a == b).count();
        while self.open.len() > common {
            self.open.pop();
            self.send(WalkEvent::Leave)?;
        }
        for part in &parts[common..] {
            self.open.push(part.clone());
            self.send(WalkEvent::Enter(entry(part, EntryKind::Directory)))?;
        }
        self.send(WalkEvent::Entry(file(&name, object)))
    }
}

impl SourceMover for ObjectTree<'_> {
    fn walk(
        &self,
        _: &WalkRequest,
        cancel: &Cancel,
        each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let mut walk = Walk { open: Vec::new(), last: Vec::new(), events: Vec::new(), each };
        walk.send(WalkEvent::Enter(entry(b"", EntryKind::Directory)))?;
        self.objects.list(cancel, &mut |object| {
            cancel.check()?;
            walk.object(&object)
        })?;
        for _ in 0..=walk.open.len() {
            walk.send(WalkEvent::Leave)?;
        }
        (walk.each)(walk.events)
    }

    fn read(
        &self,
        files: &[ReadRequest],
        chunking: Chunking,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        let mut chunker = Chunker::default();
        for (number, request) in files.iter().enumerate() {
            let outcome = self.read_one(number, request, chunking, &mut chunker, cancel, sink)?;
            if matches!(outcome, ReadOutcome::Failed(_)) {
                sink.restart(number)?;
            }
            sink.end(number, outcome)?;
        }
        Ok(())
    }
}

impl ObjectTree<'_> {
    fn read_one(
        &self,
        number: usize,
        request: &ReadRequest,
        chunking: Chunking,
        chunker: &mut Chunker,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<ReadOutcome, PortError> {
        let failed = |message: String| {
            let path = request.path.clone();
            ReadOutcome::Failed(Problem { path, kind: ProblemKind::Unreadable, message })
        };
        let path = request.path.strip_prefix(b"/").unwrap_or(&request.path);
        let mut source = match self.objects.open(path) {
            Ok(source) => source,
            Err(e) => return Ok(failed(e.chain())),
        };
        let cut = chunker.run(
            chunking,
            request.entry.size,
            &mut |buffer: &mut [u8]| -> io::Result<usize> { source.read(buffer) },
            &mut |piece| {
                cancel.check()?;
                let hash = hash(piece);
                let length = piece.len() as u32;
                let data = sink.wants(&hash, length).then_some(piece);
                sink.blob(number, &hash, length, data)
            },
        );
        let length = match cut {
            Ok(length) => length,
            Err(CutError::Read(e)) => return Ok(failed(format!("cannot read: {e}"))),
            Err(CutError::Sink(e)) => return Err(e),
        };
        if let Err(e) = source.finish() {
            return Ok(failed(e.chain()));
        }
        let mut entry = request.entry.clone();
        entry.size = length;
        Ok(ReadOutcome::Whole(Box::new(entry)))
    }
}
