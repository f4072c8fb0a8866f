//! What is said over a connection. Encoded by postcard: compact, without field names, with a
//! written specification; both sides are of one version. JSON would take several times the bytes
//! for names and hashes.

use model::error::{ErrorClass, PortError};
use model::ports::mover::{
    BlobHash, Chunking, Entry, Overwrite, Prepared, Problem, ReadOutcome, ReadRequest, WalkEvent,
    WalkRequest,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::broken;

/// The number of a call, given by the engine, counting up.
pub(super) type CallId = u32;

/// From the engine to the mover.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToMover {
    /// Begins a call; the content that some need goes with the frame.
    Call(CallId, Call),
    /// Whether the piece that was offered first and not answered yet is wanted.
    Answer(CallId, bool),
    /// So many bytes were taken in.
    Credit(CallId, u32),
    /// The call shall stop.
    Cancel(CallId),
}

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Call {
    /// See [`model::ports::mover::SourceMover::walk`].
    Walk(WalkRequest),
    /// See [`model::ports::mover::SourceMover::read`].
    Read(Vec<ReadRequest>, Chunking),
    /// Something at the target whose root is this path.
    Target(Vec<u8>, TargetCall),
}

/// A call to a target. See [`model::ports::mover::TargetMover`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum TargetCall {
    Open,
    MakeDirectory(Vec<u8>),
    PrepareFile(Vec<u8>, u64, Overwrite),
    Matching(Vec<u8>, Vec<(u64, u32, BlobHash)>),
    WriteAt(Vec<u8>, u64, bool),
    WriteFile(Vec<u8>, Box<Entry>, Overwrite),
    MakeSpecial(Vec<u8>, Box<Entry>, Overwrite),
    HardLink(Vec<u8>, Vec<u8>),
    SetMetadata(Vec<u8>, Box<Entry>),
    Names(Vec<u8>),
    Remove(Vec<u8>),
    Sync,
}

/// From the mover to the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum FromMover {
    /// Something of a call that goes on. Counts against its window.
    Event(CallId, Event),
    /// The call ended.
    End(CallId, Result<Reply, WireError>),
}

/// Something of a call that goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Event {
    Walked(Vec<WalkEvent>),
    /// A piece of a file: its number in the request, hash and length in bytes.
    Offer(u32, BlobHash, u32),
    /// The content of the piece that was wanted first and not sent yet goes with the frame.
    Data,
    Restart(u32),
    FileEnd(u32, ReadOutcome),
    Names(Vec<Vec<u8>>),
}

/// What a call returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Prepared(Prepared),
    Matches(Vec<bool>),
    Problems(Vec<Problem>),
}

/// A port error on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireError {
    class: ErrorClass,
    reason: String,
    message: String,
    hint: Option<String>,
}

/// The reasons that a mover gives; others are not worth a word of their own.
const REASONS: [&str; 13] = [
    "BadPath",
    "BadPolynomial",
    "Cancelled",
    "DiskFull",
    "MoverBroken",
    "PermissionDenied",
    "ReadOnly",
    "Refused",
    "SourceChanged",
    "SourceMissing",
    "TargetIo",
    "TooManyCalls",
    "WrongKind",
];

impl From<PortError> for WireError {
    fn from(e: PortError) -> Self {
        let message = e.chain();
        Self { class: e.class, reason: e.reason.to_owned(), message, hint: e.hint }
    }
}

impl From<WireError> for PortError {
    fn from(e: WireError) -> Self {
        let known = REASONS.iter().find(|reason| **reason == e.reason);
        let mut error = Self::new(e.class, known.copied().unwrap_or("MoverFailed"), e.message);
        error.hint = e.hint;
        error
    }
}

pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, PortError> {
    postcard::to_stdvec(message)
        .map_err(|e| PortError::terminal("Internal", "a message has no encoding").with_source(e))
}

pub(super) fn decode<T: DeserializeOwned>(head: &[u8]) -> Result<T, PortError> {
    match postcard::take_from_bytes(head) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(broken("a message is longer than it says")),
        Err(e) => Err(broken("a message cannot be read").with_source(e)),
    }
}
