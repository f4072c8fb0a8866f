//! Folders on this machine: probing, opening, and a recovery that restores beside and swaps.
//! Called by the fleet for every type whose data is a tree.

mod children;
mod place;
mod record;
mod recovery;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

use model::Timestamp;
use model::agent::Tree;
use model::error::PortError;
use model::observed::Observation;
use model::receipt::Marker;

use super::unknown;
use crate::fault;
use place::OUR_PREFIX;

pub(super) use recovery::{commit, discard, inspect, prepare, rollback, state, swap};

/// Entries that a probe counts at the most: beyond it only "many" matters.
const ENTRIES_COUNTED_MAX: u64 = 100_000;

/// What a look at a path found.
enum Seen {
    Folder(u64),
    Other(&'static str),
    Absent(String),
}

/// Looks at a folder: is it there, mounted, readable, and how many entries does it have?
pub(super) fn probe(tree: &Tree, now: Timestamp) -> Observation {
    let known = |entries, damaged| Observation::Known {
        marker: marker(entries),
        bytes: None,
        entries: Some(entries),
        damaged,
        at: now,
    };
    match look(tree) {
        Ok(Seen::Folder(entries)) => known(entries, None),
        Ok(Seen::Other(kind)) => known(0, Some(format!("{} is {kind}, no folder", tree.path))),
        Ok(Seen::Absent(detail)) => Observation::Absent { detail, at: now },
        Err(error) => unknown(&error),
    }
}

/// Returns the marker of a folder that is about to be read.
pub(super) fn open(tree: &Tree) -> Result<Marker, PortError> {
    match look(tree)? {
        Seen::Folder(entries) => Ok(marker(entries)),
        Seen::Other(kind) => {
            Err(PortError::terminal("SourceDamaged", format!("{} is {kind}, no folder", tree.path)))
        }
        Seen::Absent(detail) => Err(PortError::terminal("SourceAbsent", detail)),
    }
}

/// Returns the tree without what a recovery of ours may have put inside it.
pub(super) fn without_ours(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.excludes.push(format!("{}/{OUR_PREFIX}*", tree.path.trim_end_matches('/')));
    tree
}

fn marker(entries: u64) -> Marker {
    let mut marker = Marker::default();
    marker.counts.insert("entries", entries);
    marker
}

fn look(tree: &Tree) -> Result<Seen, PortError> {
    let path = place::checked(&tree.path)?;
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Seen::Absent(format!("{} does not exist", path.display())));
        }
        Err(error) => return Err(fault::path("look at", &path, error)),
    };
    if metadata.is_symlink() {
        return Err(place::is_symlink(&path));
    }
    if !metadata.is_dir() {
        return Ok(Seen::Other(if metadata.is_file() { "a file" } else { "a special file" }));
    }
    if tree.mount_point && !place::is_mounted(&path)? {
        return Ok(Seen::Absent(format!("nothing is mounted at {}", path.display())));
    }
    Ok(Seen::Folder(count(&path)?))
}

/// Counts the entries directly in a folder, our own left out.
fn count(path: &Path) -> Result<u64, PortError> {
    let mut entries = 0;
    for entry in fs::read_dir(path).map_err(|e| fault::path("list", path, e))? {
        let entry = entry.map_err(|e| fault::path("list", path, e))?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes());
        entries += u64::from(!ours);
        if entries >= ENTRIES_COUNTED_MAX {
            break;
        }
    }
    Ok(entries)
}
