//! The port to time: the only place from which the runtime learns what time it is.

use std::time::Duration;

use jiff::Timestamp;

use super::Boxed;

/// A clock.
pub trait Clock: Send + Sync {
    /// Returns the present instant, at a resolution of a millisecond or better.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, duration: Duration) -> Boxed<'_, ()>;
}
