//! Which blob lies where: index files as stored, and the table of all of them in memory.
//!
//! In memory a blob takes 48 bytes in an array sorted by id, and about one byte in a table that
//! leads from the id's first bits to the few entries that begin with them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::FileKind;
use rayon::slice::ParallelSliceMut;
use serde::{Deserialize, Serialize};

use crate::codec::BLOB_BYTES_MAX;
use crate::crypto::OVERHEAD_BYTES;
use crate::format::pack::{BlobKind, PackedBlob};
use crate::id::Id;
use crate::store::{BLOB_MISSING, Store, damaged};

/// Blobs of one index file; restic's figure, it keeps a file below 8 MiB.
pub const FILE_BLOBS_MAX: usize = 50_000;

/// The largest sealed blob in bytes that is read: a data blob has 8 MiB, a tree of millions of
/// entries some hundred.
const SEALED_BYTES_MAX: u32 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct IndexJson {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    supersedes: Vec<Id>,
    packs: Vec<PackJson>,
}

#[derive(Serialize, Deserialize)]
struct PackJson {
    id: Id,
    blobs: Vec<BlobJson>,
}

#[derive(Serialize, Deserialize)]
struct BlobJson {
    id: Id,
    #[serde(rename = "type")]
    kind: KindJson,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncompressed_length: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindJson {
    Data,
    Tree,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The blobs of one pack, as an index lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackBlobs {
    /// The pack file.
    pub id: Id,
    /// Its blobs in the order of their offsets.
    pub blobs: Vec<PackedBlob>,
}

/// Reads an index file's JSON.
pub fn parse(json: &[u8]) -> Result<Vec<PackBlobs>, PortError> {
    let index: IndexJson = serde_json::from_slice(json)
        .map_err(|e| damaged("index is not valid JSON").with_source(e))?;
    let blob = |b: BlobJson| PackedBlob {
        kind: match b.kind {
            KindJson::Data => BlobKind::Data,
            KindJson::Tree => BlobKind::Tree,
        },
        id: b.id,
        offset: b.offset,
        length: b.length,
        uncompressed: b.uncompressed_length,
    };
    let packs: Vec<PackBlobs> = index
        .packs
        .into_iter()
        .map(|p| PackBlobs { id: p.id, blobs: p.blobs.into_iter().map(blob).collect() })
        .collect();
    // Checked here once, so that no reader takes memory or an end that cannot be.
    let sane = |b: &PackedBlob| {
        (b.length as usize) >= OVERHEAD_BYTES
            && b.length <= SEALED_BYTES_MAX
            && b.uncompressed as usize <= BLOB_BYTES_MAX
            && b.offset.checked_add(b.length).is_some()
    };
    match packs.iter().flat_map(|p| &p.blobs).find(|b| !sane(b)) {
        Some(bad) => Err(damaged(format!("index places blob {} where it cannot be", bad.id))),
        None => Ok(packs),
    }
}

/// Writes index files for the given packs and returns their ids.
pub(crate) fn save(store: &Store, packs: &[PackBlobs]) -> Result<Vec<Id>, PortError> {
    let mut files = Vec::new();
    let mut rest = packs;
    while !rest.is_empty() {
        let mut blobs = 0;
        let take = rest
            .iter()
            .take_while(|p| {
                let first = blobs == 0;
                blobs += p.blobs.len();
                first || blobs <= FILE_BLOBS_MAX
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(take);
        files.push(save_one(store, now)?);
        rest = later;
    }
    Ok(files)
}

fn save_one(store: &Store, packs: &[PackBlobs]) -> Result<Id, PortError> {
    let blob = |b: &PackedBlob| BlobJson {
        id: b.id,
        kind: match b.kind {
            BlobKind::Data => KindJson::Data,
            BlobKind::Tree => KindJson::Tree,
        },
        offset: b.offset,
        length: b.length,
        uncompressed_length: b.uncompressed,
    };
    let json = IndexJson {
        supersedes: Vec::new(),
        packs: packs
            .iter()
            .map(|p| PackJson { id: p.id, blobs: p.blobs.iter().map(blob).collect() })
            .collect(),
    };
    let json = serde_json::to_vec(&json)
        .map_err(|e| PortError::terminal("Internal", "index does not serialise").with_source(e))?;
    store.save(FileKind::Index, &json)
}

#[derive(Clone, Copy)]
struct Entry {
    id: Id,
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed: u32,
}

/// All blobs of a repository by id.
#[derive(Clone, Default)]
pub struct Index {
    packs: Vec<Id>,
    data: Table,
    tree: Table,
    files: HashSet<Id>,
}

/// Entries in the order of their ids, and where each stretch of ids begins.
#[derive(Clone, Default)]
struct Table {
    entries: Vec<Entry>,
    /// By the first [`Table::bits`] of an id: the first entry that has them or comes behind; one
    /// more at the end. Empty while there are few entries.
    starts: Vec<u32>,
    bits: u32,
}

impl Table {
    /// Entries of one stretch, where ids are uniform as digests are. An attacker's may crowd
    /// together, and are found by halving.
    const STRETCH: usize = 4;

    /// Makes the table anew for entries that are in order.
    fn lead(&mut self) {
        let (count, bits) =
            (self.entries.len(), (self.entries.len() / Self::STRETCH).max(1).ilog2());
        self.starts.clear();
        self.bits = bits;
        let Ok(end) = u32::try_from(count) else { return };
        if bits == 0 {
            return;
        }
        let stretches = 1usize << bits;
        self.starts.reserve_exact(stretches + 1);
        for (at, entry) in (0..end).zip(&self.entries) {
            let stretch = self.stretch(&entry.id);
            while self.starts.len() <= stretch {
                self.starts.push(at);
            }
        }
        self.starts.resize(stretches + 1, end);
    }

    fn stretch(&self, id: &Id) -> usize {
        (id.prefix() >> (u64::BITS - self.bits)) as usize
    }

    /// Returns the first entry of an id.
    fn find(&self, id: &Id) -> Option<usize> {
        let (low, high) = if self.starts.is_empty() {
            (0, self.entries.len())
        } else {
            let stretch = self.stretch(id);
            (self.starts[stretch] as usize, self.starts[stretch + 1] as usize)
        };
        let at = low + self.entries[low..high].partition_point(|e| e.id < *id);
        (at < high && self.entries[at].id == *id).then_some(at)
    }
}

/// Sorts a list whose first `known` entries are in order already: a backup adds few to many.
fn merge(list: &mut [Entry], known: usize, order: impl Fn(&Entry, &Entry) -> Ordering + Sync) {
    list[known..].par_sort_unstable_by(&order);
    if known == 0 || known == list.len() {
        return;
    }
    let added = list[known..].to_vec();
    let (mut old, mut new) = (known, added.len());
    // From the end, so that no entry is overwritten before it has moved.
    while new > 0 {
        let last = &added[new - 1];
        let at = old + new - 1;
        if old > 0 && order(&list[old - 1], last).is_gt() {
            list[at] = list[old - 1];
            old -= 1;
        } else {
            list[at] = *last;
            new -= 1;
        }
    }
}

impl Index {
    /// Returns this index brought up to the files that are stored at this moment.
    pub(crate) fn refreshed(&self, store: &Store, cancel: &Cancel) -> Result<Self, PortError> {
        let stored: Vec<Id> = store.list(FileKind::Index)?.into_iter().map(|(id, _)| id).collect();
        let kept = stored.iter().filter(|id| self.files.contains(id)).count();
        if kept < self.files.len() {
            return Self::default().with_files(store, &stored, cancel);
        }
        let new: Vec<Id> = stored.into_iter().filter(|id| !self.files.contains(id)).collect();
        if new.is_empty() {
            return Ok(self.clone());
        }
        self.clone().with_files(store, &new, cancel)
    }

    /// Returns whether the stored index files are the ones this index was made of.
    pub(crate) fn is_fresh(&self, store: &Store) -> Result<bool, PortError> {
        let stored = store.list(FileKind::Index)?;
        Ok(stored.len() == self.files.len() && stored.iter().all(|(id, _)| self.files.contains(id)))
    }

    fn with_files(
        mut self,
        store: &Store,
        files: &[Id],
        cancel: &Cancel,
    ) -> Result<Self, PortError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let threads = store.storage.connections().min(files.len()).max(1);
        let (known_data, known_tree) = self.counts();
        let whole = Mutex::new(&mut self);
        // Each file goes into the table when it is read: all of them as read would take twice the
        // table's memory.
        let work = || -> Result<(), PortError> {
            loop {
                cancel.check()?;
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(id) = files.get(at) else { return Ok(()) };
                let json = store.load_listed(FileKind::Index, id)?;
                let packs = parse(&json)
                    .map_err(|e| damaged(format!("index {id} is damaged")).with_source(e))?;
                drop(json);
                let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
                whole.files.insert(*id);
                packs.into_iter().for_each(|pack| whole.add(pack));
            }
        };
        let done: Vec<Result<(), PortError>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(crate::join).collect()
        });
        done.into_iter().collect::<Result<(), _>>()?;
        self.sort(known_data, known_tree);
        Ok(self)
    }

    fn add(&mut self, pack: PackBlobs) {
        let number = self.packs.len() as u32;
        self.packs.push(pack.id);
        for b in pack.blobs {
            let entry = Entry {
                id: b.id,
                pack: number,
                offset: b.offset,
                length: b.length,
                uncompressed: b.uncompressed,
            };
            match b.kind {
                BlobKind::Data => self.data.entries.push(entry),
                BlobKind::Tree => self.tree.entries.push(entry),
            }
        }
    }

    /// Puts the entries added since the lists had the given lengths into their places.
    fn sort(&mut self, known_data: usize, known_tree: usize) {
        let packs = &self.packs;
        // By id; places of the same blob by pack and offset.
        let order = |a: &Entry, b: &Entry| {
            let place = |e: &Entry| (packs[e.pack as usize], e.offset);
            a.id.cmp(&b.id).then_with(|| place(a).cmp(&place(b)))
        };
        for (table, known) in [(&mut self.data, known_data), (&mut self.tree, known_tree)] {
            merge(&mut table.entries, known, order);
            table.entries.dedup_by(|a, b| order(a, b).is_eq());
            table.lead();
        }
    }

    /// Adds packs that were written and indexed in the given files.
    pub(crate) fn extend(&mut self, files: &[Id], packs: Vec<PackBlobs>) {
        self.files.extend(files);
        let (known_data, known_tree) = self.counts();
        for pack in packs {
            self.add(pack);
        }
        self.sort(known_data, known_tree);
    }

    fn table(&self, kind: BlobKind) -> &Table {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.tree,
        }
    }

    fn place(&self, kind: BlobKind, e: &Entry) -> (Id, PackedBlob) {
        let blob = PackedBlob {
            kind,
            id: e.id,
            offset: e.offset,
            length: e.length,
            uncompressed: e.uncompressed,
        };
        (self.packs[e.pack as usize], blob)
    }

    /// Returns whether a blob is there.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.table(kind).find(id).is_some()
    }

    /// Returns where a blob lies: its pack and its place in it.
    pub fn get(&self, kind: BlobKind, id: &Id) -> Option<(Id, PackedBlob)> {
        let table = self.table(kind);
        table.find(id).map(|at| self.place(kind, &table.entries[at]))
    }

    /// Returns where a blob lies, or an error that names it.
    pub fn locate(&self, kind: BlobKind, id: &Id) -> Result<(Id, PackedBlob), PortError> {
        self.get(kind, id).ok_or_else(|| {
            let what = if kind == BlobKind::Tree { "tree" } else { "data" };
            PortError::terminal(BLOB_MISSING, format!("{what} blob {id} is in no index"))
        })
    }

    /// Returns all places of a blob that is stored more than once.
    pub fn places(&self, kind: BlobKind, id: &Id) -> Vec<(Id, PackedBlob)> {
        let table = self.table(kind);
        let Some(at) = table.find(id) else { return Vec::new() };
        table.entries[at..]
            .iter()
            .take_while(|e| e.id == *id)
            .map(|e| self.place(kind, e))
            .collect()
    }

    /// Returns the number of places of data blobs and of tree blobs.
    pub fn counts(&self) -> (usize, usize) {
        (self.data.entries.len(), self.tree.entries.len())
    }

    /// Calls `each` with every place of every blob, by kind and id.
    pub fn for_each(&self, mut each: impl FnMut(&Id, &PackedBlob)) {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for e in &self.table(kind).entries {
                let (pack, blob) = self.place(kind, e);
                each(&pack, &blob);
            }
        }
    }

    /// Returns all packs with their blobs in order of offset, sorted by pack id.
    pub fn packs(&self) -> Vec<PackBlobs> {
        let mut by_pack: HashMap<Id, Vec<PackedBlob>> = HashMap::new();
        self.for_each(|pack, blob| by_pack.entry(*pack).or_default().push(*blob));
        for id in &self.packs {
            by_pack.entry(*id).or_default();
        }
        let mut packs: Vec<PackBlobs> =
            by_pack.into_iter().map(|(id, blobs)| PackBlobs { id, blobs }).collect();
        for pack in &mut packs {
            pack.blobs.sort_unstable_by_key(|b| b.offset);
        }
        packs.sort_unstable_by_key(|p| p.id);
        packs
    }

    /// Returns the index files that this table was made of.
    pub fn files(&self) -> &HashSet<Id> {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn finds_like_a_map(ids in proptest::collection::vec(any::<[u8; 2]>(), 0..600), spread in any::<bool>()) {
            // Spread ids look like digests; the others crowd together as an attacker's might.
            let make = |b: [u8; 2]| if spread { Id::of(&b) } else {
                let mut id = [0; 32];
                id[30..].copy_from_slice(&b);
                Id(id)
            };
            let mut index = Index::default();
            let mut model = HashSet::new();
            let known = ids.len() / 3;
            for (i, b) in ids.iter().enumerate() {
                if i == known {
                    index.sort(0, 0);
                }
                let blob = PackedBlob { kind: BlobKind::Data, id: make(*b), offset: i as u32, length: 40, uncompressed: 0 };
                model.insert(blob.id);
                index.add(PackBlobs { id: Id([1; 32]), blobs: vec![blob] });
            }
            // The first third is in order by now, the rest joins it.
            index.sort(known, 0);
            prop_assert!(index.data.entries.is_sorted_by_key(|e| (e.id, e.offset)));
            prop_assert_eq!(index.data.entries.len(), ids.len());
            for b in 0..=u16::MAX / 16 {
                let id = make(b.to_le_bytes());
                prop_assert_eq!(index.has(BlobKind::Data, &id), model.contains(&id));
            }
            for id in &model {
                prop_assert!(index.has(BlobKind::Data, id));
                prop_assert!(!index.has(BlobKind::Tree, id));
            }
        }

        #[test]
        fn parsing_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&data);
        }
    }
}
