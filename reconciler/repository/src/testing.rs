//! Doors for tests and fuzzing, behind the feature `testing`: they write what no backup would
//! (hostile trees, locks that stay) and read single parts of the format.

use model::cancel::Cancel;
use model::error::PortError;
use serde_json::{Map, json};

use crate::format::node::{Node, TreeWriter};
use crate::id::Id;
use crate::repo::Repository;
use crate::session::Session;

/// Reads what a pack's header holds once it is opened. Must not panic.
pub fn read_pack_header(plain: &[u8]) -> Option<usize> {
    crate::format::pack::parse_entries(plain).map(|blobs| blobs.len())
}

/// Reads a lock file's JSON. Must not panic.
pub fn read_lock(json: &[u8]) -> Result<(), PortError> {
    crate::lock::parse(json)
}

impl Repository {
    /// Takes the exclusive lock until the value is dropped.
    pub fn hold_lock_for_test(&self) -> Result<Option<crate::lock::Lock>, PortError> {
        self.lock(true, &Cancel::default())
    }

    /// Returns whether what is read with copies and what is read without have one index in memory.
    pub fn shares_index_for_test(&self) -> Result<bool, PortError> {
        let cancel = Cancel::default();
        let stored = self.uncached()?.unwrap_or(self);
        Ok(std::sync::Arc::ptr_eq(&self.index(&cancel)?, &stored.index(&cancel)?))
    }

    /// Writes trees as they are, in any order and with any names.
    pub fn save_trees_for_test(&self, trees: &[Vec<Node>]) -> Result<Vec<Id>, PortError> {
        let cancel = Cancel::default();
        let index = self.index(&cancel)?;
        let (ids, outcome) = Session::run(&self.store, &index, &cancel, |session| {
            let write = |nodes: &Vec<Node>| session.put_tree(&TreeWriter::unchecked(nodes));
            trees.iter().map(write).collect()
        })?;
        drop(index);
        self.learn(outcome);
        Ok(ids)
    }

    /// Writes a snapshot of a tree.
    pub fn save_snapshot_for_test(&self, tree: Id) -> Result<Id, PortError> {
        let mut raw = Map::new();
        raw.insert("time".to_owned(), json!("2026-01-01T00:00:00Z"));
        raw.insert("tree".to_owned(), json!(tree));
        raw.insert("paths".to_owned(), json!(["/"]));
        Ok(self.save_snapshot(raw)?.id)
    }
}
