//! The nouns of Mainstay, their ids, digests and persisted shapes, and the ports: traits over plain
//! types by which everything outside is reached.
//!
//! In reading order: `id`, `text` and `digest` name things; `desired` is what git asks for;
//! `observed` what is there; `plan` what shall be done and why; `receipt` and `journal` what was
//! done.
//!
//! Must not contain: tokio, git2, file system, clocks, environment, printing.

pub mod agent;
pub mod cancel;
pub mod conditions;
pub mod desired;
pub mod diagnostic;
pub mod digest;
pub mod error;
pub mod few;
pub mod fingerprint;
pub mod id;
pub mod journal;
pub mod observed;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod receipt;
pub mod remote;
pub mod text;

pub use jiff::Timestamp;

/// The version that plans, receipts and repositories carry.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
