//! The mover port at the engine's end of a connection.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, CHUNK_BYTES_MAX, Chunking, Entry, EntryKind, Overwrite, Prepared, Problem,
    ReadOutcome, ReadRequest, ReadSink, SourceMover, TargetMover, WalkEvent, WalkRequest,
};

use super::connection::{Arrived, Connection};
use super::frame::DATA_BYTES_MAX;
use super::message::{Call, Event, Reply, TargetCall};
use super::order::Order;
use super::serve::MATCH_BYTES_MAX;
use super::{OFFERS_MAX, broken};
use crate::hash::hash;

/// Files of one call, and bytes that their names and attributes may take.
const FILES_MAX: usize = 128;
const FILES_BYTES_MAX: usize = 1 << 20;
/// Pieces that one call compares.
const PIECES_MAX: usize = 16 << 10;

/// Reads files where the mover at the other end runs.
pub struct RemoteSource {
    connection: Arc<Connection>,
}

impl RemoteSource {
    /// Returns a source over a connection.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }
}

impl SourceMover for RemoteSource {
    fn walk(
        &self,
        request: &WalkRequest,
        cancel: &Cancel,
        each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let mut running = self.connection.call(Call::Walk(request.clone()), &[])?;
        let mut order = Order::default();
        loop {
            match running.next(cancel)? {
                Arrived::Event(Event::Walked(events), _, size) => {
                    events.iter().try_for_each(|event| order.check(event))?;
                    each(events)?;
                    running.taken(size)?;
                }
                Arrived::End(Ok(Reply::Done)) => return order.end(),
                Arrived::End(Err(e)) => return Err(e.into()),
                _ => return Err(broken("a walk answers with something else")),
            }
        }
    }

    fn read(
        &self,
        files: &[ReadRequest],
        chunking: Chunking,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        let mut first = 0;
        while first < files.len() {
            let mut bytes = 0;
            let some = files[first..].iter().take(FILES_MAX).take_while(|file| {
                let fits = bytes < FILES_BYTES_MAX;
                let attributes = file.entry.xattrs.iter().map(|(n, v)| n.len() + v.len());
                bytes += file.path.len() + attributes.sum::<usize>();
                fits
            });
            let batch = &files[first..first + some.count()];
            let call = Call::Read(batch.to_vec(), chunking);
            let mut running = self.connection.call(call, &[])?;
            let mut reading =
                Reading { files: batch, first, at: 0, bytes: 0, queue: VecDeque::new() };
            loop {
                match running.next(cancel)? {
                    Arrived::Event(Event::Offer(file, hash, length), _, size) => {
                        let wanted = reading.offered(file, hash, length, sink)?;
                        running.answer(wanted)?;
                        running.taken(size)?;
                    }
                    Arrived::Event(event, data, size) => {
                        reading.event(event, &data, sink)?;
                        running.taken(size)?;
                    }
                    Arrived::End(Ok(Reply::Done)) => break reading.end()?,
                    Arrived::End(Err(e)) => return Err(e.into()),
                    Arrived::End(Ok(_)) => return Err(broken("a read ends with something else")),
                }
            }
            first += batch.len();
        }
        Ok(())
    }
}

/// What was announced and not handed to the sink yet, in order.
enum Announced {
    Piece { file: usize, hash: BlobHash, length: u32, wanted: bool },
    Restart(usize),
    End(usize, ReadOutcome),
}

/// Files that are read with one call.
struct Reading<'r> {
    files: &'r [ReadRequest],
    /// The number of the first in the whole request.
    first: usize,
    /// The file whose turn it is, and its bytes so far.
    at: usize,
    bytes: u64,
    queue: VecDeque<Announced>,
}

impl Reading<'_> {
    /// Takes the announcement of a piece; returns whether its content is wanted.
    fn offered(
        &mut self,
        file: u32,
        hash: BlobHash,
        length: u32,
        sink: &mut dyn ReadSink,
    ) -> Result<bool, PortError> {
        let file = self.turn(file)?;
        if length == 0 || length > CHUNK_BYTES_MAX || self.queue.len() > 4 * OFFERS_MAX {
            return Err(broken(format!("a piece of {length} bytes after {}", self.queue.len())));
        }
        self.bytes += u64::from(length);
        let wanted = sink.wants(&hash, length);
        self.queue.push_back(Announced::Piece { file, hash, length, wanted });
        self.hand_over(sink)?;
        Ok(wanted)
    }

    fn event(
        &mut self,
        event: Event,
        data: &[u8],
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        match event {
            Event::Data => {
                let Some(Announced::Piece { file, hash: announced, length, wanted: true }) =
                    self.queue.pop_front()
                else {
                    return Err(broken("content comes that nobody asked for"));
                };
                // A host may lie, and its memory may fail.
                if data.len() != length as usize || hash(data) != announced {
                    return Err(broken("content differs from what was announced"));
                }
                sink.blob(file, &announced, length, Some(data))?;
            }
            Event::Restart(file) => {
                let file = self.turn(file)?;
                self.bytes = 0;
                self.queue.push_back(Announced::Restart(file));
            }
            Event::FileEnd(file, outcome) => {
                let file = self.turn(file)?;
                self.is_what_was_read(&outcome)?;
                self.at += 1;
                self.bytes = 0;
                self.queue.push_back(Announced::End(file, outcome));
            }
            _ => return Err(broken("a read answers with something else")),
        }
        self.hand_over(sink)
    }

    fn turn(&self, file: u32) -> Result<usize, PortError> {
        if file as usize != self.at || self.at >= self.files.len() {
            return Err(broken(format!("file {file} comes when it is the turn of {}", self.at)));
        }
        Ok(self.first + self.at)
    }

    fn is_what_was_read(&self, outcome: &ReadOutcome) -> Result<(), PortError> {
        let (ReadOutcome::Whole(entry) | ReadOutcome::Changed(entry)) = outcome else {
            return Ok(());
        };
        let asked = &self.files[self.at].entry;
        let same = entry.name == asked.name && entry.kind == EntryKind::File;
        if !same || entry.size != self.bytes {
            return Err(broken("a file's entry is not of what was read"));
        }
        Ok(())
    }

    /// Hands over all that waits for no content.
    fn hand_over(&mut self, sink: &mut dyn ReadSink) -> Result<(), PortError> {
        loop {
            match self.queue.pop_front() {
                Some(piece @ Announced::Piece { wanted: true, .. }) => {
                    self.queue.push_front(piece);
                    return Ok(());
                }
                Some(Announced::Piece { file, hash, length, .. }) => {
                    sink.blob(file, &hash, length, None)?;
                }
                Some(Announced::Restart(file)) => sink.restart(file)?,
                Some(Announced::End(file, outcome)) => sink.end(file, outcome)?,
                None => return Ok(()),
            }
        }
    }

    fn end(&self) -> Result<(), PortError> {
        if self.at == self.files.len() && self.queue.is_empty() {
            Ok(())
        } else {
            Err(broken("a read ends before its files do"))
        }
    }
}

/// Writes below one directory where the mover at the other end runs.
pub struct RemoteTarget {
    connection: Arc<Connection>,
    root: Vec<u8>,
}

impl RemoteTarget {
    /// Makes the directory where it is missing, and opens it.
    pub fn open(connection: Arc<Connection>, root: &Path) -> Result<Self, PortError> {
        let target = Self { connection, root: root.as_os_str().as_bytes().to_vec() };
        target.done(TargetCall::Open, &[])?;
        Ok(target)
    }

    fn call(&self, call: TargetCall, data: &[u8]) -> Result<Reply, PortError> {
        self.connection.call(Call::Target(self.root.clone(), call), data)?.end()
    }

    fn done(&self, call: TargetCall, data: &[u8]) -> Result<(), PortError> {
        match self.call(call, data)? {
            Reply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn problems(&self, call: TargetCall, data: &[u8]) -> Result<Vec<Problem>, PortError> {
        match self.call(call, data)? {
            Reply::Problems(problems) => Ok(problems),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> PortError {
    broken("a target answers with something else")
}

impl TargetMover for RemoteTarget {
    fn make_directory(&self, path: &[u8]) -> Result<(), PortError> {
        self.done(TargetCall::MakeDirectory(path.to_vec()), &[])
    }

    fn prepare_file(
        &self,
        path: &[u8],
        size: u64,
        overwrite: Overwrite,
    ) -> Result<Prepared, PortError> {
        match self.call(TargetCall::PrepareFile(path.to_vec(), size, overwrite), &[])? {
            Reply::Prepared(prepared) => Ok(prepared),
            _ => Err(unexpected()),
        }
    }

    fn matching(
        &self,
        path: &[u8],
        pieces: &[(u64, u32, BlobHash)],
    ) -> Result<Vec<bool>, PortError> {
        let mut all = Vec::with_capacity(pieces.len());
        for some in pieces.chunks(PIECES_MAX) {
            // What is too large to be read there at once is written anew.
            let asked: Vec<_> = some.iter().filter(|p| p.1 <= MATCH_BYTES_MAX).copied().collect();
            let count = asked.len();
            let call = TargetCall::Matching(path.to_vec(), asked);
            let mut found = match self.call(call, &[])? {
                Reply::Matches(found) if found.len() == count => found.into_iter(),
                _ => return Err(unexpected()),
            };
            let found = some.iter().map(|p| p.1 <= MATCH_BYTES_MAX && found.next() == Some(true));
            all.extend(found);
        }
        Ok(all)
    }

    fn write_at(
        &self,
        path: &[u8],
        offset: u64,
        data: &[u8],
        fresh: bool,
    ) -> Result<(), PortError> {
        let mut offset = offset;
        for part in data.chunks(DATA_BYTES_MAX) {
            self.done(TargetCall::WriteAt(path.to_vec(), offset, fresh), part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn write_file(
        &self,
        path: &[u8],
        entry: &Entry,
        parts: &[&[u8]],
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if size <= DATA_BYTES_MAX {
            let call = TargetCall::WriteFile(path.to_vec(), Box::new(entry.clone()), overwrite);
            return match parts {
                [one] => self.problems(call, one),
                many => self.problems(call, &many.concat()),
            };
        }
        let fresh = match self.prepare_file(path, size as u64, overwrite)? {
            Prepared::Kept => return Ok(Vec::new()),
            Prepared::Fresh => true,
            Prepared::Existing => false,
        };
        let mut offset = 0;
        for part in parts {
            self.write_at(path, offset, part, fresh)?;
            offset += part.len() as u64;
        }
        self.set_metadata(path, entry)
    }

    fn make_special(
        &self,
        path: &[u8],
        entry: &Entry,
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError> {
        let entry = Box::new(entry.clone());
        self.problems(TargetCall::MakeSpecial(path.to_vec(), entry, overwrite), &[])
    }

    fn hard_link(&self, existing: &[u8], path: &[u8]) -> Result<(), PortError> {
        self.done(TargetCall::HardLink(existing.to_vec(), path.to_vec()), &[])
    }

    fn set_metadata(&self, path: &[u8], entry: &Entry) -> Result<Vec<Problem>, PortError> {
        self.problems(TargetCall::SetMetadata(path.to_vec(), Box::new(entry.clone())), &[])
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, PortError> {
        let call = Call::Target(self.root.clone(), TargetCall::Names(path.to_vec()));
        let mut running = self.connection.call(call, &[])?;
        let mut all = Vec::new();
        loop {
            match running.next(&Cancel::default())? {
                Arrived::Event(Event::Names(names), _, size) => {
                    all.extend(names);
                    running.taken(size)?;
                }
                Arrived::End(Ok(Reply::Done)) => return Ok(all),
                Arrived::End(Err(e)) => return Err(e.into()),
                _ => return Err(unexpected()),
            }
        }
    }

    fn remove(&self, path: &[u8]) -> Result<(), PortError> {
        self.done(TargetCall::Remove(path.to_vec()), &[])
    }

    fn sync(&self) -> Result<(), PortError> {
        self.done(TargetCall::Sync, &[])
    }
}
