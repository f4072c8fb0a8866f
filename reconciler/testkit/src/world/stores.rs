//! Places where repositories lie: snapshots over blobs, so that a prune or a broken disk can take
//! away what a snapshot needs.

use std::collections::{BTreeMap, BTreeSet};

use model::id::{RepositoryId, SnapshotId};
use model::observed::SnapshotInfo;
use model::receipt::Control;

use super::content::{Files, fingerprint};

/// How long something unneeded is kept after a prune marked it.
pub const GRACE_MS: i64 = 24 * 3_600_000;

/// A stored piece of content.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// They are not what they were.
    pub damaged: bool,
    /// When a prune found it unneeded.
    pub marked_ms: Option<i64>,
}

/// A stored point or control record.
#[derive(Clone, Debug)]
pub struct Snap {
    /// What it says of itself.
    pub info: SnapshotInfo,
    /// It is no point, but a record.
    pub control: Option<Control>,
    /// Its files, by the fingerprints of their content.
    pub files: BTreeMap<String, u64>,
    /// When it was written, by the world's own time.
    pub made_ms: i64,
    /// Its stored bytes were once read again and were whole.
    pub proven: bool,
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its id.
    pub id: RepositoryId,
    /// Snapshots and records, by id.
    pub snaps: BTreeMap<SnapshotId, Snap>,
    /// Content by fingerprint.
    pub blobs: BTreeMap<u64, Blob>,
    /// Points that were ever read whole, also those that are gone.
    pub read: BTreeSet<SnapshotId>,
}

impl Body {
    /// Returns an empty repository.
    pub fn new(id: RepositoryId) -> Self {
        Self { id, snaps: BTreeMap::new(), blobs: BTreeMap::new(), read: BTreeSet::new() }
    }

    /// Stores files, and returns by which fingerprints they are found again.
    pub fn store(&mut self, files: &Files) -> BTreeMap<String, u64> {
        let mut table = BTreeMap::new();
        for (name, bytes) in files {
            let key = fingerprint(bytes);
            let blob = Blob { bytes: bytes.clone(), damaged: false, marked_ms: None };
            // What is damaged is stored anew, and what a prune has marked is needed again.
            let known = self.blobs.entry(key).or_insert_with(|| blob.clone());
            if known.damaged || known.marked_ms.is_some() {
                *known = blob;
            }
            table.insert(name.clone(), key);
        }
        table
    }

    /// Returns the files of a snapshot; `None` when any of it is missing or damaged.
    pub fn read(&self, snap: &Snap) -> Option<Files> {
        let mut files = Files::new();
        for (name, key) in &snap.files {
            let blob = self.blobs.get(key).filter(|blob| !blob.damaged)?;
            files.insert(name.clone(), blob.bytes.clone());
        }
        Some(files)
    }

    /// Takes over which snapshots were read in another state of this place: that the bytes of one
    /// are those of a copy since then shows nowhere.
    pub fn was_proven_as(&mut self, other: &Self) {
        self.read.extend(other.read.iter().cloned());
        for (id, snap) in &mut self.snaps {
            snap.proven |= self.read.contains(id);
        }
    }

    /// Returns whether a snapshot could be brought back now.
    pub fn is_whole(&self, snap: &Snap) -> bool {
        snap.files.values().all(|key| self.blobs.get(key).is_some_and(|blob| !blob.damaged))
    }

    /// Returns the points, without control records.
    pub fn points(&self) -> impl Iterator<Item = &Snap> {
        self.snaps.values().filter(|snap| snap.control.is_none())
    }

    /// Returns the control records, oldest first.
    pub fn controls(&self) -> Vec<Control> {
        let mut controls: Vec<Control> =
            self.snaps.values().filter_map(|snap| snap.control.clone()).collect();
        controls.sort_by_key(|control| control.at);
        controls
    }

    /// Marks what nothing needs, and removes what was marked long enough ago and still is not
    /// needed. Returns how many bytes went and how many are marked.
    pub fn prune(&mut self, now_ms: i64) -> (u64, u64) {
        let needed: BTreeSet<u64> =
            self.snaps.values().flat_map(|snap| snap.files.values().copied()).collect();
        let (mut freed, mut marked) = (0, 0);
        self.blobs.retain(|key, blob| {
            if needed.contains(key) {
                blob.marked_ms = None;
                return true;
            }
            let since = *blob.marked_ms.get_or_insert(now_ms);
            let bytes = blob.bytes.len() as u64;
            let goes = now_ms - since >= GRACE_MS;
            if goes {
                freed += bytes;
            } else {
                marked += bytes;
            }
            !goes
        });
        (freed, marked)
    }
}

/// A place where a repository is or was.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// What is there; `None`: nothing.
    pub body: Option<Body>,
    /// It cannot be looked at.
    pub cut_off: bool,
    /// No byte more fits.
    pub full: bool,
    /// What was taken away and may come back.
    pub taken: Option<Body>,
    /// An earlier state of the place, as a copy of the disk would have it.
    pub copy: Option<Body>,
    /// How often a repository was made here.
    pub made: u32,
    /// Stored content rotted at this instant.
    pub rotted_ms: Option<i64>,
    /// It went back to an earlier state at this instant.
    pub went_back_ms: Option<i64>,
}
