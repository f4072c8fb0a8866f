//! The record of a swap: a small file beside the folder, durable before anything is moved, so that
//! after a crash the disk itself says how far the recovery came.

use std::fs;
use std::io;

use model::error::PortError;
use serde::{Deserialize, Serialize};

use super::place::{Identity, Place, sync_folder};
use crate::{durable, fault};

/// Version of [`Record`]'s persisted shape.
const VERSION: u32 = 1;

/// How far the swap, or its undoing, came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// A rename is about to happen; inodes say whether it did.
    Swapping,
    /// The original's children are on their way aside.
    ChildrenAside,
    /// The restored children are on their way in.
    ChildrenIn,
    /// The restored data is in place.
    Swapped,
    /// What was kept is being removed: there is no way back.
    Committing,
    /// The original is on its way back.
    RollingBack,
    /// The restored children are on their way out.
    ChildrenOut,
    /// The original's children are on their way back.
    ChildrenBack,
    /// The original is back; the restored data is being removed.
    RolledBack,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// The recovery's token, for people.
    token: String,
    /// How far it came.
    pub(super) phase: Phase,
    /// Swapped child by child, because the kernel refused to swap the folder.
    pub(super) children: bool,
    /// Who the original was; `None` if there was none.
    pub(super) original: Option<Identity>,
    /// Who the restored one is.
    pub(super) restored: Identity,
}

impl Record {
    pub(super) fn new(token: &str, original: Option<Identity>, restored: Identity) -> Self {
        Self {
            version: VERSION,
            token: token.to_owned(),
            phase: Phase::Swapping,
            children: false,
            original,
            restored,
        }
    }

    /// Reads the record of a place, if there is one.
    pub(super) fn read(place: &Place) -> Result<Option<Self>, PortError> {
        let text = match fs::read(&place.record) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault::path("read", &place.record, error)),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) if record.version == VERSION => Ok(Some(record)),
            Ok(record) => Err(PortError::terminal(
                "RecordNewer",
                format!("{} has version {}", place.record.display(), record.version),
            )
            .with_hint("finish this recovery with the version that began it")),
            Err(error) => Err(PortError::terminal(
                "RecordDamaged",
                format!("{} cannot be read", place.record.display()),
            )
            .with_hint("look at the folders beside it and put the right one in place by hand")
            .with_source(error)),
        }
    }

    /// Writes it with a new phase, durably.
    pub(super) fn reach(&mut self, place: &Place, phase: Phase) -> Result<(), PortError> {
        self.phase = phase;
        durable::write_json(&place.record, "the record of a recovery", self)
    }

    /// Removes it: the recovery is over.
    pub(super) fn remove(place: &Place) -> Result<(), PortError> {
        match fs::remove_file(&place.record) {
            Ok(()) => sync_folder(&place.holder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fault::path("remove", &place.record, error)),
        }
    }
}
