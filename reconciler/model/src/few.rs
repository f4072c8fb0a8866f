//! Sets and maps that have one or two entries nearly always and are held by the million: one entry
//! takes no allocation, more are a sorted list. They are written as `BTreeSet` and `BTreeMap` are.

use std::fmt;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use crate::receipt::Evidence;
use crate::text::Text;

/// None, one or some entries, sorted.
#[derive(Clone, PartialEq, Eq)]
enum Few<T> {
    One(T),
    /// Not one.
    Many(ThinVec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(ThinVec::new())
    }
}

impl<T> Few<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    fn insert(&mut self, at: usize, entry: T) {
        *self = match std::mem::take(self) {
            Self::Many(none) if none.is_empty() => Self::One(entry),
            Self::One(other) => {
                let mut entries = ThinVec::with_capacity(2);
                entries.push(other);
                entries.insert(at.min(1), entry);
                Self::Many(entries)
            }
            Self::Many(mut entries) => {
                entries.insert(at.min(entries.len()), entry);
                Self::Many(entries)
            }
        }
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        match self {
            Self::One(entry) => (at == 0).then_some(entry),
            Self::Many(entries) => entries.get_mut(at),
        }
    }
}

/// What is proven of a snapshot, sorted; a set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proofs(Few<Evidence>);

impl Proofs {
    /// Adds a proof; returns whether it was not there.
    pub fn insert(&mut self, proof: Evidence) -> bool {
        match self.0.as_slice().binary_search(&proof) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, proof);
                true
            }
        }
    }

    /// Keeps those that are to stay.
    pub fn retain(&mut self, keep: impl Fn(&Evidence) -> bool) {
        *self = self.iter().filter(|proof| keep(proof)).cloned().collect();
    }

    /// The proofs, sorted.
    pub fn iter(&self) -> std::slice::Iter<'_, Evidence> {
        self.0.as_slice().iter()
    }

    /// Whether nothing is proven.
    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

impl<'p> IntoIterator for &'p Proofs {
    type Item = &'p Evidence;
    type IntoIter = std::slice::Iter<'p, Evidence>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Evidence> for Proofs {
    fn from_iter<I: IntoIterator<Item = Evidence>>(proofs: I) -> Self {
        let mut all = Self::default();
        for proof in proofs {
            all.insert(proof);
        }
        all
    }
}

impl<const N: usize> From<[Evidence; N]> for Proofs {
    fn from(proofs: [Evidence; N]) -> Self {
        proofs.into_iter().collect()
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl Serialize for Proofs {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Proofs {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::collections::BTreeSet::deserialize(d).map(Self::from_iter)
    }
}

/// Numbers by name, such as the positions and counts of a [`Marker`](crate::receipt::Marker).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Numbers(Few<(Text, u64)>);

impl Numbers {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.as_slice().binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<&u64> {
        self.find(name).ok().and_then(|at| self.0.as_slice().get(at)).map(|(_, number)| number)
    }

    /// Whether there is a number of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets a number; returns what it was.
    pub fn insert(&mut self, name: impl Into<Text>, number: u64) -> Option<u64> {
        let name = name.into();
        match self.find(&name) {
            Ok(at) => self.0.get_mut(at).map(|(_, was)| std::mem::replace(was, number)),
            Err(at) => {
                self.0.insert(at, (name, number));
                None
            }
        }
    }

    /// The numbers and their names, by name.
    pub fn iter(&self) -> <&Self as IntoIterator>::IntoIter {
        self.into_iter()
    }

    /// The numbers, by name.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &u64> + ExactSizeIterator {
        self.0.as_slice().iter().map(|(_, number)| number)
    }

    /// The names, for the interner of their texts.
    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut Text> {
        let entries = match &mut self.0 {
            Few::One(entry) => std::slice::from_mut(entry),
            Few::Many(entries) => entries,
        };
        entries.iter_mut().map(|(name, _)| name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

impl<'n> IntoIterator for &'n Numbers {
    type Item = (&'n Text, &'n u64);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'n, (Text, u64)>, fn(&'n (Text, u64)) -> Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.as_slice().iter().map(|(name, number)| (name, number))
    }
}

impl<K: Into<Text>> FromIterator<(K, u64)> for Numbers {
    fn from_iter<I: IntoIterator<Item = (K, u64)>>(numbers: I) -> Self {
        let mut all = Self::default();
        for (name, number) in numbers {
            all.insert(name, number);
        }
        all
    }
}

impl<K: Into<Text>, const N: usize> From<[(K, u64); N]> for Numbers {
    fn from(numbers: [(K, u64); N]) -> Self {
        numbers.into_iter().collect()
    }
}

impl std::ops::Index<&str> for Numbers {
    type Output = u64;
    /// Panics where there is no number of that name, as a map does.
    fn index(&self, name: &str) -> &u64 {
        self.get(name).expect("a number of that name")
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for Numbers {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::collections::BTreeMap::<Text, u64>::deserialize(d).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::receipt::EvidenceKind;

    #[test]
    fn one_entry_takes_no_allocation_and_little_space() {
        assert_eq!(size_of::<Proofs>(), size_of::<Evidence>());
        assert_eq!(size_of::<Numbers>(), 16);
        assert!(matches!(Numbers::from([("lsn", 1)]).0, Few::One(_)));
    }

    /// Every order of insertion of up to four entries, some of them twice, against the maps of the
    /// standard library.
    #[test]
    fn they_hold_and_are_written_as_maps_and_sets() {
        let kinds = [EvidenceKind::Written, EvidenceKind::Checked, EvidenceKind::Restored];
        let at = jiff::Timestamp::UNIX_EPOCH;
        for order in 0..3_usize.pow(4) {
            for entries in 0..=4 {
                let picks = (0..entries).map(|nth| (order / 3_usize.pow(nth) % 3, u64::from(nth)));
                let (mut numbers, mut map) = (Numbers::default(), BTreeMap::new());
                let (mut proofs, mut set) = (Proofs::default(), BTreeSet::new());
                for (pick, number) in picks {
                    let name = ["b", "a", "c"][pick].to_owned();
                    assert_eq!(numbers.insert(name.clone(), number), map.insert(name, number));
                    let proof = Evidence { kind: kinds[pick], at };
                    assert_eq!(proofs.insert(proof.clone()), set.insert(proof));
                }
                let json = serde_json::to_string(&(&map, &set)).unwrap();
                assert_eq!(serde_json::to_string(&(&numbers, &proofs)).unwrap(), json);
                let back: (Numbers, Proofs) = serde_json::from_str(&json).unwrap();
                assert_eq!(back, (numbers.clone(), proofs.clone()));
                assert!(numbers.values().eq(map.values()) && proofs.iter().eq(&set));
                for name in ["a", "b", "c", "d"] {
                    assert_eq!(numbers.get(name), map.get(name));
                    assert_eq!(numbers.contains_key(name), map.contains_key(name));
                }
                assert_eq!((numbers.is_empty(), proofs.is_empty()), (entries == 0, entries == 0));
            }
        }
    }
}
