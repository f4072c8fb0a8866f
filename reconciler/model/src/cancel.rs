//! A flag by which long work is asked to stop at its next safe border; cloned into every worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::PortError;

/// A shared request to stop. Clones see the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop. Cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns an error of class `Cancelled` once somebody asked to stop.
    pub fn check(&self) -> Result<(), PortError> {
        if self.is_cancelled() { Err(PortError::cancelled()) } else { Ok(()) }
    }
}
