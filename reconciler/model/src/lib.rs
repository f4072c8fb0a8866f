//! The nouns of Mainstay, their ids, digests and persisted shapes, and the ports: traits over plain
//! types by which everything outside is reached.
//!
//! Must not contain: tokio, git2, file system, clocks, environment, printing.

pub mod cancel;
pub mod error;
pub mod ports;
pub mod progress;
