//! Repair of snapshots: those that need lost blobs are written anew without them, everything else
//! as it was. Trees are changed as JSON, so that fields that are not known here stay.

use std::collections::HashSet;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::FileKind;
use model::progress::ProgressSink;
use serde_json::{Map, Value, json};

use crate::affected::AFFECTED_MAX;
use crate::fetch::is_damage;
use crate::format::pack::BlobKind;
use crate::format::quote;
use crate::format::snapshot::Snapshot;
use crate::id::Id;
use crate::index::Index;
use crate::progress::Meter;
use crate::repo::Repository;
use crate::session::Session;
use crate::store::{BLOB_MISSING, damaged};
use crate::treecache::TreeCache;

/// Appended to the name of a file of which a part is lost, so that nobody takes it for whole.
pub const INCOMPLETE_SUFFIX: &str = ".incomplete";
/// The tag of a snapshot that was repaired.
pub const REPAIRED_TAG: &str = "repaired";
/// Directory levels that are followed; recursion, so bounded well below the stack.
const DEPTH_MAX: usize = 512;

/// What is done with snapshots that need lost blobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotRepair {
    /// Only says what would be done.
    pub dry_run: bool,
    /// Removes each original once its repaired form is written.
    pub forget: bool,
}

/// What became of one snapshot.
#[derive(Clone, Debug)]
pub struct RepairedSnapshot {
    /// The snapshot that was looked at.
    pub original: Id,
    /// The one without what is lost; `None` in a dry run and where the root itself is lost.
    pub repaired: Option<Id>,
    /// What is not in it, by path; a file of which only a part is lost is there under its name
    /// with [`INCOMPLETE_SUFFIX`].
    pub lost: Vec<LostItem>,
    /// Lost items above the bound, not named.
    pub lost_unlisted: u64,
}

/// A file or directory that is not whole any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostItem {
    /// The absolute path in the snapshot.
    pub path: Vec<u8>,
    /// What is missing of it, in words.
    pub what: String,
}

/// Changes a repaired snapshot's receipt: gets the old one and what is lost.
pub type Receipt<'r> = &'r dyn Fn(&Value, &[LostItem]) -> Value;

impl Repository {
    /// Writes the given snapshots (all for none) anew without what they lack. Whole ones are left
    /// alone and not reported.
    pub fn repair_snapshots(
        &self,
        snapshots: &[Id],
        options: &SnapshotRepair,
        receipt: Receipt<'_>,
        progress: &dyn ProgressSink,
        cancel: &Cancel,
    ) -> Result<Vec<RepairedSnapshot>, PortError> {
        if let Some(stored) = self.uncached()? {
            return stored.repair_snapshots(snapshots, options, receipt, progress, cancel);
        }
        self.writable()?;
        if options.forget && !options.dry_run {
            self.erasable()?;
        }
        let meter = Meter::new(progress);
        let lock = self.lock(options.forget && !options.dry_run, cancel)?;
        meter.phase("index");
        let index = self.index(cancel)?;
        let mut all = self.snapshots()?;
        all.retain(|s| snapshots.is_empty() || snapshots.contains(&s.id));
        meter.phase("snapshots");
        let trees = TreeCache::new(&self.store, &index)?;
        let mut work = Vec::new();
        let (_, outcome) = Session::run(&self.store, &index, cancel, |session| {
            let mut mender = Mender {
                trees: &trees,
                index: &index,
                session: (!options.dry_run).then_some(session),
                whole: HashSet::new(),
                lost: Vec::new(),
                unlisted: 0,
            };
            for snapshot in &all {
                let tree = mender.root(&snapshot.tree)?;
                let lost = std::mem::take(&mut mender.lost);
                if !lost.is_empty() {
                    work.push((snapshot, tree, lost, std::mem::take(&mut mender.unlisted)));
                }
                meter.done(1, 0);
            }
            Ok(())
        })?;
        drop(trees);
        self.learn(outcome);
        let mut done = Vec::new();
        for (snapshot, tree, lost, lost_unlisted) in work {
            let mut repaired = None;
            if let (Some(tree), false) = (tree, options.dry_run) {
                let raw = mended(snapshot, &tree, receipt(&snapshot.mainstay, &lost));
                let new = self.publish(raw, lock.as_ref(), cancel)?;
                repaired = Some(new.id);
                if options.forget && new.id != snapshot.id {
                    self.store.delete(FileKind::Snapshot, &snapshot.id)?;
                }
            }
            done.push(RepairedSnapshot { original: snapshot.id, repaired, lost, lost_unlisted });
        }
        Ok(done)
    }
}

/// The snapshot's fields with the new tree.
fn mended(snapshot: &Snapshot, tree: &Id, receipt: Value) -> Map<String, Value> {
    let mut raw = snapshot.raw.clone();
    raw.insert("original".to_owned(), json!(snapshot.original.unwrap_or(snapshot.id)));
    raw.insert("tree".to_owned(), json!(tree));
    let mut tags = snapshot.tags.clone();
    if !tags.iter().any(|t| t == REPAIRED_TAG) {
        tags.push(REPAIRED_TAG.to_owned());
    }
    raw.insert("tags".to_owned(), json!(tags));
    // Counts of what is not all there any more.
    raw.shift_remove("summary");
    if !receipt.is_null() {
        raw.insert(crate::format::snapshot::RECEIPT_FIELD.to_owned(), receipt);
    }
    raw
}

struct Mender<'m, 'a> {
    trees: &'m TreeCache<'m>,
    index: &'m Index,
    session: Option<&'m Session<'a>>,
    /// Trees that need no change.
    whole: HashSet<Id>,
    lost: Vec<LostItem>,
    unlisted: u64,
}

impl Mender<'_, '_> {
    fn lose(&mut self, path: &[u8], what: impl Into<String>) {
        if self.lost.len() < AFFECTED_MAX {
            self.lost.push(LostItem { path: path.to_vec(), what: what.into() });
        } else {
            self.unlisted += 1;
        }
    }

    fn root(&mut self, id: &Id) -> Result<Option<Id>, PortError> {
        let mended = self.tree(id, &mut Vec::new(), 0)?;
        if mended.is_none() {
            self.lose(b"/", "the root directory is lost");
        }
        Ok(mended)
    }

    /// Returns the tree without what is lost; `None` when it is lost itself.
    fn tree(&mut self, id: &Id, path: &mut Vec<u8>, depth: usize) -> Result<Option<Id>, PortError> {
        if let Some(session) = self.session {
            session.check()?;
        }
        if self.whole.contains(id) {
            return Ok(Some(*id));
        }
        if depth > DEPTH_MAX {
            let shown = path.escape_ascii();
            return Err(PortError::terminal("TooDeep", format!("{shown} is too deep")));
        }
        let mut plain = Vec::new();
        match self.trees.load_plain(id, &mut plain) {
            Ok(()) => {}
            Err(e) if is_damage(&e) || e.reason == BLOB_MISSING => return Ok(None),
            Err(e) => return Err(e),
        }
        let Some(mut tree) = parse(&plain) else { return Ok(None) };
        let mut changed = false;
        if let Some(nodes) = tree.get_mut("nodes").and_then(Value::as_array_mut) {
            for node in nodes.iter_mut() {
                let length = path.len();
                path.push(b'/');
                path.extend_from_slice(&name_of(node));
                changed |= self.node(node, path, depth)?;
                path.truncate(length);
            }
            if changed {
                order(nodes);
            }
        }
        if !changed {
            self.whole.insert(*id);
            return Ok(Some(*id));
        }
        let Some(session) = self.session else { return Ok(Some(*id)) };
        let mut json = serde_json::to_vec(&tree)
            .map_err(|e| damaged("a tree does not serialise").with_source(e))?;
        json.push(b'\n');
        session.put_tree(&json).map(Some)
    }

    /// Mends one entry and returns whether it was changed.
    fn node(
        &mut self,
        node: &mut Value,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<bool, PortError> {
        match node.get("type").and_then(Value::as_str) {
            Some("file") => Ok(self.file(node, path)),
            Some("dir") => {
                let subtree = node.get("subtree").and_then(Value::as_str).and_then(Id::parse);
                let mended = match &subtree {
                    Some(subtree) => self.tree(subtree, path, depth + 1)?,
                    None => None,
                };
                let id = match mended {
                    Some(id) => id,
                    None => {
                        self.lose(path, "the directory's content is lost; it is empty");
                        match self.session {
                            Some(session) => session.put_tree(b"{\"nodes\":[]}\n")?,
                            None => Id::default(),
                        }
                    }
                };
                if Some(id) == subtree {
                    return Ok(false);
                }
                node["subtree"] = json!(id);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn file(&mut self, node: &mut Value, path: &[u8]) -> bool {
        let index = self.index;
        let Some(content) = node.get("content").and_then(Value::as_array) else { return false };
        let ids: Vec<Option<Id>> = content.iter().map(|v| v.as_str().and_then(Id::parse)).collect();
        let there = |id: &&Id| index.has(BlobKind::Data, id);
        let left: Vec<&Id> = ids.iter().flatten().filter(there).collect();
        if left.len() == ids.len() {
            return false;
        }
        let size: u64 = left
            .iter()
            .filter_map(|id| index.get(BlobKind::Data, id))
            .map(|(_, blob)| u64::from(blob.plain_length()))
            .sum();
        let missing = ids.len() - left.len();
        let what = format!("{missing} of {} pieces are lost; {size} bytes are left", ids.len());
        let left = json!(left);
        self.lose(path, what);
        let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
        node["name"] = json!(format!("{name}{INCOMPLETE_SUFFIX}"));
        node["size"] = json!(size);
        node["content"] = left;
        true
    }
}

fn parse(plain: &[u8]) -> Option<Value> {
    // What the strict reader refuses is not carried on.
    crate::format::node::parse(plain).ok()?;
    serde_json::from_slice(plain).ok()
}

fn name_of(node: &Value) -> Vec<u8> {
    let quoted = node.get("name").and_then(Value::as_str).unwrap_or_default();
    quote::unquote(quoted).unwrap_or_default()
}

/// Puts changed names in order; one that is taken gets the suffix again.
fn order(nodes: &mut [Value]) {
    let mut taken = HashSet::new();
    for node in nodes.iter_mut() {
        while !taken.insert(name_of(node)) {
            let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
            node["name"] = json!(format!("{name}{INCOMPLETE_SUFFIX}"));
        }
    }
    nodes.sort_by_key(name_of);
}
