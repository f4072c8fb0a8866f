//! Statistics: what a repository holds, and what of it one snapshot alone needs.

use std::collections::HashMap;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::EntryKind;
use model::ports::storage::FileKind;

use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::repo::Repository;
use crate::treecache::TreeCache;
use crate::used;

/// Sizes of a repository. All in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Snapshots.
    pub snapshots: u64,
    /// Pack files.
    pub packs: u64,
    /// Their size.
    pub bytes_packs: u64,
    /// Distinct blobs in the index.
    pub blobs: u64,
    /// Their size as stored.
    pub bytes_stored: u64,
    /// Their plain size.
    pub bytes_plain: u64,
}

/// Sizes of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// The snapshot.
    pub id: Id,
    /// Regular files.
    pub files: u64,
    /// Bytes that restoring it writes.
    pub bytes_restore: u64,
    /// Stored bytes of the blobs it needs.
    pub bytes_stored: u64,
    /// Stored bytes of blobs that no other of the given snapshots needs: what forgetting it frees.
    pub bytes_unique: u64,
}

impl Repository {
    /// Returns the sizes of the whole repository.
    pub fn stats(&self, cancel: &Cancel) -> Result<Stats, PortError> {
        let _lock = self.lock(false, cancel)?;
        let index = self.index(cancel)?;
        let snapshots = self.store.list(FileKind::Snapshot)?.len() as u64;
        let mut stats = Stats { snapshots, ..Stats::default() };
        self.store.storage.list(FileKind::Pack, &mut |file| {
            stats.packs += 1;
            stats.bytes_packs += file.size_bytes;
            Ok(())
        })?;
        let mut last = None;
        index.for_each(|_, blob| {
            if last != Some((blob.kind, blob.id)) {
                stats.blobs += 1;
                stats.bytes_stored += u64::from(blob.length);
                stats.bytes_plain += u64::from(blob.plain_length());
            }
            last = Some((blob.kind, blob.id));
        });
        Ok(stats)
    }

    /// Returns the sizes of each of the given snapshots.
    pub fn snapshot_stats(
        &self,
        snapshots: &[Id],
        cancel: &Cancel,
    ) -> Result<Vec<SnapshotStats>, PortError> {
        let _lock = self.lock(false, cancel)?;
        let index = self.index(cancel)?;
        let trees = TreeCache::new(&self.store, &index)?;
        let mut all = Vec::new();
        let mut users: HashMap<(BlobKind, Id), u32> = HashMap::new();
        let mut needs = Vec::new();
        for id in snapshots {
            let tree = self.snapshot(id)?.tree;
            let mut stats = SnapshotStats { id: *id, ..SnapshotStats::default() };
            crate::read::walk_tree(&trees, &tree, cancel, &mut |_, node| {
                if node.entry.kind == EntryKind::File {
                    stats.files += 1;
                    stats.bytes_restore += node.entry.size;
                }
                Ok(true)
            })?;
            let used = used::of_trees(&self.store, &index, [tree], cancel)?;
            for key in &used {
                *users.entry(*key).or_default() += 1;
            }
            needs.push(used);
            all.push(stats);
        }
        for (stats, used) in all.iter_mut().zip(needs) {
            for key in used {
                let length = index.get(key.0, &key.1).map_or(0, |(_, b)| u64::from(b.length));
                stats.bytes_stored += length;
                if users.get(&key) == Some(&1) {
                    stats.bytes_unique += length;
                }
            }
        }
        Ok(all)
    }
}
