//! restic's own way to cut by content: Rabin fingerprints of a sliding window under a polynomial of
//! the repository. Slower than the default by about nine times; for repositories that restic goes
//! on writing to, so that both find each other's pieces.
//!
//! The method and its numbers are those of restic's design document ("Backups and Deduplication")
//! and of its chunker library.

use std::sync::Arc;

/// Bytes of the window over which the fingerprint is taken.
const WINDOW_BYTES: usize = 64;
/// The least and the largest size of a piece in bytes.
const CUT_MIN: usize = 512 << 10;
const CUT_MAX: usize = 8 << 20;
/// A piece ends where these bits of the fingerprint are zero: once in a MiB.
const SPLIT_MASK: u64 = (1 << 20) - 1;

struct Tables {
    /// What a byte that leaves the window takes away.
    out: [u64; 256],
    /// What the topmost byte of the fingerprint turns into.
    fold: [u64; 256],
}

/// A chunker for one polynomial.
#[derive(Clone)]
pub struct Rabin {
    tables: Arc<Tables>,
    shift: u32,
}

fn degree(p: u64) -> i32 {
    63 - p.leading_zeros() as i32
}

fn reduce(mut a: u64, p: u64) -> u64 {
    while a != 0 && degree(a) >= degree(p) {
        a ^= p << (degree(a) - degree(p));
    }
    a
}

impl Rabin {
    /// Returns the chunker of a polynomial of a degree from 9 to 53; `None` for others.
    pub fn new(polynomial: u64) -> Option<Self> {
        let degree_of = degree(polynomial);
        if !(9..=53).contains(&degree_of) {
            return None;
        }
        let append = |hash: u64, byte: u64| reduce((hash << 8) | byte, polynomial);
        let mut tables = Tables { out: [0; 256], fold: [0; 256] };
        for byte in 0..256u64 {
            let first = append(0, byte);
            tables.out[byte as usize] = (1..WINDOW_BYTES).fold(first, |hash, _| append(hash, 0));
            let top = byte << degree_of;
            tables.fold[byte as usize] = reduce(top, polynomial) | top;
        }
        Some(Self { tables: Arc::new(tables), shift: degree_of as u32 - 8 })
    }

    /// Returns the end of the first piece; the length of `data` when none ends in it.
    pub fn cut(&self, data: &[u8]) -> usize {
        let limit = data.len().min(CUT_MAX);
        // restic begins with a window of zeros and a single one, and looks at no byte that cannot
        // be in the window when a piece may first end.
        let mut window = [0u8; WINDOW_BYTES];
        let (mut digest, mut at) = self.slide(0, 1, &mut window, 0);
        let mut end = CUT_MIN - WINDOW_BYTES;
        for &byte in data.get(end..limit).unwrap_or_default() {
            (digest, at) = self.slide(digest, byte, &mut window, at);
            end += 1;
            if end >= CUT_MIN && (digest & SPLIT_MASK == 0 || end >= CUT_MAX) {
                return end;
            }
        }
        data.len().min(CUT_MAX)
    }

    #[inline]
    fn slide(
        &self,
        digest: u64,
        byte: u8,
        window: &mut [u8; WINDOW_BYTES],
        at: usize,
    ) -> (u64, usize) {
        let leaving = std::mem::replace(&mut window[at], byte);
        let digest = digest ^ self.tables.out[leaving as usize];
        let top = (digest >> self.shift) as u8;
        let digest = ((digest << 8) | u64::from(byte)) ^ self.tables.fold[top as usize];
        (digest, (at + 1) % WINDOW_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fingerprint by its definition: the window's bits as a polynomial, reduced.
    fn slow(window: &[u8], polynomial: u64) -> u64 {
        window.iter().fold(0, |hash, byte| reduce((hash << 8) | u64::from(*byte), polynomial))
    }

    #[test]
    fn slides_as_if_computed_anew() {
        let polynomial = 0x003D_A335_8B4D_C173;
        let rabin = Rabin::new(polynomial).unwrap();
        let data: Vec<u8> = (0..500u32).map(|i| ((i * i * 31) >> 3) as u8).collect();
        let (mut window, mut digest, mut at) = ([0; WINDOW_BYTES], 0, 0);
        for (number, byte) in data.iter().enumerate() {
            (digest, at) = rabin.slide(digest, *byte, &mut window, at);
            let from = (number + 1).saturating_sub(WINDOW_BYTES);
            assert_eq!(digest, slow(&data[from..=number], polynomial), "{number}");
        }
    }

    #[test]
    fn refuses_what_is_no_polynomial_of_the_format() {
        assert!(Rabin::new(0).is_none() && Rabin::new(0xff).is_none());
        assert!(Rabin::new(u64::MAX).is_none());
        assert_eq!(Rabin::new(0x003D_A335_8B4D_C173).unwrap().cut(b"short"), 5);
    }
}
