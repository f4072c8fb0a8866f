//! Pack files: sealed blobs one behind the other, a sealed header that describes them, its length.

use model::error::PortError;

use crate::crypto::{Cipher, OVERHEAD_BYTES};
use crate::id::Id;

/// What a blob holds; packs hold one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// File content.
    Data,
    /// A directory.
    Tree,
}

/// Where in its pack a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBlob {
    /// What it holds.
    pub kind: BlobKind,
    /// SHA-256 of its plain content.
    pub id: Id,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many sealed bytes.
    pub length: u32,
    /// Plain length in bytes when it is compressed, otherwise 0.
    pub uncompressed: u32,
}

impl PackedBlob {
    /// Returns the length of the plain content in bytes.
    pub fn plain_length(&self) -> u32 {
        match self.uncompressed {
            0 => self.length.saturating_sub(OVERHEAD_BYTES as u32),
            n => n,
        }
    }
}

/// The largest header restic accepts, its length field aside.
pub const HEADER_BYTES_MAX: usize = 16 << 20;
const ENTRY_BYTES: usize = 41;
const PLAIN_ENTRY_BYTES: usize = 37;
/// Entries that surely fit a header.
pub const ENTRIES_MAX: usize = (HEADER_BYTES_MAX - OVERHEAD_BYTES) / ENTRY_BYTES;
/// Bytes of the length field at the very end.
pub const LENGTH_BYTES: usize = 4;

/// Appends the sealed header with its length to a pack's blobs.
pub fn append_header(
    cipher: &Cipher,
    blobs: &[PackedBlob],
    pack: &mut Vec<u8>,
) -> Result<(), PortError> {
    let mut plain = Vec::with_capacity(blobs.len() * ENTRY_BYTES);
    for blob in blobs {
        let kind = u8::from(blob.kind == BlobKind::Tree);
        plain.push(if blob.uncompressed == 0 { kind } else { kind | 2 });
        plain.extend_from_slice(&blob.length.to_le_bytes());
        if blob.uncompressed != 0 {
            plain.extend_from_slice(&blob.uncompressed.to_le_bytes());
        }
        plain.extend_from_slice(&blob.id.0);
    }
    let before = pack.len();
    cipher.seal(&plain, pack)?;
    let length = (pack.len() - before) as u32;
    let mut copy = pack[before..].to_vec();
    let same = cipher.open(&mut copy)?.is_some_and(|opened| *opened == *plain);
    if !same {
        return Err(PortError::terminal(
            "MemoryCorruption",
            "a sealed pack header does not open to what was sealed",
        )
        .with_hint("check this machine's memory"));
    }
    pack.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Returns how many bytes before a pack's end its header takes, by the last four bytes; `None` when
/// that cannot be in a pack of this size.
pub fn header_size(last: [u8; 4], pack_size: u64) -> Option<usize> {
    let length = u32::from_le_bytes(last) as usize;
    let total = length + LENGTH_BYTES;
    let least = OVERHEAD_BYTES + PLAIN_ENTRY_BYTES;
    let fits = (least..=HEADER_BYTES_MAX).contains(&length) && total as u64 <= pack_size;
    fits.then_some(total)
}

/// Reads a sealed header (without the length field) of a pack of the given size. `None` when it is
/// not authentic or does not add up.
pub fn parse_header(
    cipher: &Cipher,
    sealed: &mut [u8],
    pack_size: u64,
) -> Result<Option<Vec<PackedBlob>>, PortError> {
    let header_total = (sealed.len() + LENGTH_BYTES) as u64;
    let Some(plain) = cipher.open(sealed)? else { return Ok(None) };
    Ok(parse_entries(plain).filter(|blobs| {
        let end = blobs.last().map_or(0, |b| u64::from(b.offset) + u64::from(b.length));
        end + header_total == pack_size
    }))
}

pub(crate) fn parse_entries(mut plain: &[u8]) -> Option<Vec<PackedBlob>> {
    let mut blobs = Vec::with_capacity(plain.len() / PLAIN_ENTRY_BYTES);
    let mut offset = 0u32;
    while let Some((&tag, rest)) = plain.split_first() {
        let kind = if tag & 1 == 0 { BlobKind::Data } else { BlobKind::Tree };
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let (uncompressed, rest) = match tag {
            0 | 1 => (0, rest),
            2 | 3 => {
                let (n, rest) = rest.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*n), rest)
            }
            _ => return None,
        };
        let (id, rest) = rest.split_first_chunk::<32>()?;
        if (length as usize) < OVERHEAD_BYTES {
            return None;
        }
        blobs.push(PackedBlob { kind, id: Id(*id), offset, length, uncompressed });
        offset = offset.checked_add(length)?;
        plain = rest;
    }
    Some(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_comes_back() {
        let cipher = Cipher::new(KeyPartsFixture::random()).unwrap();
        let blobs = [
            PackedBlob {
                kind: BlobKind::Data,
                id: Id([1; 32]),
                offset: 0,
                length: 40,
                uncompressed: 0,
            },
            PackedBlob {
                kind: BlobKind::Data,
                id: Id([2; 32]),
                offset: 40,
                length: 50,
                uncompressed: 99,
            },
        ];
        let mut pack = vec![7; 90];
        append_header(&cipher, &blobs, &mut pack).unwrap();
        let size = pack.len() as u64;
        let last: [u8; 4] = pack[pack.len() - 4..].try_into().unwrap();
        let total = header_size(last, size).unwrap();
        let from = pack.len() - total;
        let to = pack.len() - 4;
        let mut sealed = pack[from..to].to_vec();
        assert_eq!(parse_header(&cipher, &mut sealed, size).unwrap().unwrap(), blobs);
        let mut sealed = pack[from..to].to_vec();
        assert!(parse_header(&cipher, &mut sealed, size + 1).unwrap().is_none());
        assert_eq!(header_size([0xff; 4], size), None);
        assert_eq!(header_size([0; 4], size), None);
    }

    struct KeyPartsFixture;
    impl KeyPartsFixture {
        fn random() -> crate::crypto::KeyParts {
            crate::crypto::KeyParts::random().unwrap()
        }
    }

    proptest! {
        #[test]
        fn entries_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_entries(&data);
        }
    }
}
