//! The port to secrets: a reference goes in, the value comes out, inside adapters only.

use std::fmt;

use crate::agent::SecretRef;
use crate::error::PortError;

/// A secret's value. Never printed; adapters overwrite it when they drop it where they can.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Wraps a value.
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }
    /// Returns the value.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Resolves references.
pub trait Secrets: Send + Sync {
    /// Returns the value, or a terminal error that names the reference and the places that were
    /// looked at, never a value.
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError>;
}
