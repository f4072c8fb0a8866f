//! SHA-256 ids of blobs and files; used by every module.

use std::cmp::Ordering;
use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of a blob's plain content or of a file's stored bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Id(pub [u8; 32]);

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        // The first eight bytes decide nearly always, and compare as one number.
        self.prefix().cmp(&other.prefix()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Id {
    /// Returns the id of the given bytes.
    pub fn of(data: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, data);
        let mut id = [0; 32];
        id.copy_from_slice(digest.as_ref());
        Self(id)
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: impl AsRef<[u8]>) -> Option<Self> {
        let text = text.as_ref();
        let mut id = [0; 32];
        // The library would take `0x` before them.
        if text.len() != 2 * id.len() {
            return None;
        }
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }

    /// Returns all 64 digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the first eight digits, for messages.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// Returns the first eight bytes as a number; uniform, so it serves as hash.
    pub(crate) fn prefix(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                self.visit_bytes(text.as_bytes())
            }

            fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<Id, E> {
                Id::parse(text).ok_or_else(|| E::custom("not 64 hexadecimal digits"))
            }
        }
        // As bytes: digits need not be looked through as text before.
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_an_id() {
        let id = Id::of(b"x");
        assert_eq!(Id::parse(id.hex()), Some(id));
        assert_eq!(Id::parse(id.hex().to_uppercase()), Some(id));
        let json = format!("\"{}\"", id.hex());
        assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), json);
        let digits = id.hex();
        for text in [format!("0x{digits}"), format!("0x{}", &digits[2..]), digits[1..].to_owned()] {
            assert_eq!(Id::parse(&text), None, "{text}");
            assert!(serde_json::from_str::<Id>(&format!("\"{text}\"")).is_err());
        }
        assert!(serde_json::from_str::<Id>("7").is_err());
    }
}
