//! Movers that lie, flood, fall silent or die, as a script tells them.

use std::io::Write;
use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, Overwrite, ReadOutcome, ReadRequest, ReadSink,
    SourceMover, TargetMover, WalkEvent, WalkRequest,
};

use super::connection::Connection;
use super::frame::{self, Frame};
use super::message::{self, CallId, Event, FromMover, Reply, ToMover};
use super::remote::{RemoteSource, RemoteTarget};
use crate::hash::hash;

/// What a scripted mover says to the first call.
enum Say {
    Event(Event, Vec<u8>),
    End(Reply),
    /// Another call's number.
    Stranger,
    /// Bytes that are no frame.
    Raw(Vec<u8>),
    /// Waits for an answer to an offer.
    Hear,
}

/// A connection to a mover that answers the first call by a script and then ends.
fn scripted(script: Vec<Say>) -> Arc<Connection> {
    let (mut from_engine, to_mover) = std::io::pipe().unwrap();
    let (from_mover, mut to_engine) = std::io::pipe().unwrap();
    std::thread::spawn(move || {
        frame::greet(&mut to_engine).unwrap();
        frame::greeted(&mut from_engine).unwrap();
        let call = next(&mut from_engine, |m| matches!(m, ToMover::Call(..)));
        let Some(ToMover::Call(id, _)) = call else { return };
        for line in script {
            let said = match line {
                Say::Event(event, data) => say(&mut to_engine, id, Ok(event), &data),
                Say::End(reply) => say(&mut to_engine, id, Err(reply), &[]),
                Say::Stranger => say(&mut to_engine, id + 7, Err(Reply::Done), &[]),
                Say::Raw(bytes) => to_engine.write_all(&bytes).is_ok(),
                Say::Hear => next(&mut from_engine, |m| matches!(m, ToMover::Answer(..))).is_some(),
            };
            if !said {
                return;
            }
        }
        // It speaks no more, and goes on listening.
        drop(to_engine);
        next(&mut from_engine, |_| false);
    });
    Connection::open(Box::new(from_mover), Box::new(to_mover)).unwrap()
}

fn next(from: &mut std::io::PipeReader, test: impl Fn(&ToMover) -> bool) -> Option<ToMover> {
    loop {
        let frame = Frame::read(from).ok()??;
        let message = message::decode(&frame.head).unwrap();
        if test(&message) {
            return Some(message);
        }
    }
}

fn say(to: &mut dyn Write, id: CallId, what: Result<Event, Reply>, data: &[u8]) -> bool {
    let message = match what {
        Ok(event) => FromMover::Event(id, event),
        Err(reply) => FromMover::End(id, Ok(reply)),
    };
    frame::write(to, &message::encode(&message).unwrap(), data).is_ok()
}

/// Takes everything down; wants every piece.
#[derive(Default)]
struct Notes(Vec<String>);

impl ReadSink for Notes {
    fn wants(&mut self, _: &BlobHash, _: u32) -> bool {
        true
    }

    fn blob(
        &mut self,
        file: usize,
        _: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        self.0.push(format!("{file}: {length} bytes, {}", data.is_some()));
        Ok(())
    }

    fn restart(&mut self, file: usize) -> Result<(), PortError> {
        self.0.push(format!("{file}: again"));
        Ok(())
    }

    fn end(&mut self, file: usize, outcome: ReadOutcome) -> Result<(), PortError> {
        let word = if matches!(outcome, ReadOutcome::Whole(_)) { "whole" } else { "not whole" };
        self.0.push(format!("{file}: {word}"));
        Ok(())
    }
}

fn file(name: &str, size: u64) -> Entry {
    Entry { name: name.into(), kind: EntryKind::File, size, ..crate::walk::top() }
}

/// Reads two files, `a` and `b`; returns what the sink heard and the error.
fn read(script: Vec<Say>) -> (Vec<String>, Option<PortError>) {
    let request = |name: &str| ReadRequest { path: name.into(), entry: file(name, 0) };
    let source = RemoteSource::new(scripted(script));
    let mut notes = Notes::default();
    let files = [request("a"), request("b")];
    let way = Chunking::ContentDefined;
    let done = source.read(&files, way, &Cancel::default(), &mut notes);
    (notes.0, done.err())
}

fn offer(file: u32, data: &[u8]) -> Say {
    Say::Event(Event::Offer(file, hash(data), data.len() as u32), Vec::new())
}

fn data(data: &[u8]) -> Say {
    Say::Event(Event::Data, data.to_vec())
}

fn whole(number: u32, name: &str, size: u64) -> Say {
    Say::Event(Event::FileEnd(number, ReadOutcome::Whole(Box::new(file(name, size)))), Vec::new())
}

#[test]
fn content_that_comes_late_stays_in_order() {
    let (heard, error) = read(vec![
        offer(0, b"one"),
        offer(0, b"three"),
        Say::Event(Event::Restart(0), Vec::new()),
        offer(0, b"four"),
        whole(0, "a", 4),
        data(b"one"),
        data(b"three"),
        data(b"four"),
        whole(1, "b", 0),
        Say::End(Reply::Done),
    ]);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        heard,
        [
            "0: 3 bytes, true",
            "0: 5 bytes, true",
            "0: again",
            "0: 4 bytes, true",
            "0: whole",
            "1: whole"
        ]
    );
}

#[test]
fn a_read_that_lies_is_refused() {
    let both = || vec![whole(0, "a", 0), whole(1, "b", 0)];
    for (script, what) in [
        (
            vec![offer(0, b"one"), Say::Hear, data(b"two")],
            "content differs from what was announced",
        ),
        (vec![offer(0, b"one"), data(b"ones")], "content differs from what was announced"),
        (vec![data(b"one")], "content comes that nobody asked for"),
        (vec![offer(1, b"one")], "file 1 comes when it is the turn of 0"),
        (vec![offer(0, b"")], "a piece of 0 bytes after 0"),
        (vec![whole(0, "b", 0)], "a file's entry is not of what was read"),
        (vec![offer(0, b"one"), whole(0, "a", 4)], "a file's entry is not of what was read"),
        (vec![whole(0, "a", 0), Say::End(Reply::Done)], "a read ends before its files do"),
        (
            [both(), vec![whole(2, "c", 0)]].into_iter().flatten().collect(),
            "file 2 comes when it is the turn of 2",
        ),
        (
            [both(), vec![Say::End(Reply::Matches(vec![]))]].into_iter().flatten().collect(),
            "a read ends with something else",
        ),
        (vec![Say::Event(Event::Walked(vec![]), vec![])], "a read answers with something else"),
        (vec![Say::Stranger], "call 7 was never made"),
        (vec![Say::Raw(vec![0xff; 64])], "a frame of 4294967295 and 4294967295 bytes is too large"),
        (vec![Say::Raw(vec![0; 64])], "a frame's check sum is wrong"),
    ] {
        let (heard, error) = read(script);
        let error = error.unwrap();
        assert_eq!((error.reason, error.message.as_str()), ("MoverBroken", what));
        assert!(!heard.iter().any(|line| line.contains("true")), "{heard:?}");
    }
    for script in [vec![], vec![offer(0, b"one"), Say::Hear], vec![Say::Raw(vec![3, 0, 0])]] {
        assert_eq!(read(script).1.unwrap().reason, "MoverGone");
    }
}

#[test]
fn a_call_that_floods_ends_the_connection() {
    // Nobody takes these in: the taker waits at the first until all have been sent.
    let piece = vec![7; 4 << 20];
    let flood =
        (0..12).map(|_| Say::Event(Event::Names(vec![piece[..1 << 20].to_vec(); 3]), vec![]));
    let connection = scripted(flood.collect());
    let target = connection.call(message::Call::Walk(WalkRequest::default()), &[]).unwrap();
    let mut target = target;
    while connection.over().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(connection.over().unwrap().message, "call 0 sends more than its window holds");
    // What had come before is still there, then the reason.
    let ended = loop {
        if let Err(e) = target.next(&Cancel::default()) {
            break e;
        }
    };
    assert_eq!(ended.reason, "MoverBroken");
}

#[test]
fn a_walk_or_a_target_that_lies_is_refused() {
    let walk = |script| {
        let source = RemoteSource::new(scripted(script));
        source.walk(&WalkRequest::default(), &Cancel::default(), &mut |_| Ok(())).unwrap_err()
    };
    let outside = vec![WalkEvent::Enter(crate::walk::top()), WalkEvent::Entry(file("../x", 0))];
    let outside = walk(vec![Say::Event(Event::Walked(outside), vec![])]);
    assert_eq!(outside.message, "`../x` is no name of an entry");
    let open = walk(vec![
        Say::Event(Event::Walked(vec![WalkEvent::Enter(crate::walk::top())]), vec![]),
        Say::End(Reply::Done),
    ]);
    assert_eq!(open.message, "a walk ends inside a directory");
    let open = |script| RemoteTarget::open(scripted(script), std::path::Path::new("/x"));
    let wrong = open(vec![Say::End(Reply::Matches(vec![true]))]).err().unwrap();
    assert_eq!(wrong.message, "a target answers with something else");
    let more = open(vec![Say::Event(Event::Names(vec![]), vec![])]).err().unwrap();
    assert_eq!(more.message, "a call of one answer sends more");
    let died = open(vec![Say::End(Reply::Done)]).unwrap();
    let died = died.prepare_file(b"a", 1, Overwrite::Always).unwrap_err();
    assert_eq!(died.reason, "MoverGone");
}
