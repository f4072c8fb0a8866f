//! Writing of new blobs: each is compressed, sealed, opened again and compared, packed, and the
//! packs uploaded by threads of their own; at the end the index. Used by backup, copy, prune and
//! repair.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use crossbeam_channel::{Receiver, Sender, bounded};
use model::cancel::Cancel;
use model::error::{ErrorClass, PortError};
use model::ports::storage::{ALREADY_EXISTS, FileKind};

use crate::codec::Codec;
use crate::format::pack::{self, BlobKind, PackedBlob};
use crate::id::Id;
use crate::index::{self, Index, PackBlobs};
use crate::store::Store;

/// Size in bytes at which a pack is complete: restic's default target.
pub const PACK_BYTES: usize = 16 << 20;
/// Parts of the table of blobs under way, each with a lock of its own.
const SHARDS: usize = 64;
/// Blobs in uploaded packs that are not yet in a stored index: at most this many are looked for
/// again after a crash.
const UNINDEXED_BLOBS_MAX: usize = 200_000;

/// What a session wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs.
    pub tree_blobs: u64,
    /// Their plain size in bytes.
    pub bytes_new: u64,
    /// Bytes of packs written to storage.
    pub bytes_stored: u64,
    /// Packs written.
    pub packs: u64,
}

/// A pack that is being filled.
pub(crate) struct OpenPack {
    data: Vec<u8>,
    blobs: Vec<PackedBlob>,
    digest: digest::Context,
}

impl OpenPack {
    fn new(data: Vec<u8>) -> Self {
        Self { data, blobs: Vec::new(), digest: digest::Context::new(&digest::SHA256) }
    }
}

struct FinishedPack {
    id: Id,
    data: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

/// One writing operation on a repository; shared by its threads.
pub(crate) struct Session<'a> {
    pub store: &'a Store,
    pub index: &'a Index,
    pub cancel: &'a Cancel,
    /// Blobs that this session writes or wrote.
    claimed: Vec<Mutex<HashSet<(BlobKind, Id)>>>,
    trees: Mutex<Sealer>,
    uploads: Sender<FinishedPack>,
    spare: Mutex<Vec<Vec<u8>>>,
    leftovers: Mutex<Vec<OpenPack>>,
    finished: Mutex<Finished>,
    failed: AtomicBool,
    failure: Mutex<Option<PortError>>,
    data_blobs: AtomicU64,
    tree_blobs: AtomicU64,
    bytes_new: AtomicU64,
    pub bytes_stored: AtomicU64,
}

#[derive(Default)]
struct Finished {
    packs: Vec<PackBlobs>,
    unindexed: usize,
    indexed: usize,
    files: Vec<Id>,
    written: u64,
}

/// What a session leaves: its counts, and what the index in memory must learn.
pub(crate) struct Outcome {
    pub written: Written,
    pub packs: Vec<PackBlobs>,
    pub index_files: Vec<Id>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread's means to seal blobs, with the pack that it fills.
pub(crate) struct Sealer {
    codec: Codec,
    check: Vec<u8>,
    opened: Vec<u8>,
    pack: Option<OpenPack>,
    kind: BlobKind,
}

impl Sealer {
    pub fn new(store: &Store, kind: BlobKind) -> Result<Self, PortError> {
        Ok(Self {
            codec: Codec::new(store.level)?,
            check: Vec::new(),
            opened: Vec::new(),
            pack: None,
            kind,
        })
    }

    /// Appends a plain blob's sealed form to the pack and compares what it opens to.
    fn seal(
        &mut self,
        store: &Store,
        id: &Id,
        plain: &[u8],
        pack: &mut OpenPack,
    ) -> Result<(), PortError> {
        let mut uncompressed = 0;
        if store.version >= 2 {
            self.codec.compress(plain)?;
            if self.codec.packed.len() < plain.len() {
                uncompressed = plain.len() as u32;
            }
        }
        let stored = if uncompressed == 0 { plain } else { &self.codec.packed };
        let offset = pack.data.len();
        store.cipher.seal(stored, &mut pack.data)?;
        let digest = &mut pack.digest;
        let each = |step: &[u8]| digest.update(step);
        // What lies in the pack opens to what was sealed, and that decompresses to the source.
        let sealed = store.cipher.holds(&pack.data[offset..], stored, &mut self.check, each)?;
        let whole = uncompressed == 0
            || (self.codec.decompress_packed(plain.len(), &mut self.opened).is_some()
                && self.opened == plain);
        if !sealed || !whole {
            return Err(corrupted(id));
        }
        Self::append(pack, self.kind, id, offset, uncompressed)
    }

    fn append(
        pack: &mut OpenPack,
        kind: BlobKind,
        id: &Id,
        offset: usize,
        uncompressed: u32,
    ) -> Result<(), PortError> {
        let range = u32::try_from(offset)
            .and_then(|offset| Ok((offset, u32::try_from(pack.data.len() - offset as usize)?)));
        let (offset, length) = range.map_err(|e| {
            PortError::terminal("BlobTooLarge", format!("blob {id} does not fit a pack"))
                .with_source(e)
        })?;
        pack.blobs.push(PackedBlob { kind, id: *id, offset, length, uncompressed });
        Ok(())
    }
}

impl<'a> Session<'a> {
    /// Runs `work` with upload threads beside it, then writes out what is left and the index. When
    /// `work` fails the packs that are complete still get their index, so that a further try finds
    /// their blobs.
    pub fn run<R>(
        store: &'a Store,
        index: &'a Index,
        cancel: &'a Cancel,
        work: impl FnOnce(&Session<'a>) -> Result<R, PortError>,
    ) -> Result<(R, Outcome), PortError> {
        let connections = store.storage.connections().clamp(1, 16);
        let (uploads, receiver) = bounded(1);
        let session = Session {
            store,
            index,
            cancel,
            claimed: (0..SHARDS).map(|_| Mutex::default()).collect(),
            trees: Mutex::new(Sealer::new(store, BlobKind::Tree)?),
            uploads,
            spare: Mutex::default(),
            leftovers: Mutex::default(),
            finished: Mutex::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            data_blobs: AtomicU64::new(0),
            tree_blobs: AtomicU64::new(0),
            bytes_new: AtomicU64::new(0),
            bytes_stored: AtomicU64::new(0),
        };
        let done = std::thread::scope(|scope| {
            let session = &session;
            let receiver = &receiver;
            let threads: Vec<_> =
                (0..connections).map(|_| scope.spawn(move || session.serve(receiver))).collect();
            // Ends the threads also when `work` panics.
            let ending = Ending { session, connections };
            let done = crate::caught(|| work(session)).and_then(|value| {
                session.flush()?;
                Ok(value)
            });
            drop(ending);
            for thread in threads {
                // Its panic, if any, is the session's failure already.
                drop(thread.join());
            }
            done
        });
        let done = match lock(&session.failure).take() {
            Some(failure) => Err(failure),
            None => done,
        };
        let indexed = session.write_index(true);
        let value = done?;
        indexed?;
        let finished = std::mem::take(&mut *lock(&session.finished));
        let outcome = Outcome {
            written: Written {
                data_blobs: session.data_blobs.load(Ordering::Relaxed),
                tree_blobs: session.tree_blobs.load(Ordering::Relaxed),
                bytes_new: session.bytes_new.load(Ordering::Relaxed),
                bytes_stored: session.bytes_stored.load(Ordering::Relaxed),
                packs: finished.written,
            },
            packs: finished.packs,
            index_files: finished.files,
        };
        Ok((value, outcome))
    }

    /// Returns an error once any thread failed or somebody asked to stop.
    pub fn check(&self) -> Result<(), PortError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Self::aborted());
        }
        self.cancel.check()
    }

    /// Returns the error of a part that stops because another one failed; never what is reported.
    pub fn aborted() -> PortError {
        PortError::new(ErrorClass::Cancelled, "Aborted", "another part failed")
    }

    /// Records a failure; the first one is what the operation reports.
    pub fn fail(&self, error: PortError) {
        let mut failure = lock(&self.failure);
        let secondary = error.reason == "Aborted";
        if !secondary && failure.is_none() {
            *failure = Some(error);
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Claims a blob for writing; `false` when it is stored or claimed already.
    pub fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        if self.index.has(kind, id) {
            return false;
        }
        lock(&self.claimed[(id.0[31] as usize) % SHARDS]).insert((kind, *id))
    }

    /// Writes a claimed blob.
    pub fn put(&self, sealer: &mut Sealer, id: &Id, plain: &[u8]) -> Result<(), PortError> {
        self.check()?;
        let mut pack = sealer.pack.take().unwrap_or_else(|| self.open_pack());
        sealer.seal(self.store, id, plain, &mut pack)?;
        self.count(sealer.kind, plain.len());
        self.keep_or_finish(sealer, pack)
    }

    /// Writes a claimed blob whose packed bytes (compressed or not) are known, as they are.
    pub fn put_packed(
        &self,
        sealer: &mut Sealer,
        blob: &PackedBlob,
        plain: &[u8],
        packed: &[u8],
    ) -> Result<(), PortError> {
        // Version 1 knows no compression, and what was never compressed gains by it.
        let as_is = !packed.is_empty() && (blob.uncompressed != 0) == (self.store.version >= 2);
        if !as_is {
            return self.put(sealer, &blob.id, plain);
        }
        self.check()?;
        let mut pack = sealer.pack.take().unwrap_or_else(|| self.open_pack());
        let offset = pack.data.len();
        self.store.cipher.seal(packed, &mut pack.data)?;
        let digest = &mut pack.digest;
        let each = |step: &[u8]| digest.update(step);
        let cipher = &self.store.cipher;
        if !cipher.holds(&pack.data[offset..], packed, &mut sealer.check, each)? {
            return Err(corrupted(&blob.id));
        }
        Sealer::append(&mut pack, blob.kind, &blob.id, offset, blob.uncompressed)?;
        self.count(blob.kind, plain.len());
        self.keep_or_finish(sealer, pack)
    }

    fn count(&self, kind: BlobKind, plain_bytes: usize) {
        let blobs = if kind == BlobKind::Tree { &self.tree_blobs } else { &self.data_blobs };
        blobs.fetch_add(1, Ordering::Relaxed);
        self.bytes_new.fetch_add(plain_bytes as u64, Ordering::Relaxed);
    }

    fn keep_or_finish(&self, sealer: &mut Sealer, pack: OpenPack) -> Result<(), PortError> {
        if pack.data.len() >= PACK_BYTES || pack.blobs.len() >= pack::ENTRIES_MAX {
            return self.finish_pack(pack);
        }
        sealer.pack = Some(pack);
        Ok(())
    }

    /// Writes a tree blob unless it is stored, and returns its id.
    pub fn put_tree(&self, plain: &[u8]) -> Result<Id, PortError> {
        let id = Id::of(plain);
        if self.claim(BlobKind::Tree, &id) {
            let mut sealer = lock(&self.trees);
            self.put(&mut sealer, &id, plain)?;
        }
        Ok(id)
    }

    /// Hands over a thread's unfinished pack when the thread ends.
    pub fn retire(&self, mut sealer: Sealer) {
        lock(&self.leftovers).extend(sealer.pack.take());
    }

    fn open_pack(&self) -> OpenPack {
        let spare = lock(&self.spare).pop();
        OpenPack::new(spare.unwrap_or_else(|| Vec::with_capacity(PACK_BYTES + (2 << 20))))
    }

    fn finish_pack(&self, mut pack: OpenPack) -> Result<(), PortError> {
        let offset = pack.data.len();
        pack::append_header(&self.store.cipher, &pack.blobs, &mut pack.data)?;
        pack.digest.update(&pack.data[offset..]);
        let mut id = [0; 32];
        id.copy_from_slice(pack.digest.finish().as_ref());
        let finished = FinishedPack { id: Id(id), data: pack.data, blobs: pack.blobs };
        // The upload threads end only after the last hand-over.
        self.uploads
            .send(finished)
            .map_err(|_| PortError::terminal("Internal", "the upload threads are gone"))
    }

    /// Writes out all unfinished packs, small ones of the threads joined.
    fn flush(&self) -> Result<(), PortError> {
        self.check()?;
        let tree = lock(&self.trees).pack.take();
        let mut joined: Option<OpenPack> = None;
        for part in std::mem::take(&mut *lock(&self.leftovers)) {
            match joined.as_mut() {
                Some(whole) if whole.data.len() + part.data.len() <= 2 * PACK_BYTES => {
                    let base = whole.data.len() as u32;
                    whole.data.extend_from_slice(&part.data);
                    whole.digest.update(&part.data);
                    whole.blobs.extend(
                        part.blobs.into_iter().map(|b| PackedBlob { offset: b.offset + base, ..b }),
                    );
                }
                Some(_) => self.finish_pack(part)?,
                None => joined = Some(part),
            }
        }
        for pack in [joined, tree].into_iter().flatten() {
            self.finish_pack(pack)?;
        }
        Ok(())
    }

    /// Uploads until the end; a thread that panics takes packs on, or nobody would, and fails.
    fn serve(&self, receiver: &Receiver<FinishedPack>) {
        while let Err(e) = crate::caught(|| {
            self.upload(receiver);
            Ok(())
        }) {
            self.fail(e);
        }
    }

    fn upload(&self, receiver: &Receiver<FinishedPack>) {
        while let Ok(pack) = receiver.recv() {
            if pack.blobs.is_empty() {
                return;
            }
            if self.cancel.is_cancelled() {
                // A pack that is not uploaded must never look as if it were.
                self.fail(PortError::cancelled());
            }
            if self.failed.load(Ordering::Relaxed) {
                continue;
            }
            let name = pack.id.hex();
            match self.store.storage.save(FileKind::Pack, &name, &pack.data, &pack.id.0) {
                Ok(()) => {}
                Err(e) if e.reason == ALREADY_EXISTS => {}
                Err(e) => {
                    self.fail(e);
                    continue;
                }
            }
            self.bytes_stored.fetch_add(pack.data.len() as u64, Ordering::Relaxed);
            let holds_trees = || pack.blobs.iter().any(|blob| blob.kind == BlobKind::Tree);
            if let Some(cache) = self.store.cache.as_ref().filter(|_| holds_trees()) {
                cache.put(FileKind::Pack, &pack.id, &pack.data);
            }
            self.uploaded(pack);
        }
    }

    fn uploaded(&self, mut pack: FinishedPack) {
        let full = {
            let mut finished = lock(&self.finished);
            finished.unindexed += pack.blobs.len();
            finished.written += 1;
            finished.packs.push(PackBlobs { id: pack.id, blobs: pack.blobs });
            finished.unindexed >= UNINDEXED_BLOBS_MAX
        };
        pack.data.clear();
        let mut spare = lock(&self.spare);
        if spare.len() < 4 && pack.data.capacity() <= 2 * PACK_BYTES {
            spare.push(pack.data);
        }
        drop(spare);
        if full && let Err(e) = self.write_index(false) {
            self.fail(e);
        }
    }

    /// Writes index files for packs that have none.
    fn write_index(&self, all: bool) -> Result<(), PortError> {
        let mut finished = lock(&self.finished);
        if !all && finished.unindexed < UNINDEXED_BLOBS_MAX {
            return Ok(());
        }
        let from = finished.indexed;
        let files = index::save(self.store, &finished.packs[from..])?;
        finished.indexed = finished.packs.len();
        finished.unindexed = 0;
        finished.files.extend(files);
        Ok(())
    }
}

/// Sends each upload thread the empty pack that ends it.
struct Ending<'s, 'a> {
    session: &'s Session<'a>,
    connections: usize,
}

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        for _ in 0..self.connections {
            let end = FinishedPack { id: Id::default(), data: Vec::new(), blobs: Vec::new() };
            let _ = self.session.uploads.send(end);
        }
    }
}

fn corrupted(id: &Id) -> PortError {
    PortError::terminal(
        "MemoryCorruption",
        format!("sealed blob {id} does not open to what was sealed"),
    )
    .with_hint("check this machine's memory")
}
