//! The mover port over a byte stream: the engine's side and the mover's side of one connection, for
//! data that lies on another host or in a pod.
//!
//! A connection begins with a greeting of each side, then carries frames both ways. The engine
//! opens calls by number; several run at once. What a call sends back is bounded by a window that
//! the engine opens again as it takes things in, so that one slow call neither fills memory nor
//! stops the others. Content is offered by hash first and sent when it is asked for.
//!
//! Neither side trusts the other further than it must: sizes are checked before memory is taken,
//! each frame carries a check sum, content is hashed again where it arrives, and a walk's names and
//! order are held to what a walk can be. A mover that breaks a rule ends the connection.
//!
//! In reading order: `frame` is the encoding, `message` what is said, `serve` the mover's side,
//! `connection` and `remote` the engine's, `order` the rules of a walk.

mod connection;
mod frame;
#[cfg(feature = "testing")]
mod fuzz;
mod message;
mod offers;
mod order;
mod remote;
mod serve;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use frame::{DATA_BYTES_MAX, Frame, HEAD_BYTES_MAX, VERSION};
#[cfg(feature = "testing")]
pub use fuzz::{hear, read_both_ways};
pub use remote::{RemoteSource, RemoteTarget};
pub use serve::serve;

use model::error::PortError;

/// Bytes that a call may have on their way to the engine, which has not taken them in yet.
const WINDOW_BYTES: usize = 16 << 20;
/// Calls that a mover runs at once.
const CALLS_MAX: usize = 64;
/// Pieces that were offered and wait for an answer.
const OFFERS_MAX: usize = 1024;

/// The error for a peer that does not keep to the protocol.
fn broken(what: impl Into<String>) -> PortError {
    PortError::terminal("MoverBroken", what)
        .with_hint("both sides must be of one version; if they are, the host may not be honest")
}

/// The error for a connection that is no more.
fn gone(what: impl Into<String>) -> PortError {
    PortError::transient("MoverGone", what)
}
