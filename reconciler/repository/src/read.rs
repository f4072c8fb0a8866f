//! Looking into snapshots: listing, finding, comparing, dumping of files and folders.

use std::io::{self, Write};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{EntryKind, ProblemKind};

use crate::codec::Codec;
use crate::format::node::Node;
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::index::Index;
use crate::repo::Repository;
use crate::store::Store;
use crate::treecache::TreeCache;

/// Directory levels that are followed.
const DEPTH_MAX: usize = 2048;

/// Takes an absolute path and its node; `false` leaves out what is below a directory.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &Node) -> Result<bool, PortError>;

/// Takes a snapshot, an absolute path in it and its node.
pub type Hit<'h> = &'h mut dyn FnMut(&Id, &[u8], &Node) -> Result<(), PortError>;

/// How an item differs between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Its content differs.
    Modified,
    /// Only its metadata differs, access and change time and inode aside.
    Metadata,
    /// It is of another kind.
    Kind,
}

/// One difference between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The absolute path in the snapshots.
    pub path: Vec<u8>,
    /// What differs.
    pub change: Change,
    /// Size in bytes in the first and the second snapshot.
    pub sizes: (u64, u64),
}

/// Opens each directory of a tree in turn and calls `each` with the path and the node; `false` from
/// `each` leaves out what is below a directory.
pub(crate) fn walk_tree(
    trees: &TreeCache<'_>,
    root: &Id,
    cancel: &Cancel,
    each: Visit<'_>,
) -> Result<(), PortError> {
    let mut path = Vec::new();
    let mut stack = vec![(trees.load(root)?.into_iter(), 0)];
    while let Some((nodes, length)) = stack.last_mut() {
        cancel.check()?;
        path.truncate(*length);
        let Some(node) = nodes.next() else {
            stack.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(&node.entry.name);
        let below = each(&path, &node)?;
        if let (true, EntryKind::Directory, Some(subtree)) = (below, node.entry.kind, &node.subtree)
        {
            if stack.len() >= DEPTH_MAX {
                let shown = path.escape_ascii();
                return Err(PortError::terminal("TooDeep", format!("{shown} is too deep")));
            }
            stack.push((trees.load(subtree)?.into_iter(), path.len()));
        }
    }
    Ok(())
}

/// Goes down a tree along a path and returns the node; `None` for the root itself.
pub(crate) fn find_node(
    trees: &TreeCache<'_>,
    root: &Id,
    path: &[u8],
) -> Result<Option<Node>, PortError> {
    let mut tree = *root;
    let mut found: Option<Node> = None;
    let mut sofar = Vec::new();
    for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".") {
        let missing = |shown: &[u8], why: &str| {
            let shown = shown.escape_ascii();
            PortError::terminal("PathMissing", format!("{shown} {why} in the snapshot"))
        };
        if let Some(node) = &found {
            tree = node.subtree.ok_or_else(|| missing(&sofar, "is no directory"))?;
        }
        sofar.push(b'/');
        sofar.extend_from_slice(part);
        let node = trees.load(&tree)?.into_iter().find(|n| n.entry.name == part);
        found = Some(node.ok_or_else(|| missing(&sofar, "is not"))?);
    }
    Ok(found)
}

/// Writes a file's content in order.
fn write_content(
    store: &Store,
    index: &Index,
    content: &[Id],
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<u64, PortError> {
    let mut codec = Codec::new(store.level)?;
    let mut plain = Vec::new();
    let mut total = 0;
    for id in content {
        cancel.check()?;
        let mut first = None;
        let places = index.places(BlobKind::Data, id);
        if places.is_empty() {
            index.locate(BlobKind::Data, id)?;
        }
        let found = places.iter().any(|(pack, blob)| {
            match store.load_blob(pack, blob, &mut codec, &mut plain) {
                Ok(()) => true,
                Err(e) => {
                    first = first.take().or(Some(e));
                    false
                }
            }
        });
        if !found {
            return Err(first.unwrap_or_else(PortError::cancelled));
        }
        out.write_all(&plain).map_err(output_failed)?;
        total += plain.len() as u64;
    }
    Ok(total)
}

fn output_failed(e: io::Error) -> PortError {
    PortError::terminal("OutputFailed", "the output cannot be written").with_source(e)
}

impl Repository {
    /// Calls `each` for every item of a snapshot in order, with its absolute path. `false` from
    /// `each` leaves out what is below a directory.
    pub fn ls(&self, snapshot: &Id, cancel: &Cancel, each: Visit<'_>) -> Result<(), PortError> {
        let _lock = self.lock(false, cancel)?;
        let snapshot = self.snapshot(snapshot)?;
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        walk_tree(&trees, &snapshot.tree, cancel, each)
    }

    /// Finds items by exclusion-style patterns in the given snapshots and calls `each` with the
    /// snapshot, the path and the node.
    pub fn find(
        &self,
        snapshots: &[Id],
        patterns: &[String],
        cancel: &Cancel,
        each: Hit<'_>,
    ) -> Result<(), PortError> {
        let patterns = mover::pattern::Patterns::new(patterns.iter().map(String::as_str));
        for id in snapshots {
            self.ls(id, cancel, &mut |path, node| {
                let parts: Vec<&[u8]> = path.split(|b| *b == b'/').skip(1).collect();
                let hit = patterns.excluded(&parts);
                if hit {
                    each(id, path, node)?;
                }
                // What is below a hit is named by it.
                Ok(!hit)
            })?;
        }
        Ok(())
    }

    /// Writes one file of a snapshot and returns its length in bytes.
    pub fn dump(
        &self,
        snapshot: &Id,
        path: &[u8],
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<u64, PortError> {
        // Databases are brought back through this: as a restore, it proves what is stored.
        if let Some(stored) = self.uncached()? {
            return stored.dump(snapshot, path, out, cancel);
        }
        let _lock = self.lock(false, cancel)?;
        let snapshot = self.snapshot(snapshot)?;
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        let node = find_node(&trees, &snapshot.tree, path)?;
        let Some(node) = node.filter(|n| n.entry.kind == EntryKind::File) else {
            let shown = path.escape_ascii();
            return Err(PortError::terminal("NotAFile", format!("{shown} is no file")));
        };
        let written = write_content(&self.store, &index, &node.content, out, cancel)?;
        out.flush().map_err(output_failed)?;
        Ok(written)
    }

    /// Writes a folder of a snapshot as a tar archive (POSIX pax), `/` for all of it. Returns the
    /// items that the format cannot hold.
    pub fn dump_tar(
        &self,
        snapshot: &Id,
        path: &[u8],
        out: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<Vec<model::ports::mover::Problem>, PortError> {
        if let Some(stored) = self.uncached()? {
            return stored.dump_tar(snapshot, path, out, cancel);
        }
        let _lock = self.lock(false, cancel)?;
        let snapshot = self.snapshot(snapshot)?;
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        let root = match find_node(&trees, &snapshot.tree, path)? {
            None => snapshot.tree,
            Some(node) => node.subtree.ok_or_else(|| {
                let shown = path.escape_ascii();
                PortError::terminal("NotAFolder", format!("{shown} is no folder"))
            })?,
        };
        let mut left_out = Vec::new();
        walk_tree(&trees, &root, cancel, &mut |path, node| {
            if node.entry.kind == EntryKind::Socket {
                left_out.push(model::ports::mover::Problem {
                    path: path.to_vec(),
                    kind: ProblemKind::Refused,
                    message: "tar holds no sockets".to_owned(),
                });
                return Ok(true);
            }
            let header = crate::tar::header(&path[1..], &node.entry);
            out.write_all(&header).map_err(output_failed)?;
            if node.entry.kind == EntryKind::File {
                let size = write_content(&self.store, &index, &node.content, out, cancel)?;
                if size != node.entry.size {
                    let shown = path.escape_ascii();
                    let what =
                        format!("{shown} has {size} bytes, its entry says {}", node.entry.size);
                    return Err(crate::store::damaged(what));
                }
                out.write_all(crate::tar::padding(size)).map_err(output_failed)?;
            }
            Ok(true)
        })?;
        out.write_all(&[0; 1024]).and_then(|()| out.flush()).map_err(output_failed)?;
        Ok(left_out)
    }

    /// Compares two snapshots and calls `each` with each difference, in order of path. Trees with
    /// the same id are equal and not looked into.
    pub fn diff(
        &self,
        first: &Id,
        second: &Id,
        cancel: &Cancel,
        each: &mut dyn FnMut(Difference) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let _lock = self.lock(false, cancel)?;
        let (a, b) = (self.snapshot(first)?, self.snapshot(second)?);
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        let mut differ = Differ { trees: &trees, cancel, each };
        differ.trees(Some(&a.tree), Some(&b.tree), &mut Vec::new(), 0)
    }
}

struct Differ<'d> {
    trees: &'d TreeCache<'d>,
    cancel: &'d Cancel,
    each: &'d mut dyn FnMut(Difference) -> Result<(), PortError>,
}

impl Differ<'_> {
    fn load(&self, id: Option<&Id>) -> Result<Vec<Node>, PortError> {
        let mut nodes = id.map_or_else(|| Ok(Vec::new()), |id| self.trees.load(id))?;
        nodes.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        Ok(nodes)
    }

    fn trees(
        &mut self,
        a: Option<&Id>,
        b: Option<&Id>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), PortError> {
        self.cancel.check()?;
        if a == b {
            return Ok(());
        }
        // Recursion, so bounded well below the stack; real paths are shorter.
        if depth > 512 {
            let shown = path.escape_ascii();
            return Err(PortError::terminal("TooDeep", format!("{shown} is too deep")));
        }
        let (left, right) = (self.load(a)?, self.load(b)?);
        let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
        loop {
            let order = match (l.peek(), r.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(x), Some(y)) => x.entry.name.cmp(&y.entry.name),
            };
            let x = if order.is_le() { l.next() } else { None };
            let y = if order.is_ge() { r.next() } else { None };
            self.pair(x, y, path, depth)?;
        }
    }

    fn pair(
        &mut self,
        x: Option<&Node>,
        y: Option<&Node>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), PortError> {
        let Some(any) = x.or(y) else { return Ok(()) };
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(&any.entry.name);
        let change = match (x, y) {
            (Some(_), None) => Some(Change::Removed),
            (None, _) => Some(Change::Added),
            (Some(x), Some(y)) if x.entry.kind != y.entry.kind => Some(Change::Kind),
            (Some(x), Some(y))
                if x.content != y.content || x.entry.link_target != y.entry.link_target =>
            {
                Some(Change::Modified)
            }
            (Some(x), Some(y)) => (!same_metadata(x, y)).then_some(Change::Metadata),
        };
        if let Some(change) = change {
            let size = |n: Option<&Node>| n.map_or(0, |n| n.entry.size);
            (self.each)(Difference { path: path.clone(), change, sizes: (size(x), size(y)) })?;
        }
        let subtree = |n: Option<&Node>| n.and_then(|n| n.subtree);
        let (a, b) = (subtree(x), subtree(y));
        self.trees(a.as_ref(), b.as_ref(), path, depth + 1)?;
        path.truncate(length);
        Ok(())
    }
}

fn same_metadata(x: &Node, y: &Node) -> bool {
    let (a, b) = (&x.entry, &y.entry);
    a.mode == b.mode
        && a.mtime == b.mtime
        && a.owner == b.owner
        && a.rdev == b.rdev
        && a.xattrs == b.xattrs
}
