//! The ports: every outside system is reached through one of these traits.

pub mod mover;
pub mod storage;
