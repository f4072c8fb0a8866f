//! The HTTP face: health, readiness, metrics.
//!
//! Must not contain: decisions.
