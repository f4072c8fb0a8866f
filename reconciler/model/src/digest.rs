//! Digests of values: blake3 over canonical JSON, under a domain word so that equal bytes of
//! different kinds never share a digest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A blake3 digest as 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    /// Returns the digest of a value.
    ///
    /// Canonical means: struct fields in declaration order, maps sorted (the model has only
    /// `BTreeMap`s), no floating point, no white space. That makes the bytes equal on any machine.
    pub fn of<T: Serialize>(domain: &str, value: &T) -> Self {
        // Serialising the model's own types to memory fails only for maps with keys that are no
        // strings; a test serialises every type that is digested.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self::of_bytes(domain, &bytes)
    }

    /// Returns the digest of bytes.
    pub fn of_bytes(domain: &str, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain.as_bytes());
        hasher.update(&[0]);
        hasher.update(bytes);
        Self(hasher.finalize().to_hex().to_string())
    }

    /// Returns the first twelve digits, for people; enough to be unique among any person's plans.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
