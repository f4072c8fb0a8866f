//! Which blobs snapshots need: the trees of all of them, each walked once. Used by prune, copy and
//! statistics.

use std::collections::HashSet;

use model::cancel::Cancel;
use model::error::PortError;

use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::index::Index;
use crate::store::Store;
use crate::treecache::TreeCache;

/// Blobs by kind and id.
pub(crate) type Used = HashSet<(BlobKind, Id)>;

/// Returns all blobs that the given root trees need. A tree that cannot be read is an error: what
/// it needs is not known, so nothing may be deleted.
pub(crate) fn of_trees(
    store: &Store,
    index: &Index,
    roots: impl IntoIterator<Item = Id>,
    cancel: &Cancel,
) -> Result<Used, PortError> {
    let trees = TreeCache::new(store, index)?;
    let mut used = Used::new();
    let mut todo: Vec<Id> = roots.into_iter().collect();
    while let Some(id) = todo.pop() {
        cancel.check()?;
        if !used.insert((BlobKind::Tree, id)) {
            continue;
        }
        for node in trees.load(&id)? {
            used.extend(node.content.iter().map(|blob| (BlobKind::Data, *blob)));
            todo.extend(node.subtree);
        }
    }
    Ok(used)
}
