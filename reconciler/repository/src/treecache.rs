//! Reading of trees: packs of trees are fetched whole and kept for a while, as neighbours are asked
//! for next. On remote storage this is what makes comparing with a parent fast.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::error::PortError;
use model::ports::storage::{FileKind, TOO_LARGE};

use crate::codec::Codec;
use crate::format::node::{self, Node};
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::index::Index;
use crate::store::{Store, damaged};

/// Bytes of packs that are kept.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Packs above this size in bytes are not fetched whole.
const WHOLE_BYTES_MAX: u64 = 36 << 20;

type Pack = Arc<Vec<u8>>;

/// Reads trees of one repository.
pub(crate) struct TreeCache<'a> {
    store: &'a Store,
    index: &'a Index,
    packs: Mutex<VecDeque<(Id, Pack)>>,
    codec: Mutex<Codec>,
}

impl<'a> TreeCache<'a> {
    pub fn new(store: &'a Store, index: &'a Index) -> Result<Self, PortError> {
        let codec = Mutex::new(Codec::new(store.level)?);
        Ok(Self { store, index, packs: Mutex::default(), codec })
    }

    /// Loads and reads one tree.
    pub fn load(&self, id: &Id) -> Result<Vec<Node>, PortError> {
        let mut out = Vec::new();
        self.load_plain(id, &mut out)?;
        node::parse(&out).map_err(|e| damaged(format!("tree {id} is damaged")).with_source(e))
    }

    /// Loads the plain bytes of one tree.
    pub fn load_plain(&self, id: &Id, out: &mut Vec<u8>) -> Result<(), PortError> {
        let mut first = None;
        let places = self.index.places(BlobKind::Tree, id);
        if places.is_empty() {
            self.index.locate(BlobKind::Tree, id)?;
        }
        for (pack, blob) in places {
            let read = || -> Result<Vec<u8>, PortError> {
                let whole = self.pack(&pack)?;
                let begin = blob.offset as usize;
                let end = begin.saturating_add(blob.length as usize);
                match whole.as_ref().and_then(|w| w.get(begin..end)) {
                    Some(sealed) => Ok(sealed.to_vec()),
                    None => {
                        let mut sealed = vec![0; blob.length as usize];
                        let offset = u64::from(blob.offset);
                        self.store.storage.load_range(
                            FileKind::Pack,
                            &pack.hex(),
                            offset,
                            &mut sealed,
                        )?;
                        Ok(sealed)
                    }
                }
            };
            let mut codec = self.codec.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = read().and_then(|mut sealed| {
                let mut plain = Vec::new();
                let opened =
                    self.store.open_blob(&pack, &blob, &mut sealed, &mut codec, &mut plain)?;
                if blob.uncompressed == 0 {
                    *out = opened.to_vec()
                } else {
                    *out = plain
                }
                Ok(())
            });
            match opened {
                Ok(()) => return Ok(()),
                Err(e) => first = first.or(Some(e)),
            }
        }
        Err(first.unwrap_or_else(|| damaged(format!("tree {id} cannot be read"))))
    }

    /// Returns a pack's bytes; `None` for one that is too large to be fetched for a tree.
    fn whole(&self, id: &Id) -> Result<Option<Vec<u8>>, PortError> {
        let cache = self.store.cache.as_ref();
        if let Some(pack) = cache.and_then(|cache| cache.get(FileKind::Pack, id)) {
            return Ok(Some(pack));
        }
        match self.store.storage.load(FileKind::Pack, &id.hex(), WHOLE_BYTES_MAX) {
            Ok(pack) => {
                // A damaged one is told from a whole one by its blobs, here and by whoever checks.
                if let Some(cache) = cache.filter(|_| Id::of(&pack) == *id) {
                    cache.put(FileKind::Pack, id, &pack);
                }
                Ok(Some(pack))
            }
            Err(error) if error.reason == TOO_LARGE => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn pack(&self, id: &Id) -> Result<Option<Pack>, PortError> {
        {
            let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = packs.iter().position(|(known, _)| known == id)
                && let Some(hit) = packs.remove(at)
            {
                let pack = Arc::clone(&hit.1);
                packs.push_front(hit);
                return Ok(Some(pack));
            }
        }
        let Some(pack) = self.whole(id)?.map(Arc::new) else { return Ok(None) };
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        packs.push_front((*id, Arc::clone(&pack)));
        let mut total: usize = packs.iter().map(|(_, p)| p.len()).sum();
        while total > KEPT_BYTES_MAX && packs.len() > 1 {
            total -= packs.pop_back().map_or(0, |(_, p)| p.len());
        }
        Ok(Some(pack))
    }
}
