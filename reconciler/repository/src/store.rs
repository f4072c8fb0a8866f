//! Unpacked files and blobs in storage: sealing, opening and checking of each; used by every
//! operation.

use std::sync::Arc;

use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, FileKind, NOT_FOUND, Storage};

use crate::cache::Cache;
use crate::codec::{self, Codec};
use crate::crypto::Cipher;
use crate::format::pack::PackedBlob;
use crate::id::Id;

/// The largest index, snapshot or lock file in bytes that is read.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// The largest such file in bytes once it is decompressed.
const UNPACKED_PLAIN_BYTES_MAX: u64 = 1 << 30;
/// First byte of a compressed unpacked file.
const COMPRESSED: u8 = 2;

/// Stable reason word of an error for stored bytes that are not what was written.
pub const DAMAGED: &str = "Damaged";
/// Stable reason word of an error for a blob that no index knows.
pub const BLOB_MISSING: &str = "BlobMissing";

/// Storage with the key that opens it.
pub struct Store {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) cipher: Cipher,
    pub(crate) version: u32,
    /// zstd level of what is written.
    pub(crate) level: i32,
    /// Refuses every deletion but that of locks.
    pub(crate) append_only: bool,
    /// Copies on this machine.
    pub(crate) cache: Option<Cache>,
}

pub(crate) fn damaged(what: impl Into<String>) -> PortError {
    PortError::terminal(DAMAGED, what)
}

/// Readers of one check, copy or prune where the storage is far away and they wait more than they
/// work, as many as restic's by default: each holds a pack in memory.
const READERS_MAX: usize = 5;

/// How many threads work when so many are asked for; 0: as many as there are processors.
pub(crate) fn workers(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from).min(16),
        n => n.min(64),
    }
}

impl Store {
    /// How many threads read packs when so many workers are asked for.
    pub(crate) fn readers(&self, threads: usize) -> usize {
        let more = if threads == 0 { self.storage.connections().min(READERS_MAX) } else { 0 };
        workers(threads).max(more)
    }

    /// Loads, authenticates and decompresses a file of JSON.
    pub(crate) fn load(&self, kind: FileKind, id: &Id) -> Result<Vec<u8>, PortError> {
        let (name, data) = self.fetch(kind, id)?;
        self.plain(kind, &name, data)
    }

    /// As [`load`](Self::load), for a file that a listing has just named: a copy will do.
    pub(crate) fn load_listed(&self, kind: FileKind, id: &Id) -> Result<Vec<u8>, PortError> {
        let Some(cache) = &self.cache else { return self.load(kind, id) };
        if let Some(data) = cache.get(kind, id) {
            return self.plain(kind, &id.hex(), data);
        }
        let (name, data) = self.fetch(kind, id)?;
        cache.put(kind, id, &data);
        self.plain(kind, &name, data)
    }

    /// Returns a file's name, and its bytes as they are stored.
    fn fetch(&self, kind: FileKind, id: &Id) -> Result<(String, Vec<u8>), PortError> {
        let name = if kind == FileKind::Config { String::new() } else { id.hex() };
        let data = self.storage.load(kind, &name, UNPACKED_BYTES_MAX)?;
        if kind != FileKind::Config && Id::of(&data) != *id {
            let shown = format!("{}/{name}", kind.folder());
            return Err(damaged(format!("{shown} does not have the content of its name")));
        }
        Ok((name, data))
    }

    /// Looks whether a file is stored with the content of its name.
    pub(crate) fn probe(&self, kind: FileKind, id: &Id) -> Result<(), PortError> {
        self.fetch(kind, id).map(|_| ())
    }

    fn plain(&self, kind: FileKind, name: &str, mut data: Vec<u8>) -> Result<Vec<u8>, PortError> {
        let shown = format!("{}/{name}", kind.folder());
        let Some(plain) = self.cipher.open(&mut data)? else {
            return Err(damaged(format!("{shown} is not authentic")));
        };
        match plain.first() {
            Some(b'{' | b'[') => Ok(plain.to_vec()),
            Some(&COMPRESSED) if kind != FileKind::Config => {
                codec::decompress_unbounded(&plain[1..], UNPACKED_PLAIN_BYTES_MAX)
                    .ok_or_else(|| damaged(format!("{shown} does not decompress")))
            }
            _ => Err(damaged(format!("{shown} is of an unknown encoding"))),
        }
    }

    /// Seals and saves a file of JSON under its digest.
    pub(crate) fn save(&self, kind: FileKind, json: &[u8]) -> Result<Id, PortError> {
        let mut sealed = Vec::new();
        if self.version >= 2 && kind != FileKind::Config {
            let mut codec = Codec::new(self.level.max(3))?;
            codec.compress(json)?;
            let mut plain = Vec::with_capacity(codec.packed.len() + 1);
            plain.push(COMPRESSED);
            plain.extend_from_slice(&codec.packed);
            self.cipher.seal(&plain, &mut sealed)?;
        } else {
            self.cipher.seal(json, &mut sealed)?;
        }
        let id = Id::of(&sealed);
        let name = if kind == FileKind::Config { String::new() } else { id.hex() };
        match self.storage.save(kind, &name, &sealed, &id.0) {
            // A retry after an answer was lost: the same bytes lie there.
            Err(e) if e.reason == ALREADY_EXISTS && kind != FileKind::Config => {}
            other => other?,
        }
        if let (Some(cache), FileKind::Index | FileKind::Snapshot) = (&self.cache, kind) {
            cache.put(kind, &id, &sealed);
        }
        Ok(id)
    }

    /// Returns the ids of all files of a kind.
    pub(crate) fn list(&self, kind: FileKind) -> Result<Vec<(Id, u64)>, PortError> {
        let mut all = Vec::new();
        self.storage.list(kind, &mut |file| {
            // Other names are not this format's.
            if let Some(id) = Id::parse(&file.name) {
                all.push((id, file.size_bytes));
            }
            Ok(())
        })?;
        all.sort_unstable();
        Ok(all)
    }

    /// Deletes a file; one that is gone already is no fault.
    pub(crate) fn delete(&self, kind: FileKind, id: &Id) -> Result<(), PortError> {
        if self.append_only && kind != FileKind::Lock {
            let what = format!("{}/{id} would be deleted", kind.folder());
            return Err(PortError::terminal("AppendOnly", what));
        }
        match self.storage.delete(kind, &id.hex()) {
            Err(e) if e.reason == NOT_FOUND => Ok(()),
            other => other,
        }
    }

    /// Opens one blob's sealed bytes in place and checks them against the blob's id. Returns its
    /// plain bytes, which lie in `sealed` or, when they were compressed, in `out`.
    pub(crate) fn open_blob<'b>(
        &self,
        pack: &Id,
        blob: &PackedBlob,
        sealed: &'b mut [u8],
        codec: &mut Codec,
        out: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], PortError> {
        self.open_with(pack, blob, sealed, |packed, length| {
            codec.decompress(packed, length, out)?;
            Some(out)
        })
    }

    /// The same with room for the plain bytes at the begin of `out`, which is filled as far as they
    /// need it.
    pub(crate) fn open_blob_into<'b>(
        &self,
        pack: &Id,
        blob: &PackedBlob,
        sealed: &'b mut [u8],
        codec: &mut Codec,
        out: &'b mut [u8],
    ) -> Result<&'b [u8], PortError> {
        self.open_with(pack, blob, sealed, |packed, length| {
            let out = out.get_mut(..length)?;
            codec.decompress_into(packed, out)?;
            Some(out)
        })
    }

    fn open_with<'b>(
        &self,
        pack: &Id,
        blob: &PackedBlob,
        sealed: &'b mut [u8],
        decompress: impl FnOnce(&[u8], usize) -> Option<&'b [u8]>,
    ) -> Result<&'b [u8], PortError> {
        let bad = |what: &str| {
            damaged(format!("pack {pack}: blob {} at {} {what}", blob.id, blob.offset))
        };
        let Some(packed) = self.cipher.open(sealed)? else {
            return Err(bad("is not authentic"));
        };
        let plain: &'b [u8] = if blob.uncompressed == 0 {
            packed
        } else {
            decompress(packed, blob.uncompressed as usize)
                .ok_or_else(|| bad("does not decompress"))?
        };
        if Id::of(plain) != blob.id {
            return Err(bad("has other content than its id"));
        }
        Ok(plain)
    }

    /// Loads one blob by its place.
    pub(crate) fn load_blob(
        &self,
        pack: &Id,
        blob: &PackedBlob,
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Result<(), PortError> {
        let mut sealed = vec![0; blob.length as usize];
        self.storage.load_range(
            FileKind::Pack,
            &pack.hex(),
            u64::from(blob.offset),
            &mut sealed,
        )?;
        if blob.uncompressed == 0 {
            let plain = self.open_blob(pack, blob, &mut sealed, codec, out)?.to_vec();
            *out = plain;
        } else {
            self.open_blob(pack, blob, &mut sealed, codec, out)?;
        }
        Ok(())
    }
}
