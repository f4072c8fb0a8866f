//! The port to protected things: probe, open for backup, and the phases of a recovery. One
//! implementation serves all types, because a type is data (`agent::Agent`).

use std::io;

use jiff::Timestamp;

use super::Boxed;
use super::mover::StreamSource;
use crate::agent::{Agent, Chunking, Tree};
use crate::cancel::Cancel;
use crate::desired::{Hooks, Resource};
use crate::error::PortError;
use crate::id::TargetRef;
use crate::observed::Observation;
use crate::receipt::Marker;

/// A resource opened at one consistency point.
pub struct OpenSource {
    /// The marker at that point.
    pub marker: Marker,
    /// The instant of that point.
    pub taken_at: Timestamp,
    /// The data.
    pub content: Content,
    /// Ends the session and runs the hooks that come after; its error makes the backup fail.
    pub close: Box<dyn Close>,
}

/// Ends something that was opened.
pub trait Close: Send {
    /// Ends it; `failed` says that the backup did not succeed.
    fn close(self: Box<Self>, failed: bool) -> Boxed<'static, Result<(), PortError>>;
}

/// The data of an opened resource.
pub enum Content {
    /// A folder on a target.
    Tree {
        /// The target.
        target: TargetRef,
        /// The folder.
        tree: Tree,
    },
    /// Streams, read one after the other.
    Streams(Vec<NamedStream>),
}

/// One stream.
pub struct NamedStream {
    /// The file's name in the snapshot.
    pub name: String,
    /// Its bytes; `finish` tells whether the producer ended well.
    pub source: Box<dyn StreamSource>,
    /// How it is cut.
    pub chunking: Chunking,
}

/// Where a recovery of one token stands on the target itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTarget {
    /// Nothing of it is there.
    Nothing,
    /// A restored place lies beside the original, perhaps not whole.
    Beside,
    /// It is in place; the original is kept aside.
    Swapped,
}

/// A place that was prepared beside the original.
pub enum Beside {
    /// A folder on the target, for the mover.
    Folder {
        /// The target.
        target: TargetRef,
        /// The folder's absolute path.
        path: String,
        /// The path that the data had when it was backed up: its place in the snapshot.
        original: String,
    },
    /// Commands that take streams, in order.
    Streams(Vec<NamedSink>),
}

/// Takes one stream of the snapshot. Synchronous: the engine's threads write into it.
pub struct NamedSink {
    /// The file's name in the snapshot.
    pub name: String,
    /// A snapshot without it is whole all the same; its program is then not started.
    pub optional: bool,
    /// Takes its bytes.
    pub sink: Box<dyn StreamSink>,
}

/// A consumer of bytes that may refuse them at the end.
pub trait StreamSink: Send {
    /// Takes bytes.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Says that all bytes were given, and waits for the verdict.
    fn finish(self: Box<Self>) -> Result<(), PortError>;
}

/// Protected things of all types, on all targets.
pub trait Agents: Send + Sync {
    /// Looks at a resource. Never fails: what cannot be looked at is `Unknown`.
    fn probe<'a>(&'a self, resource: &'a Resource, cancel: &'a Cancel) -> Boxed<'a, Observation>;

    /// Opens a resource for backup, hooks first.
    fn open<'a>(
        &'a self,
        resource: &'a Resource,
        hooks: &'a Hooks,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OpenSource, PortError>>;

    /// Says where the recovery of this token stands on the target.
    fn recovery_state<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OnTarget, PortError>>;

    /// Makes the place beside the original, empty or resumable.
    fn prepare<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Beside, PortError>>;

    /// Looks at the restored place; returns its marker, to be compared with the receipt.
    fn inspect<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Marker, PortError>>;

    /// Puts the restored place where the original is, keeping the original aside; idempotent.
    /// Returns where the original is kept, for people; `None` if there was none.
    fn swap<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Option<String>, PortError>>;

    /// Removes what was kept aside; idempotent.
    fn commit<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>>;

    /// Puts back what was kept aside and removes the restored data; idempotent.
    fn rollback<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>>;

    /// Makes the resource anew by the commands of its type, without any point.
    fn recreate<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>>;

    /// Removes a restored place that was never swapped in; idempotent.
    fn discard<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>>;
}
