//! Compression with contexts that live as long as their thread; used where blobs and unpacked files
//! are sealed and opened.

use model::error::PortError;
use zstd::bulk::{Compressor, Decompressor};

/// The largest plain blob that is accepted, in bytes. restic's largest data blob has 8 MiB; a tree
/// blob grows with the entries of its directory, so the bound is wide, and it is checked before
/// memory is taken.
pub const BLOB_BYTES_MAX: usize = 2 << 30;

/// One thread's compression contexts and scratch memory.
pub struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    /// The result of the last compression.
    pub packed: Vec<u8>,
}

fn broken(what: &'static str, e: std::io::Error) -> PortError {
    PortError::terminal("Compression", format!("{what} failed")).with_source(e)
}

impl Codec {
    /// Returns contexts for a zstd level.
    pub fn new(level: i32) -> Result<Self, PortError> {
        Ok(Self {
            compressor: Compressor::new(level).map_err(|e| broken("setting up zstd", e))?,
            decompressor: Decompressor::new().map_err(|e| broken("setting up zstd", e))?,
            packed: Vec::new(),
        })
    }

    /// Compresses into `self.packed`.
    pub fn compress(&mut self, plain: &[u8]) -> Result<(), PortError> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor
            .compress_to_buffer(plain, &mut self.packed)
            .map(|_| ())
            .map_err(|e| broken("compression", e))
    }

    /// Decompresses the result of the last compression into `out`; `None` when that fails or has
    /// another length.
    pub fn decompress_packed(&mut self, length: usize, out: &mut Vec<u8>) -> Option<()> {
        let packed = std::mem::take(&mut self.packed);
        let done = self.decompress(&packed, length, out);
        self.packed = packed;
        done
    }

    /// Decompresses into `out`, which then holds exactly `length` bytes; `None` when the frame is
    /// damaged or of another length.
    pub fn decompress(&mut self, packed: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
        if length > BLOB_BYTES_MAX {
            return None;
        }
        out.clear();
        out.reserve(length);
        let n = self.decompressor.decompress_to_buffer(packed, out).ok()?;
        (n == length && out.len() == length).then_some(())
    }

    /// Decompresses into all of `out`; `None` when the frame is damaged or of another length.
    pub fn decompress_into(&mut self, packed: &[u8], out: &mut [u8]) -> Option<()> {
        let n = self.decompressor.decompress_to_buffer(packed, out).ok()?;
        (n == out.len()).then_some(())
    }
}

/// Decompresses a frame of unknown length, such as an index file, up to `size_max` bytes.
pub fn decompress_unbounded(packed: &[u8], size_max: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    decoder.take(size_max + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= size_max).then_some(out)
}
