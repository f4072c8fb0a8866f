//! Pruning in two phases. Marking: what no snapshot needs leaves the index, packs with much waste
//! are repacked, and the packs that the index no longer names are listed in a mark. Sweeping: once
//! a grace period has passed, snapshots and index are looked at again, and only then packs are
//! deleted.
//!
//! Writers that honour locks are kept out of both. Those that do not (rustic) find no marked blob
//! in any index from the mark on; one that began before and finishes within the grace period has
//! its blobs found again by the second look. restic takes marked packs for unused files, which it
//! may delete as well.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND};
use model::progress::ProgressSink;
use serde::{Deserialize, Serialize};

use crate::fetch::{self, Fetched, Wanted};
use crate::format::pack::{self, BlobKind, PackedBlob};
use crate::id::Id;
use crate::index::{self, Index, PackBlobs};
use crate::lock::Lock;
use crate::progress::Meter;
use crate::repo::Repository;
use crate::session::{PACK_BYTES, Sealer, Session};
use crate::store::Store;
use crate::used::{self, Used};

/// What a prune does.
#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// How long marked packs stay before they are deleted. Longer than the longest backup of any
    /// writer that uses no locks; zero where all writers use them.
    pub grace: SignedDuration,
    /// Waste that may stay inside packs, in percent of what is used.
    pub waste_percent_max: u32,
    /// Bytes that are repacked at the most.
    pub repack_bytes_max: u64,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Threads; 0 for one per processor. Packs are then read by five where the storage takes as
    /// many at once.
    pub threads: usize,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            grace: SignedDuration::from_hours(23),
            waste_percent_max: 5,
            repack_bytes_max: u64::MAX,
            dry_run: false,
            threads: 0,
        }
    }
}

/// Packs that wait for their deletion, each since its instant. Kept by the caller from one prune to
/// the next; when it is lost, what it named is marked anew, and only time is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneMark {
    /// Instant of the mark by pack.
    pub packs: BTreeMap<String, Timestamp>,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Packs that wait for the next prune.
    pub mark: PruneMark,
    /// Packs deleted, and their bytes.
    pub packs_deleted: u64,
    /// Bytes of the packs deleted.
    pub bytes_deleted: u64,
    /// Packs that wait, and their bytes.
    pub bytes_waiting: u64,
    /// Bytes of used blobs written into new packs.
    pub bytes_repacked: u64,
    /// Bytes of waste that stay inside packs.
    pub bytes_wasted: u64,
    /// Bytes of blobs that snapshots need.
    pub bytes_used: u64,
    /// Marked packs that a snapshot needs again, taken back into the index.
    pub packs_rescued: u64,
}

/// The decision on what is indexed.
struct Decision {
    /// Packs that stay as they are.
    keep: Vec<PackBlobs>,
    /// Used blobs of packs that are dissolved, with the pack of each.
    repack: Vec<(Id, PackedBlob)>,
    /// Packs that leave the index.
    drop: Vec<Id>,
    used_bytes: u64,
    repack_bytes: u64,
    waste_bytes: u64,
}

impl Repository {
    /// Deletes what the last mark named and is still not needed once the grace period has passed,
    /// and marks what is not needed any more. Fails with `BlobMissing` when a snapshot lacks
    /// something: a damaged repository is not pruned.
    pub fn prune(
        &self,
        mark: &PruneMark,
        options: &PruneOptions,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<PruneReport, PortError> {
        if options.dry_run {
            self.writable()?
        } else {
            self.erasable()?
        };
        let meter = Meter::new(progress);
        let lock = self.lock(true, cancel)?;
        let lock = lock.as_ref().ok_or_else(|| {
            PortError::terminal("ReadOnly", "the repository was opened for reading")
        })?;
        let now = self.now();
        let mut report = PruneReport::default();
        meter.phase("snapshots");
        let mut index = self.index(cancel)?;
        let snapshots = self.snapshots()?;
        let stored: HashMap<Id, u64> = self.store.list(FileKind::Pack)?.into_iter().collect();
        if !options.dry_run && self.rescue(&index, &stored, cancel, &mut report)? {
            self.forget_index();
            index = self.index(cancel)?;
        }
        let roots = snapshots.iter().map(|s| s.tree);
        let used = used::of_trees(&self.store, &index, roots, cancel)?;
        for (kind, id) in &used {
            index.locate(*kind, id)?;
        }
        meter.phase("decide");
        let decision = decide(&index, &used, options);
        report.bytes_used = decision.used_bytes;
        report.bytes_repacked = decision.repack_bytes;
        report.bytes_wasted = decision.waste_bytes;
        let missing = decision.keep.iter().find(|p| !stored.contains_key(&p.id));
        if let Some(pack) = missing {
            let message = format!("pack {} is gone, though the index names it", pack.id);
            return Err(PortError::terminal("PackMissing", message));
        }
        let indexed: HashSet<Id> = if options.dry_run || decision.drop.is_empty() {
            index
                .packs()
                .into_iter()
                .map(|p| p.id)
                .filter(|id| !decision.drop.contains(id))
                .collect()
        } else {
            meter.phase("repack");
            self.reindex(&index, decision, options, lock, cancel)?
        };
        meter.phase("sweep");
        self.sweep(mark, &indexed, &stored, options, now, lock, &mut report, cancel)?;
        meter.report();
        Ok(report)
    }

    /// Takes packs back into the index that no index names but a snapshot needs.
    fn rescue(
        &self,
        index: &Index,
        stored: &HashMap<Id, u64>,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<bool, PortError> {
        let named: HashSet<Id> = index.packs().into_iter().map(|p| p.id).collect();
        let mut loose = Vec::new();
        for (id, size) in stored.iter().filter(|(id, _)| !named.contains(*id)) {
            cancel.check()?;
            // An unfinished upload has no valid header, and no snapshot can need it.
            if let Some(blobs) = read_header(&self.store, id, *size)? {
                loose.push(PackBlobs { id: *id, blobs });
            }
        }
        if loose.is_empty() {
            return Ok(false);
        }
        loose.sort_by_key(|p| p.id);
        let mut all = index.clone();
        all.extend(&[], loose.clone());
        let roots = self.snapshots()?.into_iter().map(|s| s.tree);
        let used = used::of_trees(&self.store, &all, roots, cancel)?;
        let needed = |b: &PackedBlob| used.contains(&(b.kind, b.id)) && !index.has(b.kind, &b.id);
        loose.retain(|pack| pack.blobs.iter().any(needed));
        if loose.is_empty() {
            return Ok(false);
        }
        report.packs_rescued = loose.len() as u64;
        index::save(&self.store, &loose)?;
        Ok(true)
    }

    /// Writes used blobs of dissolved packs anew, then the index without those packs, then removes
    /// the old index files. Returns the packs that the index names then.
    fn reindex(
        &self,
        index: &Index,
        decision: Decision,
        options: &PruneOptions,
        lock: &Lock,
        cancel: &Cancel,
    ) -> Result<HashSet<Id>, PortError> {
        let old_files = index.files().clone();
        let mut packs = decision.keep;
        let mut new_files = HashSet::new();
        if !decision.repack.is_empty() {
            let written = self.repack(index, decision.repack, options, cancel)?;
            new_files.extend(&written.index_files);
            packs.extend(written.packs);
        }
        lock.check(cancel)?;
        packs.sort_by_key(|p| p.id);
        let files = index::save(&self.store, &packs)?;
        new_files.extend(&files);
        // From here on the new index says all there is; the old files only name more.
        let keep: HashSet<Id> = files.into_iter().collect();
        for file in old_files.iter().chain(&new_files).filter(|f| !keep.contains(f)) {
            lock.check(cancel)?;
            self.store.delete(FileKind::Index, file)?;
        }
        self.forget_index();
        Ok(packs.into_iter().map(|p| p.id).collect())
    }

    fn repack(
        &self,
        index: &Index,
        blobs: Vec<(Id, PackedBlob)>,
        options: &PruneOptions,
        cancel: &Cancel,
    ) -> Result<crate::session::Outcome, PortError> {
        let wanted = blobs.into_iter().map(|(pack, blob)| Wanted { pack, blob, tag: () }).collect();
        // Against an empty index, or the blobs would count as stored.
        let nothing = Index::default();
        let ((), outcome) = Session::run(&self.store, &nothing, cancel, |session| {
            transfer(&self.store, index, wanted, session, options.threads, cancel)
        })?;
        Ok(outcome)
    }

    #[allow(clippy::too_many_arguments)] // The second phase looks at all that the first one knew.
    fn sweep(
        &self,
        mark: &PruneMark,
        indexed: &HashSet<Id>,
        stored: &HashMap<Id, u64>,
        options: &PruneOptions,
        now: Timestamp,
        lock: &Lock,
        report: &mut PruneReport,
        cancel: &Cancel,
    ) -> Result<(), PortError> {
        let mut loose: Vec<(&Id, &u64)> =
            stored.iter().filter(|(id, _)| !indexed.contains(*id)).collect();
        loose.sort();
        for (id, size) in loose {
            let since = mark.packs.get(&id.hex()).copied().unwrap_or(now);
            // A clock that went back must not shorten the wait.
            let due = now.duration_since(since) >= options.grace && since <= now;
            if !due {
                report.mark.packs.insert(id.hex(), since.min(now));
                report.bytes_waiting += size;
                continue;
            }
            if !options.dry_run {
                lock.check(cancel)?;
                self.store.delete(FileKind::Pack, id)?;
            }
            report.packs_deleted += 1;
            report.bytes_deleted += size;
        }
        Ok(())
    }
}

/// Reads a pack's header from storage; `None` when it has none that is authentic.
pub(crate) fn read_header(
    store: &Store,
    id: &Id,
    size: u64,
) -> Result<Option<Vec<PackedBlob>>, PortError> {
    let name = id.hex();
    let load = |offset: u64, buffer: &mut [u8]| {
        store.storage.load_range(FileKind::Pack, &name, offset, buffer)
    };
    let mut last = [0; pack::LENGTH_BYTES];
    let Some(at) = size.checked_sub(last.len() as u64) else { return Ok(None) };
    match load(at, &mut last) {
        Err(e) if e.reason == NOT_FOUND => return Ok(None),
        other => other?,
    }
    let Some(total) = pack::header_size(last, size) else { return Ok(None) };
    let mut sealed = vec![0; total - pack::LENGTH_BYTES];
    load(size - total as u64, &mut sealed)?;
    pack::parse_header(&store.cipher, &mut sealed, size)
}

/// Copies blobs into a session from several threads.
pub(crate) fn transfer(
    from: &Store,
    index: &Index,
    wanted: Vec<Wanted<()>>,
    session: &Session<'_>,
    threads: usize,
    cancel: &Cancel,
) -> Result<(), PortError> {
    let sealers = (0..crate::store::workers(threads))
        .map(|_| {
            let data = Sealer::new(session.store, BlobKind::Data)?;
            let tree = Sealer::new(session.store, BlobKind::Tree)?;
            Ok(Mutex::new((data, tree)))
        })
        .collect::<Result<Vec<_>, PortError>>()?;
    let readers = from.readers(threads);
    fetch::fetch(from, index, wanted, readers, cancel, &|want, fetched, thread| {
        let Fetched::Blob { plain, packed } = fetched else {
            let Fetched::Lost(e) = fetched else { return Ok(()) };
            return Err(crate::store::damaged(e.chain()));
        };
        if !session.claim(want.blob.kind, &want.blob.id) {
            return Ok(());
        }
        let mut pair =
            sealers[thread % sealers.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let sealer = if want.blob.kind == BlobKind::Data { &mut pair.0 } else { &mut pair.1 };
        session.put_packed(sealer, &want.blob, plain, packed)
    })?;
    for pair in sealers {
        let (data, tree) = pair.into_inner().unwrap_or_else(PoisonError::into_inner);
        session.retire(data);
        session.retire(tree);
    }
    Ok(())
}

/// A pack's used and unused bytes.
struct Weighed {
    pack: PackBlobs,
    used: Vec<PackedBlob>,
    used_bytes: u64,
    waste_bytes: u64,
}

/// Decides for every indexed pack: keep, dissolve or drop.
fn decide(index: &Index, used: &Used, options: &PruneOptions) -> Decision {
    // Of a blob that is stored more than once, one place is used: the one in the fullest pack, so
    // that the others may go.
    let packs = index.packs();
    let size = |p: &PackBlobs| -> u64 { p.blobs.iter().map(|b| u64::from(b.length)).sum() };
    let mut order: Vec<&PackBlobs> = packs.iter().collect();
    order.sort_by_key(|p| (std::cmp::Reverse(size(p)), p.id));
    let mut placed: HashSet<(BlobKind, Id)> = HashSet::with_capacity(used.len());
    let mut weighed: Vec<Weighed> = Vec::new();
    for pack in order {
        let (mut mine, mut used_bytes, mut waste_bytes) = (Vec::new(), 0, 0);
        for blob in &pack.blobs {
            let key = (blob.kind, blob.id);
            if used.contains(&key) && placed.insert(key) {
                mine.push(*blob);
                used_bytes += u64::from(blob.length);
            } else {
                waste_bytes += u64::from(blob.length);
            }
        }
        weighed.push(Weighed { pack: pack.clone(), used: mine, used_bytes, waste_bytes });
    }
    let mut decision = Decision {
        keep: Vec::new(),
        repack: Vec::new(),
        drop: Vec::new(),
        used_bytes: weighed.iter().map(|w| w.used_bytes).sum(),
        repack_bytes: 0,
        waste_bytes: 0,
    };
    let (dead, live): (Vec<_>, Vec<_>) = weighed.into_iter().partition(|w| w.used.is_empty());
    decision.drop.extend(dead.into_iter().map(|w| w.pack.id));
    let (mut partial, whole): (Vec<_>, Vec<_>) = live.into_iter().partition(|w| w.waste_bytes > 0);
    let (small, whole) = split_small(whole);
    decision.keep.extend(whole.into_iter().map(|w| w.pack));
    let waste: u64 = partial.iter().map(|w| w.waste_bytes).sum();
    let allowed = decision.used_bytes / 100 * u64::from(options.waste_percent_max);
    decision.waste_bytes = waste;
    // The most waste for the least copying first.
    partial.sort_by_key(|w| (w.used_bytes * 1000 / w.waste_bytes.max(1), w.pack.id));
    for w in partial.into_iter().chain(small) {
        let worth = w.waste_bytes == 0 || decision.waste_bytes > allowed;
        let fits = decision.repack_bytes.saturating_add(w.used_bytes) <= options.repack_bytes_max;
        if worth && fits {
            decision.waste_bytes -= w.waste_bytes;
            decision.repack_bytes += w.used_bytes;
            decision.repack.extend(w.used.iter().map(|b| (w.pack.id, *b)));
            decision.drop.push(w.pack.id);
        } else {
            decision.keep.push(w.pack);
        }
    }
    decision
}

/// Packs well below the target size are worth joining once they fill one together.
fn split_small(whole: Vec<Weighed>) -> (Vec<Weighed>, Vec<Weighed>) {
    let (mut small, mut rest): (Vec<_>, Vec<_>) =
        whole.into_iter().partition(|w| w.used_bytes < PACK_BYTES as u64 / 8);
    let mut kinds: BTreeSet<BlobKind> = BTreeSet::from([BlobKind::Data, BlobKind::Tree]);
    for kind in [BlobKind::Data, BlobKind::Tree] {
        let of_kind = |w: &&Weighed| w.used.first().map(|b| b.kind) == Some(kind);
        let bytes: u64 = small.iter().filter(of_kind).map(|w| w.used_bytes).sum();
        if bytes < PACK_BYTES as u64 / 2 {
            kinds.remove(&kind);
        }
    }
    let (join, leave): (Vec<_>, Vec<_>) =
        small.drain(..).partition(|w| w.used.first().is_some_and(|b| kinds.contains(&b.kind)));
    rest.extend(leave);
    (join, rest)
}
