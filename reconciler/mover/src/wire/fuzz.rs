//! Doors for fuzzers: what a peer could say, made of any bytes.

use std::io::{self, Read, Write};

use crossbeam_channel::{Receiver, Sender, bounded};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, ReadOutcome, ReadRequest, ReadSink, SourceMover,
    TargetMover, WalkRequest,
};

use super::connection::Connection;
use super::frame::{self, Frame};
use super::message::{self, FromMover, ToMover};
use super::remote::{RemoteSource, RemoteTarget};

/// Reads frames and messages as both sides would; returns how many frames were read.
pub fn read_both_ways(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some(frame)) = Frame::read(&mut bytes) {
        let _: Result<ToMover, PortError> = message::decode(&frame.head);
        let _: Result<FromMover, PortError> = message::decode(&frame.head);
        count += 1;
    }
    count
}

/// Makes calls to a mover that says what the bytes are: a length each for head and data, then both,
/// again and again, in frames that are well made.
pub fn hear(mut bytes: &[u8]) {
    let mut said = Vec::new();
    let _ = frame::greet(&mut said);
    while let [head, data, rest @ ..] = bytes {
        let (head, rest) = rest.split_at(rest.len().min(usize::from(*head)));
        let (data, rest) = rest.split_at(rest.len().min(usize::from(*data)));
        let _ = frame::write(&mut said, head, data);
        bytes = rest;
    }
    for act in [walk, read, write] {
        let (asked, was_asked) = bounded(1);
        let listens = Listens { said: io::Cursor::new(said.clone()), greeting: 16, was_asked };
        if let Ok(connection) = Connection::open(Box::new(listens), Box::new(Asks(asked, 16))) {
            act(&connection);
        }
    }
}

fn walk(connection: &std::sync::Arc<Connection>) {
    let source = RemoteSource::new(std::sync::Arc::clone(connection));
    let _ = source.walk(&WalkRequest::default(), &Cancel::default(), &mut |_| Ok(()));
}

fn read(connection: &std::sync::Arc<Connection>) {
    let source = RemoteSource::new(std::sync::Arc::clone(connection));
    let entry = Entry { name: b"a".to_vec(), kind: EntryKind::File, ..crate::walk::top() };
    let files = [ReadRequest { path: b"/a".to_vec(), entry }];
    let way = Chunking::ContentDefined;
    let _ = source.read(&files, way, &Cancel::default(), &mut Ignores);
}

fn write(connection: &std::sync::Arc<Connection>) {
    let path = std::path::Path::new("/nowhere");
    if let Ok(target) = RemoteTarget::open(std::sync::Arc::clone(connection), path) {
        let _ = target.names(b"");
        let _ = target.matching(b"a", &[(0, 5, [0; 32])]);
        let _ = target.sync();
    }
}

/// A mover that speaks once something was asked.
struct Listens {
    said: io::Cursor<Vec<u8>>,
    greeting: usize,
    was_asked: Receiver<()>,
}

impl Read for Listens {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.greeting == 0 {
            let _ = self.was_asked.recv();
        }
        let n = self.said.read(buffer)?;
        self.greeting = self.greeting.saturating_sub(n);
        Ok(n)
    }
}

/// Tells of the first bytes after the greeting, then leaves the other side free to speak.
struct Asks(Sender<()>, usize);

impl Write for Asks {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.1 == 0 {
            // From here on no word waits for another.
            self.0 = bounded(0).0;
        }
        self.1 = self.1.saturating_sub(buffer.len());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Wants everything and keeps nothing.
struct Ignores;

impl ReadSink for Ignores {
    fn wants(&mut self, _: &BlobHash, _: u32) -> bool {
        true
    }

    fn blob(&mut self, _: usize, _: &BlobHash, _: u32, _: Option<&[u8]>) -> Result<(), PortError> {
        Ok(())
    }

    fn restart(&mut self, _: usize) -> Result<(), PortError> {
        Ok(())
    }

    fn end(&mut self, _: usize, _: ReadOutcome) -> Result<(), PortError> {
        Ok(())
    }
}
