//! The HTTP face: health, readiness, metrics. On a loopback port unless told otherwise.
//!
//! Must not contain: decisions.

pub mod health;
pub mod metrics;
pub mod serve;

pub use health::Board;
pub use serve::serve;
