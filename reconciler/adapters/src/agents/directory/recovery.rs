//! The phases of a folder's recovery. The restored folder lies beside the original; one rename
//! exchanges the two; the original stays until `commit`. Every step looks at the disk first, so
//! each can be killed and run again.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;

use model::agent::Tree;
use model::error::PortError;
use model::ports::agents::OnTarget;
use model::receipt::Marker;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::place::{self, Place, identity, rename, rename_failed};
use super::record::{Phase, Record};
use super::{children, count, marker};
use crate::fault;

/// Says where the recovery stands; an interrupted swap is finished first.
pub(in crate::agents) fn state(tree: &Tree, token: &str) -> Result<OnTarget, PortError> {
    let place = Place::of(tree, token)?;
    Ok(settle(&place)?.0)
}

/// Makes the folder beside the original, or finds the one that an earlier run began.
pub(in crate::agents) fn prepare(tree: &Tree, token: &str) -> Result<String, PortError> {
    let place = Place::of(tree, token)?;
    if tree.mount_point && !place.inside {
        return Err(PortError::terminal(
            "NotMounted",
            format!("nothing is mounted at {}", place.path.display()),
        )
        .with_hint("mount the file system that the data belongs on"));
    }
    match settle(&place)?.0 {
        OnTarget::Swapped => return Err(already_swapped(&place)),
        OnTarget::Nothing | OnTarget::Beside => {}
    }
    if !place.inside && place.path.exists() {
        place::refuse_mounts_below(&place.path)?;
    }
    fs::create_dir_all(&place.holder).map_err(|e| fault::path("create", &place.holder, e))?;
    if !place.restore.exists() {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&place.restore)
            .map_err(|e| fault::path("create", &place.restore, e))?;
        place.sync()?;
    }
    let path = place.restore.to_str().map(str::to_owned);
    path.ok_or_else(|| PortError::terminal("BadPath", "the folder's path is not UTF-8"))
}

/// Looks at what was restored.
pub(in crate::agents) fn inspect(tree: &Tree, token: &str) -> Result<Marker, PortError> {
    let place = Place::of(tree, token)?;
    match settle(&place)?.0 {
        OnTarget::Nothing => Err(nothing_restored(&place)),
        OnTarget::Beside => Ok(marker(count(&place.restore)?)),
        OnTarget::Swapped => Ok(marker(count(&place.path)?)),
    }
}

/// Exchanges the restored folder and the original; returns where the original is kept.
pub(in crate::agents) fn swap(tree: &Tree, token: &str) -> Result<Option<String>, PortError> {
    let place = Place::of(tree, token)?;
    let kept = |record: &Record| {
        record.original.is_some().then(|| place.old.to_string_lossy().into_owned())
    };
    match settle(&place)? {
        (OnTarget::Nothing, _) => return Err(nothing_restored(&place)),
        (OnTarget::Swapped, Some(record)) if record.phase == Phase::Swapped => {
            return Ok(kept(&record));
        }
        (OnTarget::Swapped, _) => return Err(already_swapped(&place)),
        (OnTarget::Beside, _) => {}
    }
    if !place.inside && place.path.exists() {
        place::refuse_mounts_below(&place.path)?;
    }
    place::sync_file_system(&place.restore)?;
    let restored = identity(&place.restore)?.ok_or_else(|| nothing_restored(&place))?;
    let mut record = Record::new(token, identity(&place.path)?, restored);
    if place.inside {
        record.children = true;
        record.reach(&place, Phase::ChildrenAside)?;
    } else {
        record.reach(&place, Phase::Swapping)?;
        exchange(&place, &mut record)?;
    }
    match settle(&place)? {
        (OnTarget::Swapped, Some(record)) => Ok(kept(&record)),
        _ => Err(unclear(&place)),
    }
}

/// Removes the original that was kept; after its begin there is no way back.
pub(in crate::agents) fn commit(tree: &Tree, token: &str) -> Result<(), PortError> {
    let place = Place::of(tree, token)?;
    match settle(&place)? {
        (OnTarget::Nothing, _) => Ok(()),
        (OnTarget::Swapped, Some(mut record))
            if matches!(record.phase, Phase::Swapped | Phase::Committing) =>
        {
            record.reach(&place, Phase::Committing)?;
            place::remove(&place.old)?;
            place::remove(&place.restore)?;
            place.sync()?;
            Record::remove(&place)
        }
        (OnTarget::Swapped, _) => Err(PortError::terminal(
            "RollbackBegun",
            format!("the recovery of {} is being rolled back", place.path.display()),
        )
        .with_hint("roll it back again to finish that")),
        (OnTarget::Beside, _) => Err(PortError::terminal(
            "NotSwapped",
            format!("the restored {} was never put in place", place.path.display()),
        )),
    }
}

/// Puts the original back and removes the restored data.
pub(in crate::agents) fn rollback(tree: &Tree, token: &str) -> Result<(), PortError> {
    let place = Place::of(tree, token)?;
    let mut record = match settle(&place)? {
        (OnTarget::Nothing, _) => return Ok(()),
        (OnTarget::Beside, _) => return discard(tree, token),
        (OnTarget::Swapped, Some(record)) => record,
        (OnTarget::Swapped, None) => return Err(unclear(&place)),
    };
    if record.phase == Phase::Committing {
        return Err(PortError::terminal(
            "AlreadyCommitted",
            format!("the recovery of {} was committed", place.path.display()),
        )
        .with_hint("commit it again to finish that"));
    }
    if record.children {
        roll_children_back(&place, &mut record)?;
    } else if record.phase != Phase::RolledBack {
        record.reach(&place, Phase::RollingBack)?;
        put_back(&place, &record)?;
        place.sync()?;
        record.reach(&place, Phase::RolledBack)?;
    }
    // After the exchange the restored data lies where the original was kept.
    place::remove(&place.restore)?;
    place::remove(&place.old)?;
    place.sync()?;
    Record::remove(&place)
}

/// Removes a restored folder that was never put in place.
pub(in crate::agents) fn discard(tree: &Tree, token: &str) -> Result<(), PortError> {
    let place = Place::of(tree, token)?;
    match settle(&place)?.0 {
        OnTarget::Swapped => Err(already_swapped(&place)),
        OnTarget::Nothing | OnTarget::Beside => {
            place::remove(&place.restore)?;
            if place.holder.exists() {
                place.sync()?;
            }
            Record::remove(&place)
        }
    }
}

/// Reads where things stand and finishes a swap that was interrupted after its first move.
fn settle(place: &Place) -> Result<(OnTarget, Option<Record>), PortError> {
    let Some(mut record) = Record::read(place)? else {
        let beside = identity(&place.restore)?.is_some();
        return Ok((if beside { OnTarget::Beside } else { OnTarget::Nothing }, None));
    };
    match record.phase {
        Phase::Swapping => return settle_rename(place, record),
        Phase::ChildrenAside | Phase::ChildrenIn => {
            if record.phase == Phase::ChildrenAside {
                children::move_all(&place.path, &place.old)?;
                record.reach(place, Phase::ChildrenIn)?;
            }
            children::move_all(&place.restore, &place.path)?;
            record.reach(place, Phase::Swapped)?;
            place::remove(&place.restore)?;
        }
        Phase::Swapped
        | Phase::Committing
        | Phase::RollingBack
        | Phase::ChildrenOut
        | Phase::ChildrenBack
        | Phase::RolledBack => {}
    }
    Ok((OnTarget::Swapped, Some(record)))
}

/// Decides by inodes whether the rename happened, and does what comes after it.
fn settle_rename(
    place: &Place,
    mut record: Record,
) -> Result<(OnTarget, Option<Record>), PortError> {
    let restored = Some(record.restored);
    let (at_path, beside) = (identity(&place.path)?, identity(&place.restore)?);
    if at_path.is_none() && beside == restored && record.original.is_some() {
        // Between the two renames of a file system that cannot exchange.
        if identity(&place.old)? != record.original {
            return Err(unclear(place));
        }
        rename(&place.restore, &place.path, RenameFlags::NOREPLACE)
            .map_err(|e| rename_failed(&place.restore, &place.path, e))?;
    } else if at_path != restored {
        return if beside == restored {
            Ok((OnTarget::Beside, Some(record)))
        } else {
            Err(unclear(place))
        };
    }
    if record.original.is_some() && identity(&place.restore)? == record.original {
        rename(&place.restore, &place.old, RenameFlags::NOREPLACE)
            .map_err(|e| rename_failed(&place.restore, &place.old, e))?;
    }
    place.sync()?;
    record.reach(place, Phase::Swapped)?;
    Ok((OnTarget::Swapped, Some(record)))
}

/// Puts the restored folder in place by one rename; what the kernel refuses is done child by child.
fn exchange(place: &Place, record: &mut Record) -> Result<(), PortError> {
    let failed = |e| rename_failed(&place.restore, &place.path, e);
    if record.original.is_none() {
        return rename(&place.restore, &place.path, RenameFlags::NOREPLACE).map_err(failed);
    }
    match rename(&place.restore, &place.path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) => {
            // This file system cannot exchange: two renames, with a moment between them.
            rename(&place.path, &place.old, RenameFlags::NOREPLACE).map_err(failed)
        }
        Err(Errno::BUSY | Errno::XDEV)
            if fs::symlink_metadata(&place.path).is_ok_and(|m| m.is_dir()) =>
        {
            tracing::info!(path = %place.path.display(), "swapped child by child, not atomically");
            record.children = true;
            record.reach(place, Phase::ChildrenAside)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Undoes the exchange; inodes say whether that happened already.
fn put_back(place: &Place, record: &Record) -> Result<(), PortError> {
    let at_path = identity(&place.path)?;
    let Some(original) = record.original else {
        if at_path == Some(record.restored) {
            place::refuse_mounts_below(&place.path)?;
            rename(&place.path, &place.restore, RenameFlags::NOREPLACE)
                .map_err(|e| rename_failed(&place.path, &place.restore, e))?;
        }
        return Ok(());
    };
    if at_path == Some(original) {
        return Ok(());
    }
    if identity(&place.old)? != Some(original) {
        return Err(unclear(place));
    }
    let failed = |e| rename_failed(&place.old, &place.path, e);
    if at_path.is_none() {
        return rename(&place.old, &place.path, RenameFlags::NOREPLACE).map_err(failed);
    }
    place::refuse_mounts_below(&place.path)?;
    match rename(&place.old, &place.path, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            rename(&place.path, &place.restore, RenameFlags::NOREPLACE).map_err(failed)?;
            rename(&place.old, &place.path, RenameFlags::NOREPLACE).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn roll_children_back(place: &Place, record: &mut Record) -> Result<(), PortError> {
    if record.phase == Phase::Swapped {
        record.reach(place, Phase::ChildrenOut)?;
    }
    if record.phase == Phase::ChildrenOut {
        children::move_all(&place.path, &place.restore)?;
        record.reach(place, Phase::ChildrenBack)?;
    }
    if record.phase == Phase::ChildrenBack {
        children::move_all(&place.old, &place.path)?;
        record.reach(place, Phase::RolledBack)?;
    }
    Ok(())
}

fn already_swapped(place: &Place) -> PortError {
    PortError::terminal(
        "AlreadySwapped",
        format!("the restored {} is in place already", place.path.display()),
    )
    .with_hint("commit or roll back that recovery")
}

fn nothing_restored(place: &Place) -> PortError {
    PortError::terminal(
        "NothingRestored",
        format!("nothing was restored beside {}", place.path.display()),
    )
}

fn unclear(place: &Place) -> PortError {
    PortError::terminal(
        "RecoveryUnclear",
        format!(
            "the folders around {} were moved by somebody else during the recovery",
            place.path.display()
        ),
    )
    .with_hint(format!(
        "look at {} and {}, put the right one in place by hand, and remove {}",
        place.restore.display(),
        place.old.display(),
        place.record.display()
    ))
}
