//! The port to what runs beside the data.

use std::io;

use crate::error::PortError;

/// A producer of bytes whose end is a verdict: bytes seen are never proof that all came.
///
/// Synchronous, because the engine reads it from a thread of its own.
pub trait StreamSource: Send {
    /// Reads some bytes; 0 means that the producer closed its end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Waits for the producer and says whether it ended well. Called once, after `read` gave 0.
    fn finish(self: Box<Self>) -> Result<(), PortError>;
}
