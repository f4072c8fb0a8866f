//! The ports: every outside system is reached through one of these traits. Futures are boxed, so
//! that the traits can be objects; types are plain, so that a port can be put on a wire.

use std::future::Future;
use std::pin::Pin;

pub mod agents;
pub mod clock;
pub mod engine;
pub mod mover;
pub mod secrets;
pub mod source;
pub mod state;
pub mod storage;

/// A boxed future that borrows its port.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
