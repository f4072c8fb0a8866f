//! The data engine: repositories in restic's format, version 2 (version 1 is read), on a storage port.
//!
//! Must not contain: policy, knowledge of applications, an async runtime.

pub mod codec;
pub mod crypto;
pub mod format;
pub mod id;
pub mod storage;
