//! The mover port's reading side for files of this machine; driven by the engine's threads.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, Problem, ProblemKind, ReadOutcome, ReadRequest, ReadSink,
    SourceMover, WalkEvent, WalkRequest,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::chunk::{Chunker, CutError, piece_bytes};
use crate::holes::HoleReader;
use crate::names::OwnerNames;
use crate::segments::{self, Each, Segments};
use crate::stat::{self, ByFd};
use crate::{hash, walk};

/// How often a file that changes while it is read is read before it is marked.
const ATTEMPTS: usize = 3;
/// Size in bytes from which on a file is asked for holes: smaller ones are read at once.
const HOLES_FROM_BYTES: u64 = 256 << 10;
/// Size in bytes from which on a file that is cut into pieces of one size is read by several
/// threads: the same as that from which on its pieces are sealed by several.
const SEGMENTS_FROM_BYTES: u64 = 4 << 20;

/// Reads files of this machine in this process.
pub struct LocalSource {
    names: OwnerNames,
}

impl Default for LocalSource {
    fn default() -> Self {
        Self { names: OwnerNames::load() }
    }
}

thread_local! {
    /// Each reading thread's buffer, kept from file to file.
    static CHUNKER: RefCell<Chunker> = RefCell::default();
}

enum Attempt {
    Done(ReadOutcome),
    Again,
}

fn problem(path: &[u8], message: String) -> Attempt {
    let path = path.to_vec();
    Attempt::Done(ReadOutcome::Failed(Problem { path, kind: ProblemKind::Unreadable, message }))
}

fn open(path: &[u8]) -> Result<OwnedFd, Errno> {
    // Not blocking, so that a pipe put in the file's place cannot hold this thread.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    }
}

impl LocalSource {
    fn look(&self, file: &OwnedFd, name: &[u8]) -> Result<Option<Entry>, Errno> {
        let stat = rustix::fs::fstat(file)?;
        Ok(stat::entry(name, &stat, &self.names).filter(|e| e.kind == EntryKind::File))
    }

    fn attempt(
        &self,
        number: usize,
        request: &ReadRequest,
        chunking: Chunking,
        chunker: &mut Chunker,
        last: bool,
        (cancel, sink): (&Cancel, &mut dyn ReadSink),
    ) -> Result<Attempt, PortError> {
        let path = &request.path;
        let file = match open(path) {
            Ok(file) => file,
            Err(e) => return Ok(problem(path, format!("cannot open: {e}"))),
        };
        let name = &request.entry.name;
        let mut before = match self.look(&file, name) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(problem(path, "is no longer a regular file".to_owned())),
            Err(e) => return Ok(problem(path, format!("cannot look at: {e}"))),
        };
        let size = before.size;
        let sparse = size >= HOLES_FROM_BYTES
            && rustix::fs::fstat(&file).is_ok_and(|s| (s.st_blocks as u64) * 512 < size);
        let mut each = |hash: &BlobHash, piece: &[u8]| {
            cancel.check()?;
            let length = piece.len() as u32;
            let data = sink.wants(hash, length).then_some(piece);
            sink.blob(number, hash, length, data)?;
            Ok(data.is_some())
        };
        let piece_bytes = piece_bytes(chunking, size).filter(|_| size >= SEGMENTS_FROM_BYTES);
        let read = match piece_bytes {
            // The last attempt takes the file as it is, also what it has grown by.
            Some(piece_bytes) if !last && segments::helpers() > 0 => {
                let segments = Segments { file: &file, size, sparse, piece_bytes };
                segments.run(segments::helpers(), &mut each)
            }
            _ => cut(chunker, chunking, HoleReader::new(&file, size, sparse), size, &mut each),
        };
        let length = match read {
            Ok(length) => length,
            Err(CutError::Read(e)) => return Ok(problem(path, format!("cannot read: {e}"))),
            Err(CutError::Sink(e)) => return Err(e),
        };
        let after = self.look(&file, name).ok().flatten();
        let at_rest = length == size && after.is_some_and(|a| stat::same_content(&a, &before));
        if !at_rest && !last {
            return Ok(Attempt::Again);
        }
        // The walk's attributes belong to the walk's state of the file.
        before.xattrs = if before.ctime == request.entry.ctime {
            request.entry.xattrs.clone()
        } else {
            stat::xattrs(&ByFd(file.as_fd())).unwrap_or_default()
        };
        before.size = length;
        let entry = Box::new(before);
        let outcome = if at_rest { ReadOutcome::Whole(entry) } else { ReadOutcome::Changed(entry) };
        Ok(Attempt::Done(outcome))
    }

    fn read_one(
        &self,
        number: usize,
        request: &ReadRequest,
        chunking: Chunking,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        CHUNKER.with_borrow_mut(|chunker| {
            for attempt in 1..=ATTEMPTS {
                let last = attempt == ATTEMPTS;
                match self.attempt(
                    number,
                    request,
                    chunking,
                    chunker,
                    last,
                    (cancel, &mut *sink),
                )? {
                    Attempt::Done(outcome) => return sink.end(number, outcome),
                    Attempt::Again => sink.restart(number)?,
                }
            }
            Ok(())
        })
    }
}

/// Reads a file from its begin to its end and cuts it.
fn cut(
    chunker: &mut Chunker,
    chunking: Chunking,
    mut reader: HoleReader<&OwnedFd>,
    size: u64,
    each: &mut Each<'_>,
) -> Result<u64, CutError> {
    let (mut done, mut ended) = (0, false);
    let mut next = |buffer: &mut [u8]| -> std::io::Result<usize> {
        if ended {
            return Ok(0);
        }
        let n = reader.read(buffer)?;
        done += n as u64;
        // Less than asked for where the file should end is its end; the look at it afterwards would
        // show that it has grown meanwhile.
        ended = n < buffer.len() && done == size;
        Ok(n)
    };
    let mut each = |piece: &[u8]| each(&hash::hash(piece), piece).map(drop);
    chunker.run(chunking, size, &mut next, &mut each)
}

impl SourceMover for LocalSource {
    fn walk(
        &self,
        request: &WalkRequest,
        cancel: &Cancel,
        each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        walk::walk(request, &self.names, cancel, each)
    }

    fn read(
        &self,
        files: &[ReadRequest],
        chunking: Chunking,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        for (number, request) in files.iter().enumerate() {
            cancel.check()?;
            self.read_one(number, request, chunking, cancel, sink)?;
        }
        Ok(())
    }
}
