//! The record of a database's swap: a small file beside it, durable before anything changes.

use std::fs;
use std::io;

use model::error::PortError;
use serde::{Deserialize, Serialize};

use super::files::Files;
use crate::{durable, fault};

/// Version of [`Record`]'s persisted shape.
const VERSION: u32 = 1;

/// How the restored database gets in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Way {
    /// Its content was written over that of a usable database, in one transaction.
    Overwrite,
    /// It was renamed to where a damaged database was, or none.
    Replace,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// The swap is about to happen; digests or inodes say whether it did.
    Swapping,
    /// The restored content is in place.
    Swapped,
    /// What was kept is being removed.
    Committing,
    /// The original is on its way back.
    RollingBack,
    /// The original is back.
    RolledBack,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    pub(super) phase: Phase,
    pub(super) way: Way,
    /// Inode of the file that was in the place; `None` if there was none.
    pub(super) original_inode: Option<u64>,
    /// Inode of the restored file.
    pub(super) restored_inode: u64,
    /// Digest of the original's content, where it was usable.
    pub(super) original_digest: Option<String>,
    /// Digest of the restored content.
    pub(super) restored_digest: String,
}

impl Record {
    pub(super) fn new(way: Way, restored_inode: u64, restored_digest: String) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Swapping,
            way,
            original_inode: None,
            restored_inode,
            original_digest: None,
            restored_digest,
        }
    }

    pub(super) fn read(files: &Files) -> Result<Option<Self>, PortError> {
        let text = match fs::read(&files.record) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault::path("read", &files.record, error)),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) if record.version == VERSION => Ok(Some(record)),
            Ok(_) => Err(PortError::terminal(
                "RecordNewer",
                format!("{} was written by a newer version", files.record.display()),
            )),
            Err(error) => Err(PortError::terminal(
                "RecordDamaged",
                format!("{} cannot be read", files.record.display()),
            )
            .with_source(error)),
        }
    }

    /// Writes it with a new phase, durably.
    pub(super) fn reach(&mut self, files: &Files, phase: Phase) -> Result<(), PortError> {
        self.phase = phase;
        durable::write_json(&files.record, "the record of a recovery", self)
    }
}
