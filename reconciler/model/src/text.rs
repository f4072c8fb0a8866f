//! Texts of which an observation of a fleet holds millions: shared ones, and hex digits as bytes.
//! Both look like the text that they are wherever they are read, printed or written.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

/// A text of one pointer, whose clones share it.
pub use arcstr::ArcStr as Text;

/// Bytes of a digest.
const BYTES: usize = 32;

/// A text that is 64 lower-case hex digits where Mainstay or restic made it, and then is held as 32
/// bytes in place. It may be any other text, which comes from tests or from what others wrote.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Hex(Held);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Held {
    /// What is written as 64 lower-case digits, and only that.
    Bytes([u8; BYTES]),
    /// Any other text.
    Text(Text),
}

impl Hex {
    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Held::Text(text) if text.is_empty())
    }

    /// Whether the text begins so.
    pub fn starts_with(&self, start: &str) -> bool {
        self.read(|text| text.starts_with(start))
    }

    /// Lets a function read the text, without an allocation.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Held::Bytes(bytes) => {
                let mut digits = [0; BYTES * 2];
                for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
                    pair[0] = digit(byte >> 4);
                    pair[1] = digit(byte & 15);
                }
                read(std::str::from_utf8(&digits).unwrap_or_default())
            }
            Held::Text(text) => read(text),
        }
    }
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn bytes(text: &str) -> Option<[u8; BYTES]> {
    let digits: &[u8; BYTES * 2] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

impl From<&str> for Hex {
    fn from(text: &str) -> Self {
        Self(bytes(text).map_or_else(|| Held::Text(text.into()), Held::Bytes))
    }
}

impl From<String> for Hex {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl PartialEq<str> for Hex {
    fn eq(&self, other: &str) -> bool {
        self.read(|text| text == other)
    }
}

impl PartialEq<String> for Hex {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

impl PartialOrd for Hex {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// As the texts are ordered: digits are in the order of the bytes that they stand for.
impl Ord for Hex {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (&self.0, &other.0) {
            (Held::Bytes(a), Held::Bytes(b)) => a.cmp(b),
            (Held::Text(a), Held::Text(b)) => a.cmp(b),
            _ => self.read(|a| other.read(|b| a.cmp(b))),
        }
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|text| f.pad(text))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|text| fmt::Debug::fmt(text, f))
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.read(|text| s.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = Hex;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hex, E> {
                Ok(text.into())
            }
        }
        d.deserialize_str(Digits)
    }
}

/// Makes equal texts one, while many snapshots are read.
#[derive(Debug, Default)]
pub struct Interner {
    texts: IndexSet<Text>,
    lists: IndexSet<Arc<Vec<String>>>,
    tags: IndexSet<Arc<BTreeSet<String>>>,
}

impl Interner {
    /// Puts the text that was met first in the place of an equal one.
    pub fn text(&mut self, text: &mut Text) {
        share(&mut self.texts, text);
    }

    /// Puts the list that was met first in the place of an equal one.
    pub fn list(&mut self, list: &mut Arc<Vec<String>>) {
        share(&mut self.lists, list);
    }

    /// Puts the tags that were met first in the place of equal ones.
    pub fn tags(&mut self, tags: &mut Arc<BTreeSet<String>>) {
        share(&mut self.tags, tags);
    }
}

fn share<T: Clone + Eq + Hash>(known: &mut IndexSet<T>, value: &mut T) {
    match known.get(value) {
        Some(first) => value.clone_from(first),
        None => {
            known.insert(value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "00ff0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

    #[test]
    fn digits_are_held_in_place_and_read_as_they_were_written() {
        assert!(size_of::<Hex>() <= BYTES + 8);
        let others =
            ["", "a1", "slot 1", "FF", &DIGITS.to_uppercase(), &DIGITS[1..], &DIGITS[..63]];
        for text in others.into_iter().chain([DIGITS]) {
            let hex = Hex::from(text);
            assert_eq!(matches!(hex.0, Held::Bytes(_)), text == DIGITS, "{text}");
            assert_eq!(hex.to_string(), text);
            assert_eq!(format!("{hex:?}"), format!("{text:?}"));
            let json = serde_json::to_string(&hex).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Hex>(&json).unwrap(), hex);
            assert_eq!(hex.is_empty(), text.is_empty());
        }
    }

    #[test]
    fn digits_and_texts_are_ordered_as_texts() {
        let longer = format!("{DIGITS}0");
        let mut texts = vec!["", "0", "00ff", "01", "a1", "slot", &longer, DIGITS, &DIGITS[..63]];
        let fs = "f".repeat(64);
        texts.push(&fs);
        let mut hexes: Vec<Hex> = texts.iter().map(|text| Hex::from(*text)).collect();
        texts.sort_unstable();
        hexes.sort_unstable();
        assert_eq!(hexes.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn equal_texts_become_one() {
        let mut interner = Interner::default();
        let (mut a, mut b) = (Text::from("shop".to_owned()), Text::from("shop".to_owned()));
        assert!(!Text::ptr_eq(&a, &b));
        interner.text(&mut a);
        interner.text(&mut b);
        assert!(Text::ptr_eq(&a, &b));
        let (mut a, mut b) = (Arc::new(vec!["/srv".to_owned()]), Arc::new(vec!["/srv".to_owned()]));
        interner.list(&mut a);
        interner.list(&mut b);
        assert!(Arc::ptr_eq(&a, &b));
    }
}
