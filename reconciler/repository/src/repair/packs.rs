//! Repair of packs: what is whole in damaged packs moves into new ones, what is not is named, and
//! the damaged packs leave the repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND};
use model::progress::ProgressSink;

use crate::affected::{self, Affected};
use crate::codec::Codec;
use crate::format::pack::{BlobKind, PackedBlob};
use crate::id::Id;
use crate::index::{self, Index, PackBlobs};
use crate::progress::Meter;
use crate::prune::read_header;
use crate::repo::Repository;
use crate::session::{Sealer, Session};

/// The largest pack in bytes whose damaged bytes are handed over before it goes.
const ASIDE_BYTES_MAX: u64 = 1 << 30;

/// Takes a damaged pack's id and bytes, to put them aside before the pack is removed.
pub type Aside<'a> = &'a mut dyn FnMut(&Id, &[u8]) -> Result<(), PortError>;

/// A blob that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostBlob {
    /// The pack in which it lay.
    pub pack: Id,
    /// What it held.
    pub kind: BlobKind,
    /// Its id.
    pub id: Id,
    /// What is wrong with it.
    pub error: String,
}

/// What a repair of packs did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Packs that were dissolved or had gone already.
    pub packs: Vec<Id>,
    /// Blobs that were whole and lie in new packs.
    pub blobs_saved: u64,
    /// Their plain size in bytes.
    pub bytes_saved: u64,
    /// Blobs that were not whole, and lie whole in other packs.
    pub blobs_elsewhere: u64,
    /// Blobs that are lost.
    pub lost: Vec<LostBlob>,
    /// What the lost blobs cost, by snapshot and path.
    pub affected: Vec<Affected>,
}

impl Repository {
    /// Takes what is whole out of the given packs into new ones, removes them, and names what is
    /// lost. Of a pack that is gone the index forgets the blobs. Afterwards the snapshots that need
    /// lost blobs can be mended by [`Repository::repair_snapshots`], or the blobs come back with
    /// the next backup of the same data.
    ///
    /// `aside` gets each damaged pack before it is removed; its error keeps the pack.
    pub fn salvage(
        &self,
        packs: &[Id],
        aside: Aside<'_>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<SalvageReport, PortError> {
        if let Some(stored) = self.uncached()? {
            return stored.salvage(packs, aside, progress, cancel);
        }
        self.erasable()?;
        let meter = Meter::new(progress);
        let lock = self.lock(true, cancel)?;
        meter.phase("index");
        let index = self.index(cancel)?;
        let mut indexed: HashMap<Id, PackBlobs> =
            index.packs().into_iter().map(|p| (p.id, p)).collect();
        let stored: HashMap<Id, u64> = self.store.list(FileKind::Pack)?.into_iter().collect();
        let asked: BTreeSet<Id> = packs.iter().copied().collect();
        let mut report = SalvageReport::default();
        let mut sources = Vec::new();
        for id in &asked {
            if !indexed.contains_key(id) && !stored.contains_key(id) {
                let what = format!("pack {id} is neither stored nor in the index");
                return Err(PortError::terminal("PackMissing", what));
            }
            let mut blobs = indexed.remove(id).map_or_else(Vec::new, |p| p.blobs);
            if let Some(size) = stored.get(id) {
                // The index may lack what the pack's own header still names.
                let header = read_header(&self.store, id, *size)?.unwrap_or_default();
                blobs.extend(header.into_iter().filter(|h| !blobs.contains(h)).collect::<Vec<_>>());
            }
            sources.push(PackBlobs { id: *id, blobs });
        }
        meter.phase("salvage");
        // Against an empty index, or the blobs would count as stored.
        let nothing = Index::default();
        let (lost, outcome) = Session::run(&self.store, &nothing, cancel, |session| {
            self.save_whole(&sources, session, &mut report)
        })?;
        let mut keep: Vec<PackBlobs> = indexed.into_values().collect();
        keep.extend(outcome.packs);
        meter.phase("index");
        let old: Vec<Id> = index.files().iter().copied().collect();
        self.replace_index(&old, &outcome.index_files, keep, lock.as_ref(), cancel)?;
        for id in asked.iter().filter(|id| stored.contains_key(*id)) {
            let bytes = match self.store.storage.load(FileKind::Pack, &id.hex(), ASIDE_BYTES_MAX) {
                Err(e) if e.reason == NOT_FOUND => continue,
                other => other?,
            };
            aside(id, &bytes)?;
            if let Some(lock) = &lock {
                lock.check(cancel)?;
            }
            self.store.delete(FileKind::Pack, id)?;
        }
        report.packs = asked.into_iter().collect();
        meter.phase("snapshots");
        let index = self.index(cancel)?;
        let (there, gone): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|b| index.has(b.kind, &b.id));
        report.blobs_elsewhere = there.len() as u64;
        report.lost = gone;
        let ids: HashSet<_> = report.lost.iter().map(|b| (b.kind, b.id)).collect();
        report.affected = affected::find(&self.store, &index, &self.snapshots()?, &ids, cancel)?;
        Ok(report)
    }

    /// Writes the whole blobs of some packs anew and returns the others.
    fn save_whole(
        &self,
        packs: &[PackBlobs],
        session: &Session<'_>,
        report: &mut SalvageReport,
    ) -> Result<Vec<LostBlob>, PortError> {
        let mut codec = Codec::new(self.store.level)?;
        let mut data = Sealer::new(&self.store, BlobKind::Data)?;
        let mut tree = Sealer::new(&self.store, BlobKind::Tree)?;
        let (mut lost, mut plain) = (Vec::new(), Vec::new());
        for pack in packs {
            for blob in &pack.blobs {
                session.check()?;
                let loaded = self.store.load_blob(&pack.id, blob, &mut codec, &mut plain);
                match loaded {
                    Ok(()) if session.claim(blob.kind, &blob.id) => {
                        let sealer =
                            if blob.kind == BlobKind::Data { &mut data } else { &mut tree };
                        session.put(sealer, &blob.id, &plain)?;
                        report.blobs_saved += 1;
                        report.bytes_saved += plain.len() as u64;
                    }
                    Ok(()) => {}
                    Err(e) if crate::fetch::is_damage(&e) => lost.push(lost_blob(pack, blob, &e)),
                    Err(e) => return Err(e),
                }
            }
        }
        session.retire(data);
        session.retire(tree);
        Ok(lost)
    }

    /// Writes an index of exactly these packs and removes the files it replaces.
    pub(crate) fn replace_index(
        &self,
        old_files: &[Id],
        session_files: &[Id],
        mut packs: Vec<PackBlobs>,
        lock: Option<&crate::lock::Lock>,
        cancel: &Cancel,
    ) -> Result<(), PortError> {
        packs.sort_by_key(|p| p.id);
        let new: HashSet<Id> = index::save(&self.store, &packs)?.into_iter().collect();
        for file in old_files.iter().chain(session_files).filter(|f| !new.contains(f)) {
            if let Some(lock) = lock {
                lock.check(cancel)?;
            }
            self.store.delete(FileKind::Index, file)?;
        }
        self.forget_index();
        Ok(())
    }
}

fn lost_blob(pack: &PackBlobs, blob: &PackedBlob, e: &PortError) -> LostBlob {
    LostBlob { pack: pack.id, kind: blob.kind, id: blob.id, error: e.chain() }
}
