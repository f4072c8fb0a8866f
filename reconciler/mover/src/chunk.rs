//! Cutting of a byte stream into blobs, by content or into pieces of one size.
//!
//! By content with FastCDC (the 2020 variant, normalisation level 1): blobs of any cut are legal in
//! restic's format, and it is nine times as fast as restic's own Rabin chunker. Blobs of one tool
//! therefore do not deduplicate against those of the other.

use std::io;
use std::sync::LazyLock;

use fastcdc::v2020::{Normalization, cut, select_masks};
use model::error::PortError;
use model::ports::mover::{CHUNK_BYTES_MAX, Chunking, fixed_chunk_size};

use crate::pages::PageBuffer;
use crate::rabin::Rabin;

/// The least, intended and largest size of a piece that is cut by content, in bytes: restic's.
const CUT_MIN: usize = 512 << 10;
const CUT_AVERAGE: usize = 1 << 20;
const CUT_MAX: usize = CHUNK_BYTES_MAX as usize;

/// How much of a stream is at hand at once: what is left over of it is moved to the front before
/// more is read, so more is better, but beyond this it leaves the processor's cache.
const LOOKAHEAD: usize = 8 << 20;
/// With less than this at hand, more is read before a cut is looked for: nine in ten pieces are
/// shorter, and the search begins anew after each read.
const SEARCH_MIN: usize = 2 << 20;
/// The least number of bytes asked for in one read.
const READ_MIN: usize = 256 << 10;
/// Bytes at hand when pieces are of one size: nothing is searched for, so no more is read than
/// stays in the processor's second cache until it is hashed.
const FIXED_READ: usize = 256 << 10;

/// The gear masks that [`CUT_AVERAGE`] gives.
static MASKS: LazyLock<(u64, u64)> =
    LazyLock::new(|| select_masks(CUT_AVERAGE, Normalization::Level1));

/// Why a stream could not be cut to its end.
#[derive(Debug)]
pub enum CutError {
    /// The source failed.
    Read(io::Error),
    /// The receiver failed or asked to stop.
    Sink(PortError),
}

/// The size in bytes of the pieces of a source that is cut into pieces of one size.
pub fn piece_bytes(chunking: Chunking, size: u64) -> Option<usize> {
    match chunking {
        Chunking::ContentDefined | Chunking::Restic { .. } => None,
        Chunking::Fixed { size_bytes } => Some(size_bytes.clamp(1, CHUNK_BYTES_MAX) as usize),
        Chunking::FixedBySize => Some(fixed_chunk_size(size) as usize),
    }
}

/// Cuts streams; keeps its buffer from one to the next.
#[derive(Default)]
pub struct Chunker {
    buffer: PageBuffer,
    /// Tables of restic's chunker, by their polynomial.
    rabin: Option<(u64, Rabin)>,
}

/// Returns the end of the first piece of `data`, or `None` when more must be read to know it.
fn first_cut(
    data: &[u8],
    fixed: Option<usize>,
    rabin: Option<&Rabin>,
    at_end: bool,
) -> Option<usize> {
    if data.is_empty() {
        return None;
    }
    if let Some(size) = fixed {
        return (data.len() >= size || at_end).then(|| size.min(data.len()));
    }
    if data.len() <= CUT_MIN {
        return at_end.then_some(data.len());
    }
    let window = &data[..data.len().min(CUT_MAX)];
    if let Some(rabin) = rabin {
        let end = rabin.cut(window);
        return (end < window.len() || window.len() == CUT_MAX || at_end).then_some(end);
    }
    let (small, large) = *MASKS;
    let (_, end) = cut(window, CUT_MIN, CUT_AVERAGE, CUT_MAX, small, large, small << 1, large << 1);
    // A cut at the very end of what is at hand may only be the end of what is at hand.
    (end < window.len() || window.len() == CUT_MAX || at_end).then_some(end)
}

impl Chunker {
    fn rabin(&mut self, polynomial: u64) -> Result<Rabin, CutError> {
        if let Some((known, rabin)) = &self.rabin
            && *known == polynomial
        {
            return Ok(rabin.clone());
        }
        let rabin = Rabin::new(polynomial).ok_or_else(|| {
            let what = format!("{polynomial:x} is no polynomial of restic's chunker");
            CutError::Sink(PortError::terminal("BadPolynomial", what))
        })?;
        self.rabin = Some((polynomial, rabin.clone()));
        Ok(rabin)
    }

    /// Reads a stream to its end and calls `each` with its pieces in order. `size` is the expected
    /// length in bytes, 0 when unknown; it sets the piece size of [`Chunking::FixedBySize`] and the
    /// size of reads. Returns the bytes read.
    pub fn run(
        &mut self,
        chunking: Chunking,
        size: u64,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
        each: &mut dyn FnMut(&[u8]) -> Result<(), PortError>,
    ) -> Result<u64, CutError> {
        let fixed = piece_bytes(chunking, size);
        let rabin = match chunking {
            Chunking::Restic { polynomial } => Some(self.rabin(polynomial)?),
            _ => None,
        };
        // One byte more than expected shows the end with the first read.
        let expected = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
        let usual = fixed.map_or(LOOKAHEAD, |size| FIXED_READ.div_ceil(size) * size);
        let fill = usual.min(expected.max(4096));
        let (mut begin, mut end, mut total, mut at_end) = (0, 0, 0u64, false);
        loop {
            while let Some(length) =
                first_cut(&self.buffer[begin..end], fixed, rabin.as_ref(), at_end)
            {
                each(&self.buffer[begin..begin + length]).map_err(CutError::Sink)?;
                begin += length;
                if fixed.is_none() && end - begin < SEARCH_MIN && !at_end {
                    break;
                }
            }
            if at_end {
                debug_assert_eq!(begin, end);
                return Ok(total);
            }
            self.buffer.copy_within(begin..end, 0);
            end -= begin;
            begin = 0;
            let wanted = if end < fill { fill } else { end + READ_MIN.max(LOOKAHEAD / 2) };
            self.buffer.grow(wanted);
            while end < wanted {
                match read(&mut self.buffer[end..wanted]) {
                    Ok(0) => {
                        at_end = true;
                        break;
                    }
                    Ok(n) => {
                        end += n;
                        total += n as u64;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(CutError::Read(e)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            out.extend_from_slice(&seed.to_le_bytes());
        }
        out.truncate(length);
        out
    }

    /// Cuts through reads of the given sizes, in turn.
    fn pieces(data: &[u8], chunking: Chunking, known: u64, reads: &[usize]) -> Vec<usize> {
        let mut out = Vec::new();
        let (mut at, mut turn) = (0, 0);
        let mut joined = Vec::new();
        let n = Chunker::default()
            .run(
                chunking,
                known,
                &mut |buffer| {
                    let n = reads[turn % reads.len()].min(buffer.len()).min(data.len() - at);
                    turn += 1;
                    buffer[..n].copy_from_slice(&data[at..at + n]);
                    at += n;
                    Ok(n)
                },
                &mut |piece| {
                    out.push(piece.len());
                    joined.extend_from_slice(piece);
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(n, data.len() as u64);
        assert!(joined == data, "pieces join to the source");
        out
    }

    /// The slow model: the crate's own iterator over the whole source in memory.
    fn oracle(data: &[u8]) -> Vec<usize> {
        fastcdc::v2020::FastCDC::new(data, CUT_MIN, CUT_AVERAGE, CUT_MAX)
            .map(|c| c.length)
            .collect()
    }

    #[test]
    fn cuts_do_not_depend_on_reads() {
        for (length, seed) in [(0, 1), (1, 1), (CUT_MIN, 2), (CUT_MIN + 1, 3), (21 << 20, 4)] {
            let data = noise(length, seed);
            let expect = oracle(&data);
            for reads in [&[usize::MAX][..], &[100_000], &[1 << 20, 3, 70_001]] {
                for known in [0, length as u64, 5] {
                    let got = pieces(&data, Chunking::ContentDefined, known, reads);
                    assert_eq!(got, expect, "length {length}, reads {reads:?}, known {known}");
                }
            }
        }
        // No cut by content anywhere: the largest size rules.
        assert_eq!(
            pieces(&vec![0; 20 << 20], Chunking::ContentDefined, 0, &[999_999]),
            [8 << 20, 8 << 20, 4 << 20]
        );
    }

    #[test]
    fn an_insertion_moves_no_later_cut() {
        let data = noise(16 << 20, 9);
        let mut longer = b"inserted".to_vec();
        longer.extend_from_slice(&data);
        let before = pieces(&data, Chunking::ContentDefined, 0, &[usize::MAX]);
        let after = pieces(&longer, Chunking::ContentDefined, 0, &[usize::MAX]);
        assert_eq!(before[before.len() - 5..], after[after.len() - 5..]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn fixed_pieces(length in 0usize..300_000, size in 1u32..70_000, read in 1usize..90_000) {
            let got = pieces(&noise(length, 3), Chunking::Fixed { size_bytes: size }, 0, &[read]);
            let expect: Vec<usize> = noise(length, 3).chunks(size as usize).map(<[u8]>::len).collect();
            prop_assert_eq!(got, expect);
        }
    }
}
