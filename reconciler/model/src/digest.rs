//! Digests of values: blake3 over canonical JSON, under a domain word so that equal bytes of
//! different kinds never share a digest.

use std::fmt;
use std::io::{BufWriter, Write as _};

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A blake3 digest as 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub(crate) Text);

/// How much text is gathered before it is hashed: blake3 is fastest on pieces of this size.
const BUFFER_BYTES: usize = 64 * 1024;

fn hasher(domain: &str) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes());
    hasher.update(&[0]);
    hasher
}

impl Digest {
    /// Returns the digest of a value.
    ///
    /// Canonical means: struct fields in declaration order, maps sorted (the model has only
    /// `BTreeMap`s), no floating point, no white space. That makes the bytes equal on any machine.
    pub fn of<T: Serialize>(domain: &str, value: &T) -> Self {
        // The value is never held as text: an observation of millions of snapshots would be
        // gigabytes. Serialising the model's own types fails only for maps with keys that are no
        // strings; a test serialises every type that is digested.
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, hasher(domain));
        let written = serde_json::to_writer(&mut writer, value).is_ok() && writer.flush().is_ok();
        match writer.into_inner() {
            Ok(hasher) if written => Self::finish(&hasher),
            _ => Self::of_bytes(domain, &[]),
        }
    }

    /// Returns the digest of bytes.
    pub fn of_bytes(domain: &str, bytes: &[u8]) -> Self {
        let mut hasher = hasher(domain);
        hasher.update(bytes);
        Self::finish(&hasher)
    }

    fn finish(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize().to_hex().as_str().into())
    }

    /// Returns the digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
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

impl From<&str> for Digest {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Digest {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// The digest of elements without order: one more or one less costs that element only. A sum of
/// 512-bit digests; it tells two worlds apart, and is no proof against somebody who chooses both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bag([u64; 8]);

impl Bag {
    /// Puts an element in.
    pub fn add(&mut self, element: &[u8]) {
        self.0.iter_mut().zip(lanes(element)).for_each(|(sum, lane)| *sum = sum.wrapping_add(lane));
    }

    /// Takes an element out that was put in.
    pub fn remove(&mut self, element: &[u8]) {
        self.0.iter_mut().zip(lanes(element)).for_each(|(sum, lane)| *sum = sum.wrapping_sub(lane));
    }
}

fn lanes(element: &[u8]) -> [u64; 8] {
    let mut bytes = [0; 64];
    let mut hasher = blake3::Hasher::new();
    hasher.update(element);
    hasher.finalize_xof().fill(&mut bytes);
    let mut lanes = [0; 8];
    for (lane, chunk) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
        *lane = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    lanes
}
