//! Fetching of many blobs: by pack, neighbouring ones in one read, several packs at once, each blob
//! opened and checked. Used by restore, copy, prune and check.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::cancel::Cancel;
use model::error::{ErrorClass, PortError};
use model::ports::storage::{FileKind, NOT_FOUND, SHORT_READ};

use crate::codec::Codec;
use crate::crypto::{MAC_BYTES, NONCE_BYTES};
use crate::format::pack::PackedBlob;
use crate::id::Id;
use crate::index::Index;
use crate::store::{DAMAGED, Store};

/// The largest read in bytes, unless one blob alone is larger.
const READ_BYTES_MAX: usize = 8 << 20;
/// Unwanted bytes between two blobs that are read along rather than asked for anew.
const GAP_BYTES_MAX: u32 = 128 << 10;

/// A blob that is wanted, where it lies, and what the caller keeps with it.
pub(crate) struct Wanted<T> {
    pub pack: Id,
    pub blob: PackedBlob,
    pub tag: T,
}

/// One thread's memory.
pub(crate) struct Scratch {
    pub codec: Codec,
    read: Vec<u8>,
    pub plain: Vec<u8>,
}

impl Scratch {
    pub fn new(store: &Store) -> Result<Self, PortError> {
        Ok(Self { codec: Codec::new(store.level)?, read: Vec::new(), plain: Vec::new() })
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

/// Returns whether an error is about the stored bytes, so that other blobs may still be whole.
pub(crate) fn is_damage(e: &PortError) -> bool {
    e.reason == DAMAGED || e.reason == NOT_FOUND || e.reason == SHORT_READ
}

/// Fetches all wanted blobs and calls `each` for each, from several threads. Damage is handed to
/// `each`; another error ends the work.
pub(crate) fn fetch<T: Sync + Send>(
    store: &Store,
    index: &Index,
    mut wanted: Vec<Wanted<T>>,
    threads: usize,
    cancel: &Cancel,
    each: &(impl Fn(&Wanted<T>, Fetched<'_>, usize) -> Result<(), PortError> + Sync),
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
    each: &impl Fn(&Wanted<T>, Fetched<'_>, usize) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let Some(first) = wanted.first() else { return Ok(()) };
    let begin = first.blob.offset;
    let end = wanted.iter().map(|w| w.blob.offset.saturating_add(w.blob.length)).max();
    let length = (end.unwrap_or(begin) - begin) as usize;
    scratch.read.resize(length, 0);
    let name = first.pack.hex();
    let read = store.storage.load_range(
        FileKind::Pack,
        &name,
        u64::from(begin),
        &mut scratch.read[..length],
    );
    if let Err(e) = &read
        && !is_damage(e)
    {
        return read;
    }
    let whole = read.is_ok();
    let mut rest = wanted;
    while let Some(want) = rest.first() {
        // The same blob is often wanted at several places; it is opened once.
        let same = |w: &&Wanted<T>| {
            w.blob.offset == want.blob.offset
                && w.blob.length == want.blob.length
                && w.blob.id == want.blob.id
        };
        let count = rest.iter().take_while(same).count();
        let (group, later) = rest.split_at(count);
        rest = later;
        let mut damage = None;
        if whole {
            let at = (want.blob.offset - begin) as usize;
            // Two entries of a hostile index may overlap: opening changes bytes only behind the
            // begin of the last one, so an overlap shows as damage and is read anew below.
            let Scratch { codec, plain, read } = &mut *scratch;
            let sealed = &mut read[at..at + want.blob.length as usize];
            match open_in_place(store, want, sealed, codec, plain) {
                Ok((plain, packed)) => {
                    for want in group {
                        each(want, Fetched::Blob { plain, packed }, thread)?;
                    }
                    continue;
                }
                Err(e) if is_damage(&e) => damage = Some(e),
                Err(e) => return Err(e),
            }
        }
        let again = store.load_blob(&want.pack, &want.blob, &mut scratch.codec, &mut scratch.plain);
        let found = match again {
            Ok(()) => true,
            Err(e) if is_damage(&e) => {
                damage = damage.or(Some(e));
                elsewhere(store, index, want, scratch)?
            }
            Err(e) => return Err(e),
        };
        for want in group {
            match &damage {
                Some(e) if !found => each(want, Fetched::Lost(e), thread)?,
                _ => each(want, Fetched::Blob { plain: &scratch.plain, packed: &[] }, thread)?,
            }
        }
    }
    Ok(())
}

/// Opens a blob in place and returns its plain bytes, and its packed ones where they are others.
fn open_in_place<'b, T>(
    store: &Store,
    want: &Wanted<T>,
    sealed: &'b mut [u8],
    codec: &mut Codec,
    out: &'b mut Vec<u8>,
) -> Result<(&'b [u8], &'b [u8]), PortError> {
    store.open_blob(&want.pack, &want.blob, sealed, codec, out)?;
    let packed = &sealed[NONCE_BYTES..sealed.len() - MAC_BYTES];
    let plain = if want.blob.uncompressed == 0 { packed } else { out.as_slice() };
    Ok((plain, packed))
}

/// Tries the other places of a damaged blob; the plain bytes are in the scratch memory then.
fn elsewhere<T>(
    store: &Store,
    index: &Index,
    want: &Wanted<T>,
    scratch: &mut Scratch,
) -> Result<bool, PortError> {
    for (pack, blob) in index.places(want.blob.kind, &want.blob.id) {
        if pack == want.pack && blob.offset == want.blob.offset {
            continue;
        }
        match store.load_blob(&pack, &blob, &mut scratch.codec, &mut scratch.plain) {
            Ok(()) => return Ok(true),
            Err(e) if is_damage(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}
