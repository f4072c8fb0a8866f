//! The persisted shapes of the restic repository format, each with its reading and writing.

pub mod config;
pub mod keyfile;
pub mod node;
pub mod pack;
pub mod quote;
pub mod snapshot;
pub mod time;
