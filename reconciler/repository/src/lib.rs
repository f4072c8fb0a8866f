//! A fast, embeddable engine for the restic repository format.
//!
//! Must not contain: policy, knowledge of applications, an async runtime.
