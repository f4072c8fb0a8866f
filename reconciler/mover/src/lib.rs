//! What runs beside the data: walking, cutting and hashing on a backup; writing, syncing and
//! re-reading on a restore. Driven by the data engine through the mover port, in this process or,
//! as the program `mainstay-mover`, over a byte stream.
//!
//! Must not contain: the repository format, keys, policy, credentials, network.

pub mod chunk;
pub mod device;
pub mod hash;
pub mod holes;
pub mod names;
pub mod pages;
pub mod pattern;
pub mod rabin;
mod segments;
pub mod source;
pub mod stat;
pub mod target;
pub mod walk;
pub mod wire;

pub use source::LocalSource;
pub use target::LocalTarget;
