//! Which files of which snapshots need given blobs: what damage costs, by name. Called by check and
//! repair, and only where something is damaged.

use std::collections::{HashMap, HashSet};

use model::cancel::Cancel;
use model::error::PortError;

use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::index::Index;
use crate::store::{BLOB_MISSING, Store};
use crate::treecache::TreeCache;
use crate::{Snapshot, fetch};

/// Files that are named; a damaged pack of many small files in many snapshots may cost more.
pub const AFFECTED_MAX: usize = 10_000;
/// Directory levels that are followed.
const DEPTH_MAX: usize = 2048;

/// A file or directory that damage costs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affected {
    /// The snapshot.
    pub snapshot: Id,
    /// The path in it, absolute; `/` when the root itself is lost.
    pub path: Vec<u8>,
    /// The blob that is damaged or missing; of several, the first.
    pub blob: Id,
}

/// Finds what needs one of the blobs in any of the snapshots. At most [`AFFECTED_MAX`] are named.
pub(crate) fn find(
    store: &Store,
    index: &Index,
    snapshots: &[Snapshot],
    blobs: &HashSet<(BlobKind, Id)>,
    cancel: &Cancel,
) -> Result<Vec<Affected>, PortError> {
    let mut found = Vec::new();
    if blobs.is_empty() {
        return Ok(found);
    }
    let trees = TreeCache::new(store, index)?;
    let mut search = Search { trees: &trees, blobs, cancel, clean: HashMap::new() };
    for snapshot in snapshots {
        if blobs.contains(&(BlobKind::Tree, snapshot.tree)) {
            let path = b"/".to_vec();
            found.push(Affected { snapshot: snapshot.id, path, blob: snapshot.tree });
        }
        search.tree(&snapshot.tree, &mut Vec::new(), 0, &mut |path, blob| {
            found.push(Affected { snapshot: snapshot.id, path: path.to_vec(), blob: *blob });
            found.len() < AFFECTED_MAX
        })?;
        if found.len() >= AFFECTED_MAX {
            break;
        }
    }
    Ok(found)
}

struct Search<'s> {
    trees: &'s TreeCache<'s>,
    blobs: &'s HashSet<(BlobKind, Id)>,
    cancel: &'s Cancel,
    /// Trees that were looked into: whether nothing below them is damaged.
    clean: HashMap<Id, bool>,
}

impl Search<'_> {
    /// Returns whether the tree is clean; `each` gets what is not, and `false` from it ends all.
    fn tree(
        &mut self,
        id: &Id,
        path: &mut Vec<u8>,
        depth: usize,
        each: &mut dyn FnMut(&[u8], &Id) -> bool,
    ) -> Result<bool, PortError> {
        self.cancel.check()?;
        if self.clean.get(id) == Some(&true) || depth > DEPTH_MAX {
            return Ok(true);
        }
        let nodes = match self.trees.load(id) {
            Ok(nodes) => nodes,
            // What a lost tree hides cannot be named; the tree itself is, by its directory.
            Err(e) if fetch::is_damage(&e) || e.reason == BLOB_MISSING => return Ok(false),
            Err(e) => return Err(e),
        };
        let mut clean = true;
        for node in nodes {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(&node.entry.name);
            let data = node.content.iter().find(|b| self.blobs.contains(&(BlobKind::Data, **b)));
            let tree = node.subtree.iter().find(|b| self.blobs.contains(&(BlobKind::Tree, **b)));
            let mut go_on = true;
            if let Some(blob) = data.or(tree) {
                clean = false;
                go_on = each(path, blob);
            }
            if let (true, Some(subtree)) = (go_on, &node.subtree) {
                clean &= self.tree(subtree, path, depth + 1, each)?;
            }
            path.truncate(length);
            if !go_on {
                return Ok(false);
            }
        }
        self.clean.insert(*id, clean);
        Ok(clean)
    }
}
