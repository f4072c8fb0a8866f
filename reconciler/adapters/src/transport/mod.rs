//! Runs commands where protected things live. Agents speak to [`Transport`] only, so that a host
//! over SSH or a pod is one more implementation.
//!
//! Synchronous: streams are read and written by the engine's threads; callers from async code go
//! through `spawn_blocking`. No shell is ever involved.

mod child;
mod local;
mod streams;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::agent::ErrorRule;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::StreamSink;
use model::ports::mover::StreamSource;
use model::ports::secrets::SecretValue;

pub use local::Local;
pub use verdict::Failed;

/// The name by which an argument list means this product's own binary.
pub const OWN_PROGRAM: &str = "mainstay";

/// Standard output that is kept of a command whose answer is read as a whole, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Standard error that is kept, in bytes: the end of it, where the reason stands.
pub const STDERR_BYTES_MAX: usize = 64 << 10;

/// A command that is ready to run: every hole filled, every secret resolved.
#[derive(Clone)]
pub struct Invocation {
    /// The program and its arguments; never a secret among them.
    pub argv: Vec<String>,
    /// Its environment beyond the safe minimum.
    pub env: BTreeMap<String, Vec<u8>>,
    /// Its standard input (of a sink: none).
    pub input: Vec<u8>,
    /// When it is ended by force.
    pub timeout: Duration,
    /// Values that must not appear in anything that it said.
    pub secrets: Vec<SecretValue>,
    /// How its errors are read.
    pub rules: Arc<[ErrorRule]>,
}

/// A command that is kept open to hold a consistency point.
pub trait OpenSession: Send {
    /// Closes its standard input and waits; anything but a good end is an error.
    fn close(self: Box<Self>) -> Result<(), PortError>;
    /// Ends it by force, for work that failed anyway.
    fn abandon(self: Box<Self>);
}

/// A way to run commands on one target.
pub trait Transport: Send + Sync {
    /// Runs a command to its end and returns its standard output.
    fn run(&self, invocation: &Invocation, cancel: &Cancel) -> Result<Vec<u8>, Failed>;

    /// Starts a command whose standard output is a stream.
    fn source(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<Box<dyn StreamSource>, PortError>;

    /// Starts a command that takes a stream on its standard input.
    fn sink(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<Box<dyn StreamSink>, PortError>;

    /// Starts a command that answers its input with one line and then stays open.
    fn session(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<(Vec<u8>, Box<dyn OpenSession>), Failed>;
}
