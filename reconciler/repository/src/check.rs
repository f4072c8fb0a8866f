//! Checking: that everything a snapshot needs is there (structure), and that stored bytes are what
//! was written (reading of a part or of all data). What could not be looked at is an error of the
//! check, never a pass.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::EntryKind;
use model::ports::storage::FileKind;
use model::progress::ProgressSink;
use mover::pages::PageBuffer;

use crate::affected::{self, Affected};
use crate::codec::Codec;
use crate::format::pack::{self, BlobKind, PackedBlob};
use crate::id::Id;
use crate::index::{Index, PackBlobs};
use crate::progress::Meter;
use crate::repo::Repository;
use crate::store::{Store, damaged};
use crate::treecache::TreeCache;

/// Faults that are kept by name.
const FAULTS_MAX: usize = 10_000;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Indexes, snapshots and trees; that every pack is there with the right size.
    Structure,
    /// Besides, all bytes of one of `of` parts of the packs: part 1 to `of`, chosen by pack id, so
    /// that taking each part in turn reads all.
    Part {
        /// Which part, from 1.
        part: u32,
        /// How many parts there are.
        of: u32,
    },
    /// Besides, all bytes of all packs.
    All,
}

/// What is checked.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// How much is read.
    pub depth: Depth,
    /// Only what these snapshots need; empty for all snapshots and all packs.
    pub snapshots: Vec<Id>,
    /// Threads that read; 0 for one per processor, or five where the storage takes as many at once.
    pub threads: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A stable word: `PackMissing`, `PackDamaged`, `BlobMissing`, `TreeDamaged`…
    pub reason: &'static str,
    /// The pack, where one is concerned.
    pub pack: Option<Id>,
    /// The blob, where one is concerned.
    pub blob: Option<Id>,
    /// Snapshot and path that need it, where known.
    pub needed_by: Option<(Id, Vec<u8>)>,
    /// What was found, in words.
    pub message: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Everything that is wrong; empty means that what was looked at is whole.
    pub faults: Vec<Fault>,
    /// Faults above the bound, not listed.
    pub faults_unlisted: u64,
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Trees looked into.
    pub trees: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Their size in bytes.
    pub bytes_read: u64,
    /// Packs that no index names: harmless, left by work that broke off.
    pub packs_unindexed: u64,
    /// Blobs stored more than once: harmless.
    pub blobs_twice: u64,
    /// The files of the snapshots that were looked at which the faults cost.
    pub affected: Vec<Affected>,
}

impl CheckReport {
    /// Returns whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// One thread's memory, kept from pack to pack.
struct Scratch {
    codec: Codec,
    data: PageBuffer,
    plain: Vec<u8>,
}

struct Checker<'c> {
    store: &'c Store,
    index: &'c Index,
    meter: &'c Meter<'c>,
    cancel: &'c Cancel,
    report: Mutex<CheckReport>,
}

/// The blobs that snapshots need, each with the first snapshot and path that needs it where faults
/// are to be named.
pub(crate) type Used = HashSet<(BlobKind, Id)>;

impl Repository {
    /// Checks the repository, or what some of its snapshots need.
    pub fn check(
        &self,
        options: &CheckOptions,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<CheckReport, PortError> {
        if let Depth::Part { part, of } = options.depth
            && (of == 0 || part == 0 || part > of)
        {
            return Err(PortError::terminal("BadPart", format!("{part}/{of} is no part")));
        }
        if let Some(stored) = self.uncached()? {
            return stored.check(options, progress, cancel);
        }
        let meter = Meter::new(progress);
        let _lock = self.lock(false, cancel)?;
        meter.phase("index");
        let index = self.index(cancel)?;
        let checker = Checker {
            store: &self.store,
            index: &index,
            meter: &meter,
            cancel,
            report: Mutex::default(),
        };
        let snapshots = if options.snapshots.is_empty() {
            self.snapshots()?
        } else {
            options.snapshots.iter().map(|id| self.snapshot(id)).collect::<Result<_, _>>()?
        };
        meter.phase("packs");
        let mut packs: HashMap<Id, Vec<PackedBlob>> =
            index.packs().into_iter().map(|p| (p.id, p.blobs)).collect();
        let whole = options.snapshots.is_empty();
        meter.phase("trees");
        let used = checker.trees(&snapshots)?;
        if !whole {
            let needed: HashSet<Id> =
                used.iter().filter_map(|(kind, id)| index.get(*kind, id)).map(|(p, _)| p).collect();
            packs.retain(|id, _| needed.contains(id));
        }
        let stored = checker.packs(&packs, whole)?;
        meter.phase("data");
        let mut read: Vec<(PackBlobs, u64)> = packs
            .into_iter()
            .filter(|(id, _)| match options.depth {
                Depth::Structure => false,
                Depth::Part { part, of } => id.prefix() % u64::from(of) == u64::from(part - 1),
                Depth::All => true,
            })
            .filter_map(|(id, blobs)| stored.get(&id).map(|size| (PackBlobs { id, blobs }, *size)))
            .collect();
        read.sort_by_key(|(p, _)| p.id);
        checker.data(&read, options.threads)?;
        meter.report();
        let mut report = checker.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !report.faults.is_empty() {
            name_files(&self.store, &index, &snapshots, &mut report.faults, cancel)?;
            let lost = lost_blobs(&index, &report.faults);
            report.affected = affected::find(&self.store, &index, &snapshots, &lost, cancel)?;
        }
        Ok(report)
    }
}

/// Returns the blobs that the faults cost: those named, and all of packs that are gone.
fn lost_blobs(index: &Index, faults: &[Fault]) -> HashSet<(BlobKind, Id)> {
    let named: HashSet<Id> = faults.iter().filter_map(|f| f.blob).collect();
    let gone: HashSet<Id> =
        faults.iter().filter(|f| f.reason == "PackMissing").filter_map(|f| f.pack).collect();
    let mut lost = HashSet::new();
    for id in &named {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            lost.insert((kind, *id));
        }
    }
    index.for_each(|pack, blob| {
        if gone.contains(pack) {
            lost.insert((blob.kind, blob.id));
        }
    });
    lost
}

/// Finds for each damaged blob a snapshot and path that needs it.
fn name_files(
    store: &Store,
    index: &Index,
    snapshots: &[crate::Snapshot],
    faults: &mut [Fault],
    cancel: &Cancel,
) -> Result<(), PortError> {
    let trees = TreeCache::new(store, index)?;
    let mut wanted: HashMap<Id, Vec<usize>> = HashMap::new();
    for (at, fault) in faults.iter().enumerate().filter(|(_, f)| f.needed_by.is_none()) {
        if let Some(blob) = fault.blob {
            wanted.entry(blob).or_default().push(at);
        }
    }
    let mut seen = HashSet::new();
    // The newest snapshot that needs it says most.
    for snapshot in snapshots.iter().rev() {
        if wanted.is_empty() {
            break;
        }
        let walked = crate::read::walk_tree(&trees, &snapshot.tree, cancel, &mut |path, node| {
            for id in node.content.iter().chain(&node.subtree) {
                for at in wanted.remove(id).unwrap_or_default() {
                    faults[at].needed_by = Some((snapshot.id, path.to_vec()));
                }
            }
            Ok(node.subtree.is_none_or(|id| index.has(BlobKind::Tree, &id) && seen.insert(id)))
        });
        match walked {
            Err(e) if !crate::fetch::is_damage(&e) => return Err(e),
            // What a damaged tree hides cannot be named.
            _ => {}
        }
    }
    Ok(())
}

impl Checker<'_> {
    fn with(&self, change: impl FnOnce(&mut CheckReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn fault(&self, fault: Fault) {
        self.meter.errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.with(|report| {
            if report.faults.len() < FAULTS_MAX {
                report.faults.push(fault);
            } else {
                report.faults_unlisted += 1;
            }
        });
    }

    /// Compares the packs that the index names with those that are stored.
    fn packs(
        &self,
        packs: &HashMap<Id, Vec<PackedBlob>>,
        whole: bool,
    ) -> Result<HashMap<Id, u64>, PortError> {
        let stored: HashMap<Id, u64> = self.store.list(FileKind::Pack)?.into_iter().collect();
        let mut ids: Vec<&Id> = packs.keys().collect();
        ids.sort();
        for id in ids {
            let blobs = &packs[id];
            let fault = |reason, message: String| Fault {
                reason,
                pack: Some(*id),
                blob: blobs.first().map(|b| b.id),
                needed_by: None,
                message,
            };
            let Some(size) = stored.get(id) else {
                self.fault(fault("PackMissing", format!("pack {id} is gone")));
                continue;
            };
            let end = blobs.iter().map(|b| u64::from(b.offset) + u64::from(b.length)).max();
            if end.unwrap_or(0) > *size {
                let what = format!("pack {id} has {size} bytes, its blobs need more");
                self.fault(fault("PackDamaged", what));
            }
        }
        if whole {
            let unindexed = stored.keys().filter(|id| !packs.contains_key(*id)).count();
            let mut last = None;
            let mut twice = 0;
            self.index.for_each(|_, blob| {
                twice += u64::from(last == Some((blob.kind, blob.id)));
                last = Some((blob.kind, blob.id));
            });
            self.with(|r| {
                r.packs_unindexed = unindexed as u64;
                r.blobs_twice = twice;
            });
        }
        Ok(stored)
    }

    /// Walks all trees once and returns what they need.
    fn trees(&self, snapshots: &[crate::Snapshot]) -> Result<Used, PortError> {
        let trees = TreeCache::new(self.store, self.index)?;
        let mut used = Used::new();
        for snapshot in snapshots {
            self.with(|r| r.snapshots += 1);
            let mut todo = vec![(snapshot.tree, Vec::new())];
            while let Some((id, path)) = todo.pop() {
                self.cancel.check()?;
                if !used.insert((BlobKind::Tree, id)) {
                    continue;
                }
                let fault = |reason, blob, path: &[u8], message| Fault {
                    reason,
                    pack: None,
                    blob: Some(blob),
                    needed_by: Some((snapshot.id, path.to_vec())),
                    message,
                };
                let nodes = match trees.load(&id) {
                    Ok(nodes) => nodes,
                    Err(e)
                        if crate::fetch::is_damage(&e)
                            || e.reason == crate::store::BLOB_MISSING =>
                    {
                        let reason = if e.reason == crate::store::BLOB_MISSING {
                            "TreeMissing"
                        } else {
                            "TreeDamaged"
                        };
                        self.fault(fault(reason, id, &path, e.chain()));
                        continue;
                    }
                    Err(e) => return Err(e),
                };
                self.with(|r| r.trees += 1);
                for node in nodes {
                    let mut below = path.clone();
                    below.push(b'/');
                    below.extend_from_slice(&node.entry.name);
                    for blob in &node.content {
                        if used.insert((BlobKind::Data, *blob))
                            && !self.index.has(BlobKind::Data, blob)
                        {
                            let message = format!("data blob {blob} is in no index");
                            self.fault(fault("BlobMissing", *blob, &below, message));
                        }
                    }
                    match (node.entry.kind, node.subtree) {
                        (EntryKind::Directory, Some(subtree)) => todo.push((subtree, below)),
                        (EntryKind::Directory, None) => {
                            let message = "directory without a tree".to_owned();
                            self.fault(fault("TreeDamaged", id, &below, message));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(used)
    }

    /// Reads packs whole: name, header and every blob.
    fn data(&self, packs: &[(PackBlobs, u64)], threads: usize) -> Result<(), PortError> {
        let threads = self.store.readers(threads);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let total: u64 = packs.iter().map(|(_, size)| size).sum();
        self.meter.bytes_total.store(total, std::sync::atomic::Ordering::Relaxed);
        let work = || -> Result<(), PortError> {
            let mut scratch = Scratch {
                codec: Codec::new(self.store.level)?,
                data: PageBuffer::default(),
                plain: Vec::new(),
            };
            loop {
                self.cancel.check()?;
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some((pack, size)) = packs.get(at) else { return Ok(()) };
                self.pack(pack, *size, &mut scratch)?;
                self.meter.done(1, *size);
                self.with(|r| {
                    r.packs_read += 1;
                    r.bytes_read += size;
                });
            }
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(crate::join).collect::<Result<Vec<()>, _>>().map(|_| ())
        })
    }

    fn pack(&self, pack: &PackBlobs, size: u64, scratch: &mut Scratch) -> Result<(), PortError> {
        let fault = |reason, blob: Option<Id>, message| Fault {
            reason,
            pack: Some(pack.id),
            blob,
            needed_by: None,
            message,
        };
        let Scratch { codec, data, plain } = scratch;
        let end = pack.blobs.iter().map(|b| u64::from(b.offset) + u64::from(b.length)).max();
        if size > end.unwrap_or(0) + (pack::HEADER_BYTES_MAX + pack::LENGTH_BYTES) as u64 {
            let message = format!("pack {} has {size} bytes, its blobs need fewer", pack.id);
            self.fault(fault("PackDamaged", pack.blobs.first().map(|b| b.id), message));
            return Ok(());
        }
        let data = &mut data.room(size as usize)[..size as usize];
        match self.store.storage.load_range(FileKind::Pack, &pack.id.hex(), 0, data) {
            Ok(()) => {}
            Err(e) if crate::fetch::is_damage(&e) => {
                self.fault(fault("PackDamaged", pack.blobs.first().map(|b| b.id), e.chain()));
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        // Before the blobs are opened, which works in place.
        let named = Id::of(data) == pack.id;
        let mut faults = 0;
        for blob in &pack.blobs {
            let (from, to) = (blob.offset as usize, blob.offset as usize + blob.length as usize);
            let opened = match data.get_mut(from..to) {
                None => Err(damaged(format!("pack {} ends too early", pack.id))),
                Some(sealed) => {
                    self.store.open_blob(&pack.id, blob, sealed, codec, plain).map(|_| ())
                }
            };
            if let Err(e) = opened {
                if !crate::fetch::is_damage(&e) {
                    return Err(e);
                }
                faults += 1;
                self.fault(fault("BlobDamaged", Some(blob.id), e.chain()));
            }
        }
        if !named && faults == 0 {
            let message = format!("pack {} does not have the content of its name", pack.id);
            self.fault(fault("PackDamaged", None, message));
        }
        match header_of(self.store, data)? {
            Some(header) if header == pack.blobs => {}
            _ if faults > 0 => {}
            _ => {
                let message = format!("pack {} has a header other than its index says", pack.id);
                self.fault(fault("PackDamaged", None, message));
            }
        }
        Ok(())
    }
}

/// Reads the header of a pack that is in memory.
pub(crate) fn header_of(
    store: &Store,
    data: &mut [u8],
) -> Result<Option<Vec<PackedBlob>>, PortError> {
    let size = data.len() as u64;
    let Some(last) = data.last_chunk::<4>() else { return Ok(None) };
    let Some(total) = pack::header_size(*last, size) else { return Ok(None) };
    let from = data.len() - total;
    let to = data.len() - pack::LENGTH_BYTES;
    pack::parse_header(&store.cipher, &mut data[from..to], size)
}
