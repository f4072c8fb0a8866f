//! Snapshots as one read-only file system of numbered nodes, for a mount: folders of the caller's
//! choice, below them the snapshots' trees, read when they are looked at.
//!
//! No lock is held: a mount may stay for days. What a prune moves meanwhile is found in its new
//! place; what it removes gives an error when it is read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Entry, EntryKind, FileTime, Owner};
use model::ports::storage::NOT_FOUND;

use crate::codec::Codec;
use crate::format::node::{self, Node, name_problem};
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::index::Index;
use crate::repo::Repository;
use crate::store::BLOB_MISSING;

/// The number of the topmost folder.
pub const ROOT: u64 = 1;
/// Directories whose entries are kept in memory.
const TREES_KEPT_MAX: usize = 512;
/// Files whose pieces' places are kept in memory.
const FILES_KEPT_MAX: usize = 64;
/// Bytes of file content that are kept in memory.
const CONTENT_KEPT_BYTES_MAX: usize = 32 << 20;

/// Where a snapshot is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// The folders from the top, each one path component; the last is the snapshot's own.
    pub path: Vec<Vec<u8>>,
    /// Which.
    pub snapshot: Id,
}

/// A node with its number.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number, good until it is forgotten as often as it was found.
    pub number: u64,
    /// Its metadata; the name of a folder of ours is empty.
    pub entry: Entry,
}

/// What a node is.
#[derive(Clone)]
enum Place {
    /// A folder of ours.
    Shelf(Arc<Folder>),
    /// A snapshot's root, of this tree.
    Root(Id, FileTime),
    /// Something in the snapshot of the tree that is named first.
    Inside(Id, Arc<Node>),
}

/// What several names of one file have in common: the snapshot's tree, device, inode.
type Link = (Id, u64, u64);

/// A folder of ours.
#[derive(Default)]
struct Folder {
    below: BTreeMap<Vec<u8>, Child>,
    time: FileTime,
}

enum Child {
    Folder(Arc<Folder>),
    Snapshot(Id, FileTime),
}

/// A folder while the shelves are put up.
#[derive(Default)]
struct Plan {
    below: BTreeMap<Vec<u8>, PlanChild>,
}

enum PlanChild {
    Folder(Plan),
    Snapshot(Id, FileTime),
}

struct Known {
    place: Place,
    /// Folders and names that lead to it.
    names: Vec<(u64, Vec<u8>)>,
    found: u64,
}

/// Nodes by number.
struct Numbers {
    known: HashMap<u64, Known>,
    by_name: HashMap<(u64, Vec<u8>), u64>,
    by_link: HashMap<Link, u64>,
    next: u64,
}

/// What was read last, by blob.
struct Kept<T> {
    items: VecDeque<(Id, Arc<T>)>,
}

impl Numbers {
    /// Returns the number of what a name leads to, and counts the finding. All names of one file in
    /// one snapshot lead to the same.
    fn found(&mut self, place: Place, name: (u64, Vec<u8>)) -> u64 {
        let link = place.link();
        let linked = link.and_then(|link| self.by_link.get(&link).copied());
        let number = self.by_name.get(&name).copied().or(linked).unwrap_or(self.next);
        if number == self.next {
            self.next += 1;
            self.known.insert(number, Known { place, names: Vec::new(), found: 0 });
            if let Some(link) = link {
                self.by_link.insert(link, number);
            }
        }
        if let Some(known) = self.known.get_mut(&number) {
            known.found += 1;
            if self.by_name.insert(name.clone(), number).is_none() {
                known.names.push(name);
            }
        }
        number
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { items: VecDeque::new() }
    }
}

impl<T> Kept<T> {
    fn get(&mut self, id: &Id) -> Option<Arc<T>> {
        let at = self.items.iter().position(|(known, _)| known == id)?;
        let hit = self.items.remove(at)?;
        let value = Arc::clone(&hit.1);
        self.items.push_front(hit);
        Some(value)
    }
}

/// The file system.
pub struct Browser {
    repository: Arc<Repository>,
    index: RwLock<Arc<Index>>,
    numbers: Mutex<Numbers>,
    trees: Mutex<Kept<Vec<Arc<Node>>>>,
    content: Mutex<Kept<Vec<u8>>>,
    /// Where each piece of a file ends in it, by the file's number.
    ends: Mutex<VecDeque<(u64, Arc<Vec<u64>>)>>,
    /// Those that nobody uses at the moment.
    codecs: Mutex<Vec<Codec>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing() -> PortError {
    PortError::terminal(NOT_FOUND, "there is nothing of that name")
}

fn not_of_kind(what: &str) -> PortError {
    PortError::terminal("WrongKind", format!("it is no {what}"))
}

impl Plan {
    fn put(&mut self, path: &[Vec<u8>], id: Id, time: FileTime) -> Result<(), PortError> {
        let Some((name, rest)) = path.split_first() else { return Ok(()) };
        if let Some(why) = name_problem(name) {
            let shown = name.escape_ascii();
            return Err(PortError::terminal("BadShelf", format!("{shown}: {why}")));
        }
        if rest.is_empty() {
            self.below.entry(name.clone()).or_insert(PlanChild::Snapshot(id, time));
            return Ok(());
        }
        let child = self.below.entry(name.clone());
        match child.or_insert_with(|| PlanChild::Folder(Self::default())) {
            PlanChild::Folder(folder) => folder.put(rest, id, time),
            PlanChild::Snapshot(..) => {
                let shown = name.escape_ascii();
                Err(PortError::terminal("BadShelf", format!("{shown} is a snapshot and a folder")))
            }
        }
    }

    fn finish(self) -> Arc<Folder> {
        let mut folder = Folder::default();
        for (name, child) in self.below {
            let (child, time) = match child {
                PlanChild::Folder(plan) => {
                    let below = plan.finish();
                    let time = below.time;
                    (Child::Folder(below), time)
                }
                PlanChild::Snapshot(id, time) => (Child::Snapshot(id, time), time),
            };
            folder.time = folder.time.max(time);
            folder.below.insert(name, child);
        }
        Arc::new(folder)
    }
}

fn folder_entry(time: FileTime) -> Entry {
    Entry {
        name: Vec::new(),
        kind: EntryKind::Directory,
        mode: 0o755,
        mtime: time,
        atime: time,
        ctime: time,
        owner: Owner::default(),
        inode: 0,
        device: 0,
        links: 1,
        size: 0,
        rdev: 0,
        link_target: Vec::new(),
        xattrs: Vec::new(),
    }
}

impl Place {
    fn entry(&self) -> Entry {
        match self {
            Self::Shelf(folder) => folder_entry(folder.time),
            Self::Root(_, time) => folder_entry(*time),
            Self::Inside(_, node) => node.entry.clone(),
        }
    }

    fn link(&self) -> Option<Link> {
        let Self::Inside(tree, node) = self else { return None };
        let entry = &node.entry;
        let linked = entry.links > 1 && entry.inode != 0 && entry.kind != EntryKind::Directory;
        linked.then_some((*tree, entry.device, entry.inode))
    }
}

impl Browser {
    /// Puts snapshots on shelves. A path that is taken keeps its first snapshot.
    pub fn new(
        repository: Arc<Repository>,
        shelves: &[Shelf],
        cancel: &Cancel,
    ) -> Result<Self, PortError> {
        let mut plan = Plan::default();
        for shelf in shelves {
            let snapshot = repository.snapshot(&shelf.snapshot)?;
            let time = FileTime {
                seconds: snapshot.time.as_second(),
                nanos: u32::try_from(snapshot.time.subsec_nanosecond()).unwrap_or(0),
            };
            plan.put(&shelf.path, snapshot.tree, time)?;
        }
        let index = repository.index(cancel)?;
        let root = Known { place: Place::Shelf(plan.finish()), names: Vec::new(), found: 1 };
        let numbers = Numbers {
            known: HashMap::from([(ROOT, root)]),
            by_name: HashMap::new(),
            by_link: HashMap::new(),
            next: ROOT + 1,
        };
        Ok(Self {
            repository,
            index: RwLock::new(index),
            numbers: Mutex::new(numbers),
            trees: Mutex::default(),
            content: Mutex::default(),
            ends: Mutex::default(),
            codecs: Mutex::default(),
        })
    }

    fn place(&self, number: u64) -> Result<Place, PortError> {
        lock(&self.numbers).known.get(&number).map(|k| k.place.clone()).ok_or_else(missing)
    }

    /// Returns a node's metadata.
    pub fn entry(&self, number: u64) -> Result<Entry, PortError> {
        Ok(self.place(number)?.entry())
    }

    /// Finds a name in a folder, and counts the finding.
    pub fn find(&self, folder: u64, name: &[u8]) -> Result<Found, PortError> {
        let place = match self.place(folder)? {
            Place::Shelf(shelf) => match shelf.below.get(name).ok_or_else(missing)? {
                Child::Folder(below) => Place::Shelf(Arc::clone(below)),
                Child::Snapshot(id, time) => Place::Root(*id, *time),
            },
            other => {
                let nodes = self.nodes(&other)?;
                let node = nodes.iter().find(|n| n.entry.name == name).ok_or_else(missing)?;
                let tree = match other {
                    Place::Root(tree, _) | Place::Inside(tree, _) => tree,
                    Place::Shelf(_) => return Err(missing()),
                };
                Place::Inside(tree, Arc::clone(node))
            }
        };
        let entry = place.entry();
        Ok(Found { number: lock(&self.numbers).found(place, (folder, name.to_vec())), entry })
    }

    /// Takes findings back; a node that is found no more gives its memory back.
    pub fn forget(&self, number: u64, times: u64) {
        let mut numbers = lock(&self.numbers);
        let Some(known) = numbers.known.get_mut(&number) else { return };
        known.found = known.found.saturating_sub(times);
        if known.found == 0 && number != ROOT {
            let Some(known) = numbers.known.remove(&number) else { return };
            for name in &known.names {
                numbers.by_name.remove(name);
            }
            if let Some(link) = known.place.link() {
                numbers.by_link.remove(&link);
            }
        }
    }

    /// Lists a folder in order of the names.
    pub fn list(&self, folder: u64) -> Result<Vec<(Vec<u8>, EntryKind)>, PortError> {
        match self.place(folder)? {
            Place::Shelf(shelf) => {
                Ok(shelf.below.keys().map(|n| (n.clone(), EntryKind::Directory)).collect())
            }
            other => {
                let nodes = self.nodes(&other)?;
                let named = nodes.iter().filter(|n| name_problem(&n.entry.name).is_none());
                Ok(named.map(|n| (n.entry.name.clone(), n.entry.kind)).collect())
            }
        }
    }

    /// Reads from a file; fewer bytes than asked for only at its end.
    pub fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, PortError> {
        let Place::Inside(_, node) = self.place(file)? else { return Err(not_of_kind("file")) };
        if node.entry.kind != EntryKind::File {
            return Err(not_of_kind("file"));
        }
        let ends = self.ends(file, &node)?;
        let mut out = Vec::new();
        let end = offset.saturating_add(length as u64);
        let first = ends.partition_point(|piece_ends| *piece_ends <= offset);
        for (id, piece) in node.content.iter().zip(0..).skip(first) {
            let at = if piece == 0 { 0 } else { ends[piece - 1] };
            if at >= end {
                break;
            }
            let plain = self.blob(id)?;
            let from = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
            let to = usize::try_from(end - at).unwrap_or(usize::MAX).min(plain.len());
            out.extend_from_slice(plain.get(from..to).unwrap_or_default());
        }
        Ok(out)
    }

    /// Returns where each piece of a file ends in it.
    fn ends(&self, file: u64, node: &Node) -> Result<Arc<Vec<u64>>, PortError> {
        if let Some((_, known)) = lock(&self.ends).iter().find(|(number, _)| *number == file) {
            return Ok(Arc::clone(known));
        }
        let (mut at, mut ends) = (0, Vec::with_capacity(node.content.len()));
        for id in &node.content {
            at += u64::from(self.length(id)?);
            ends.push(at);
        }
        let ends = Arc::new(ends);
        let mut kept = lock(&self.ends);
        kept.push_front((file, Arc::clone(&ends)));
        kept.truncate(FILES_KEPT_MAX);
        Ok(ends)
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks for a blob; when it is not where it was, once more in what is stored at this moment.
    fn anew<T>(
        &self,
        mut look: impl FnMut(&Index) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        match look(&self.index()) {
            Err(e) if e.reason == NOT_FOUND || e.reason == BLOB_MISSING => {
                let fresh = self.repository.index(&Cancel::default())?;
                *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
                look(&fresh)
            }
            other => other,
        }
    }

    fn length(&self, id: &Id) -> Result<u32, PortError> {
        self.anew(|index| Ok(index.locate(BlobKind::Data, id)?.1.plain_length()))
    }

    fn load(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>, PortError> {
        let spare = lock(&self.codecs).pop();
        let mut codec = match spare {
            Some(codec) => codec,
            None => Codec::new(self.repository.store.level)?,
        };
        let loaded = self.load_with(&mut codec, kind, id);
        lock(&self.codecs).push(codec);
        loaded
    }

    fn load_with(&self, codec: &mut Codec, kind: BlobKind, id: &Id) -> Result<Vec<u8>, PortError> {
        self.anew(|index| {
            let (mut plain, mut first) = (Vec::new(), None);
            for (pack, blob) in index.places(kind, id) {
                match self.repository.store.load_blob(&pack, &blob, codec, &mut plain) {
                    Ok(()) => return Ok(plain),
                    Err(e) => first = first.or(Some(e)),
                }
            }
            match first {
                Some(e) => Err(e),
                None => index.locate(kind, id).map(|_| plain),
            }
        })
    }

    fn blob(&self, id: &Id) -> Result<Arc<Vec<u8>>, PortError> {
        if let Some(known) = lock(&self.content).get(id) {
            return Ok(known);
        }
        let plain = Arc::new(self.load(BlobKind::Data, id)?);
        let mut kept = lock(&self.content);
        kept.items.push_front((*id, Arc::clone(&plain)));
        let mut total: usize = kept.items.iter().map(|(_, p)| p.len()).sum();
        while total > CONTENT_KEPT_BYTES_MAX && kept.items.len() > 1 {
            total -= kept.items.pop_back().map_or(0, |(_, p)| p.len());
        }
        Ok(plain)
    }

    /// Returns what a directory of a snapshot holds.
    fn nodes(&self, place: &Place) -> Result<Arc<Vec<Arc<Node>>>, PortError> {
        let tree = match place {
            Place::Shelf(_) => None,
            Place::Root(tree, _) => Some(*tree),
            Place::Inside(_, node) => node.subtree,
        };
        let tree = tree.ok_or_else(|| not_of_kind("folder"))?;
        if let Some(known) = lock(&self.trees).get(&tree) {
            return Ok(known);
        }
        let plain = self.load(BlobKind::Tree, &tree)?;
        let nodes = Arc::new(node::parse(&plain)?.into_iter().map(Arc::new).collect::<Vec<_>>());
        let mut kept = lock(&self.trees);
        kept.items.push_front((tree, Arc::clone(&nodes)));
        kept.items.truncate(TREES_KEPT_MAX);
        Ok(nodes)
    }
}
