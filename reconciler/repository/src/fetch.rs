//! Fetching of many blobs: by pack, neighbouring ones in one read, several packs at once, each blob
//! opened and checked. Used by restore, copy, prune and check.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::cancel::Cancel;
use model::error::{ErrorClass, PortError};
use model::ports::storage::{FileKind, NOT_FOUND, SHORT_READ};
use mover::pages::PageBuffer;

use crate::codec::Codec;
use crate::crypto::{MAC_BYTES, NONCE_BYTES};
use crate::format::pack::PackedBlob;
use crate::id::Id;
use crate::index::Index;
use crate::store::{DAMAGED, Store};

/// The largest read in bytes, unless one blob alone is larger.
const READ_BYTES_MAX: usize = 8 << 20;
/// Plain bytes that are handed over at once, unless one blob alone has more: they fit the
/// processor's second cache.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Unwanted bytes between two blobs that are read along rather than asked for anew.
const GAP_BYTES_MAX: u32 = 128 << 10;

/// A blob that is wanted, where it lies, and what the caller keeps with it.
pub(crate) struct Wanted<T> {
    pub pack: Id,
    pub blob: PackedBlob,
    pub tag: T,
}

/// One thread's memory.
struct Scratch {
    codec: Codec,
    /// What was read of a pack.
    read: PageBuffer,
    /// Blobs of a batch as they were decompressed, one behind the other.
    plain: PageBuffer,
    /// A blob that was read alone.
    alone: Vec<u8>,
}

impl Scratch {
    fn new(store: &Store) -> Result<Self, PortError> {
        Ok(Self {
            codec: Codec::new(store.level)?,
            read: PageBuffer::default(),
            plain: PageBuffer::default(),
            alone: Vec::new(),
        })
    }
}

/// What came of one blob.
pub(crate) enum Fetched<'f> {
    /// Its plain bytes, checked, and the bytes as they were packed: compressed or not, without
    /// seal. The latter are empty when the blob came from another place than the one asked for.
    Blob { plain: &'f [u8], packed: &'f [u8] },
    /// It is damaged or gone wherever it lies.
    Lost(&'f PortError),
}

/// Where a blob's bytes are.
enum Got {
    /// Its plain bytes lie in the batch, its packed ones in what was read.
    Opened {
        plain: Range<usize>,
        packed: Range<usize>,
    },
    /// It was not compressed, and lies in what was read.
    Stored(Range<usize>),
    Lost(PortError),
}

/// Neighbouring blobs that were opened together.
pub(crate) struct Batch<'f, T> {
    wanted: &'f [Wanted<T>],
    /// Each with how many of the wanted it is for.
    got: &'f [(usize, Got)],
    read: &'f [u8],
    plain: &'f [u8],
}

impl<'f, T> Batch<'f, T> {
    /// Calls `each` for every wanted blob.
    pub fn each(
        &self,
        mut each: impl FnMut(&'f Wanted<T>, Fetched<'f>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let mut wanted = self.wanted.iter();
        for (count, got) in self.got {
            for want in wanted.by_ref().take(*count) {
                let fetched = match got {
                    Got::Opened { plain, packed } => Fetched::Blob {
                        plain: &self.plain[plain.clone()],
                        packed: &self.read[packed.clone()],
                    },
                    Got::Stored(range) => {
                        let plain = &self.read[range.clone()];
                        Fetched::Blob { plain, packed: plain }
                    }
                    Got::Lost(e) => Fetched::Lost(e),
                };
                each(want, fetched)?;
            }
        }
        Ok(())
    }

    /// Returns two slices of this batch as one when the second begins where the first ends.
    pub fn joined(&self, first: &'f [u8], second: &'f [u8]) -> Option<&'f [u8]> {
        let begin = first.as_ptr().addr().checked_sub(self.plain.as_ptr().addr())?;
        let whole = self.plain.get(begin..)?.get(..first.len() + second.len())?;
        std::ptr::eq(&raw const whole[first.len()..], second).then_some(whole)
    }
}

/// Returns whether an error is about the stored bytes, so that other blobs may still be whole.
pub(crate) fn is_damage(e: &PortError) -> bool {
    e.reason == DAMAGED || e.reason == NOT_FOUND || e.reason == SHORT_READ
}

/// Fetches all wanted blobs and calls `each` for each, from several threads. Damage is handed to
/// `each`; another error ends the work.
pub(crate) fn fetch<T: Sync + Send>(
    store: &Store,
    index: &Index,
    wanted: Vec<Wanted<T>>,
    threads: usize,
    cancel: &Cancel,
    each: &(impl Fn(&Wanted<T>, Fetched<'_>, usize) -> Result<(), PortError> + Sync),
) -> Result<(), PortError> {
    fetch_batches(store, index, wanted, threads, cancel, &|batch, thread| {
        batch.each(|want, fetched| each(want, fetched, thread))
    })
}

/// The same, handing over neighbours together.
pub(crate) fn fetch_batches<T: Sync + Send>(
    store: &Store,
    index: &Index,
    mut wanted: Vec<Wanted<T>>,
    threads: usize,
    cancel: &Cancel,
    each: &(impl Fn(&Batch<'_, T>, usize) -> Result<(), PortError> + Sync),
) -> Result<(), PortError> {
    wanted.sort_by_key(|w| (w.pack, w.blob.offset));
    let spans = spans(&wanted);
    let next = AtomicUsize::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let work = |thread: usize| -> Result<(), PortError> {
        let mut scratch = Scratch::new(store)?;
        loop {
            cancel.check()?;
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(from, to)) = spans.get(at) else { return Ok(()) };
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let done = fetch_span(store, index, &wanted[from..to], &mut scratch, thread, each);
            if done.is_err() {
                stop.store(true, Ordering::Relaxed);
                return done;
            }
        }
    };
    let threads = threads.min(spans.len()).max(1);
    if threads == 1 {
        return work(0);
    }
    std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(move || work(t))).collect();
        let mut result = Ok(());
        for handle in handles {
            let done = crate::join(handle);
            result = match (result, done) {
                (Ok(()), done) => done,
                // The cause counts more than that others were stopped.
                (Err(e), Err(f)) if e.class == ErrorClass::Cancelled => Err(f),
                (failed, _) => failed,
            };
        }
        result
    })
}

/// Splits sorted wants into reads.
fn spans<T>(wanted: &[Wanted<T>]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    while from < wanted.len() {
        let first = &wanted[from];
        let mut end = first.blob.offset.saturating_add(first.blob.length);
        let mut to = from + 1;
        while let Some(next) = wanted.get(to) {
            let next_end = next.blob.offset.saturating_add(next.blob.length).max(end);
            let fits = next.pack == first.pack
                && next.blob.offset <= end.saturating_add(GAP_BYTES_MAX)
                && (next_end - first.blob.offset) as usize <= READ_BYTES_MAX;
            if !fits {
                break;
            }
            end = next_end;
            to += 1;
        }
        spans.push((from, to));
        from = to;
    }
    spans
}

fn fetch_span<T>(
    store: &Store,
    index: &Index,
    wanted: &[Wanted<T>],
    scratch: &mut Scratch,
    thread: usize,
    each: &impl Fn(&Batch<'_, T>, usize) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let begin = first.blob.offset;
    let end = wanted.iter().map(|w| w.blob.offset.saturating_add(w.blob.length)).max();
    let length = (end.unwrap_or(begin) - begin) as usize;
    let room = &mut scratch.read.room(READ_BYTES_MAX.max(length))[..length];
    let name = first.pack.hex();
    let read = store.storage.load_range(FileKind::Pack, &name, u64::from(begin), room);
    if let Err(e) = &read
        && !is_damage(e)
    {
        return read;
    }
    let from = read.is_ok().then_some(begin);
    let mut opener = Opener { store, index, from, scratch };
    let mut rest = wanted;
    while !rest.is_empty() {
        let (mut got, mut taken, mut used, mut bytes, mut end) = (Vec::new(), 0, 0, 0, 0);
        while let Some(want) = rest.get(taken) {
            bytes += want.blob.plain_length() as usize;
            // Two entries of a hostile index may overlap. What is opened is changed in place, so
            // nobody must have to look any more at what came before.
            let overlaps = want.blob.offset < end;
            if taken > 0 && (overlaps || bytes > BATCH_BYTES_MAX) {
                break;
            }
            end = want.blob.offset.saturating_add(want.blob.length);
            // The same blob is often wanted at several places; it is opened once.
            let same = |w: &&Wanted<T>| {
                w.blob.offset == want.blob.offset
                    && w.blob.length == want.blob.length
                    && w.blob.id == want.blob.id
            };
            let count = rest[taken..].iter().take_while(same).count();
            let one = opener.open(want, used)?;
            if let Got::Opened { plain, .. } = &one {
                used = plain.end;
            }
            got.push((count, one));
            taken += count;
        }
        let (now, later) = rest.split_at(taken);
        let Scratch { read, plain, .. } = &*opener.scratch;
        each(&Batch { wanted: now, got: &got, read, plain }, thread)?;
        rest = later;
    }
    Ok(())
}

/// Opens blobs of what was read.
struct Opener<'o> {
    store: &'o Store,
    index: &'o Index,
    /// Where in the pack the read began; `None` when it failed.
    from: Option<u32>,
    scratch: &'o mut Scratch,
}

impl Opener<'_> {
    /// Opens a blob, with its plain bytes from `used` on if it was compressed.
    fn open<T>(&mut self, want: &Wanted<T>, used: usize) -> Result<Got, PortError> {
        let mut damage = None;
        if let Some(from) = self.from {
            let at = (want.blob.offset - from) as usize;
            let end = at + want.blob.length as usize;
            // Where it overlaps an earlier one, that has changed its bytes: it shows as damage and
            // is read anew below.
            let Scratch { codec, plain, read, .. } = &mut *self.scratch;
            let length = want.blob.uncompressed as usize;
            let out = &mut plain.grow(used + length)[used..];
            let sealed = &mut read[at..end];
            match self.store.open_blob_into(&want.pack, &want.blob, sealed, codec, out) {
                Ok(_) => {
                    let packed = at + NONCE_BYTES..end - MAC_BYTES;
                    return Ok(match length {
                        0 => Got::Stored(packed),
                        _ => Got::Opened { plain: used..used + length, packed },
                    });
                }
                Err(e) if is_damage(&e) => damage = Some(e),
                Err(e) => return Err(e),
            }
        }
        let Scratch { codec, alone, .. } = &mut *self.scratch;
        match self.store.load_blob(&want.pack, &want.blob, codec, alone) {
            Ok(()) => {}
            Err(e) if is_damage(&e) => {
                if !self.elsewhere(want)? {
                    return Ok(Got::Lost(damage.unwrap_or(e)));
                }
            }
            Err(e) => return Err(e),
        }
        let Scratch { plain, alone, .. } = &mut *self.scratch;
        let range = used..used + alone.len();
        plain.grow(range.end)[range.clone()].copy_from_slice(alone);
        Ok(Got::Opened { plain: range, packed: 0..0 })
    }

    /// Tries the other places of a damaged blob.
    fn elsewhere<T>(&mut self, want: &Wanted<T>) -> Result<bool, PortError> {
        let Scratch { codec, alone, .. } = &mut *self.scratch;
        for (pack, blob) in self.index.places(want.blob.kind, &want.blob.id) {
            if pack == want.pack && blob.offset == want.blob.offset {
                continue;
            }
            match self.store.load_blob(&pack, &blob, codec, alone) {
                Ok(()) => return Ok(true),
                Err(e) if is_damage(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }
}
