//! The way back of a database. A usable one gets the restored content through the backup API in one
//! transaction, so that programs that have it open see a change and no torn file; a damaged or
//! missing one is replaced by rename, with its stale log moved aside.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use model::error::PortError;
use rusqlite::Connection;
use rusqlite::backup::Backup;
use serde_json::{Value, json};

use super::facts::{self, Content, Found};
use super::files::{self, Files};
use super::record::{Phase, Record, Way};
use super::{copy, failed, is_damage, open};
use crate::fault;

/// How often the original is copied anew because somebody wrote meanwhile.
const PRE_IMAGES_MAX: u32 = 5;

/// Mode of a database that comes back where none was: for its owner and to read for its group.
const MODE_OF_NEW: u32 = 0o640;

/// Where a recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    None,
    Beside,
    Swapped,
}

/// Says where the recovery stands; an interrupted replacement is finished first.
pub(super) fn state(files: &Files) -> Result<Value, PortError> {
    Ok(match settle(files)?.0 {
        On::None => json!({"phase": "none"}),
        On::Beside => json!({"phase": "beside"}),
        On::Swapped => json!({"phase": "swapped"}),
    })
}

/// Makes an empty file beside the database.
pub(super) fn prepare(files: &Files) -> Result<(), PortError> {
    if settle(files)?.0 == On::Swapped {
        return Err(already_swapped(files));
    }
    fs::create_dir_all(&files.folder).map_err(|e| fault::path("create", &files.folder, e))?;
    // A program of a run that died may still write to the old one: it keeps its own file.
    files::remove(&files.restore)?;
    files::remove(&files.draft)?;
    files::remove_one(&files.record)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&files.restore)
        .map_err(|e| fault::path("create", &files.restore, e))?;
    files.sync()
}

/// Takes the database's bytes.
pub(super) fn load(files: &Files, stdin: &mut dyn Read) -> Result<(), PortError> {
    let failed = |e| fault::path("write", &files.restore, e);
    let mut file =
        OpenOptions::new().write(true).truncate(true).open(&files.restore).map_err(failed)?;
    io::copy(stdin, &mut file).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Checks the restored database and returns its facts.
pub(super) fn verify(files: &Files) -> Result<Value, PortError> {
    let path = match settle(files)?.0 {
        On::None => return Err(nothing_restored(files)),
        On::Beside => &files.restore,
        On::Swapped => &files.live,
    };
    if let Found::Other(detail) = facts::find(path)? {
        return Ok(facts::damaged(&detail));
    }
    let looked = open(path).and_then(|connection| {
        connection.execute_batch("PRAGMA query_only = ON; BEGIN")?;
        match facts::verdict(&connection, "integrity_check")? {
            Some(trouble) => Ok(facts::damaged(&trouble)),
            None => Content::read(&connection).map(|content| content.facts(None)),
        }
    });
    match looked {
        Err(error) if is_damage(&error) => Ok(facts::damaged(&error.to_string())),
        result => result.map_err(|e| failed("read", path, e)),
    }
}

/// Puts the restored content in place.
pub(super) fn swap(files: &Files) -> Result<Value, PortError> {
    match settle(files)? {
        (On::None, _) => return Err(nothing_restored(files)),
        (On::Swapped, Some(record)) if record.phase == Phase::Swapped => {
            return Ok(kept(files, &record));
        }
        (On::Swapped, _) => return Err(already_swapped(files)),
        (On::Beside, _) => {}
    }
    let restored = files::inode(&files.restore)?.ok_or_else(|| nothing_restored(files))?;
    let digest = digest(&files.restore)?;
    let record = if usable(&files.live)? {
        let mut record = Record::new(Way::Overwrite, restored, digest);
        record.original_inode = files::inode(&files.live)?;
        overwrite_keeping(files, &mut record)?;
        record
    } else {
        give_owner(files)?;
        files::sync_file(&files.restore)?;
        let mut record = Record::new(Way::Replace, restored, digest);
        record.original_inode = files::inode(&files.live)?;
        record.reach(files, Phase::Swapping)?;
        replace(files, &mut record)?;
        record
    };
    Ok(kept(files, &record))
}

/// Removes what was kept.
pub(super) fn commit(files: &Files) -> Result<(), PortError> {
    match settle(files)? {
        (On::None, _) => Ok(()),
        (On::Beside, _) => Err(PortError::terminal(
            "NotSwapped",
            format!("the restored {} was never put in place", files.live.display()),
        )),
        (On::Swapped, Some(mut record))
            if matches!(record.phase, Phase::Swapped | Phase::Committing) =>
        {
            record.reach(files, Phase::Committing)?;
            clear(files)
        }
        (On::Swapped, _) => Err(PortError::terminal(
            "RollbackBegun",
            format!("the recovery of {} is being rolled back", files.live.display()),
        )),
    }
}

/// Puts the original back.
pub(super) fn rollback(files: &Files) -> Result<(), PortError> {
    let mut record = match settle(files)? {
        (On::None, _) => return Ok(()),
        (On::Beside, _) => return discard(files),
        (On::Swapped, Some(record)) => record,
        (On::Swapped, None) => return Err(unclear(files)),
    };
    match record.phase {
        Phase::Committing => {
            return Err(PortError::terminal(
                "AlreadyCommitted",
                format!("the recovery of {} was committed", files.live.display()),
            ));
        }
        Phase::RolledBack => return clear(files),
        Phase::Swapping | Phase::Swapped | Phase::RollingBack => {}
    }
    record.reach(files, Phase::RollingBack)?;
    match record.way {
        Way::Overwrite if usable(&files.live)? => {
            let source = open(&files.old).map_err(|e| failed("open", &files.old, e))?;
            let mut target = open(&files.live).map_err(|e| failed("open", &files.live, e))?;
            overwrite(&source, &mut target, &files.live)?;
        }
        Way::Overwrite => {
            // The database broke since: its file goes, the pre-image takes the place.
            files::remove(&files.live)?;
            files::rename(&files.old, &files.live)?;
        }
        Way::Replace => {
            if files::inode(&files.live)? == Some(record.restored_inode) {
                files::remove_companions(&files.live)?;
                files::rename(&files.live, &files.restore)?;
            }
            files::rename_companions(&files.old, &files.live)?;
            files::rename(&files.old, &files.live)?;
        }
    }
    files.sync()?;
    record.reach(files, Phase::RolledBack)?;
    clear(files)
}

/// Removes a restored database that was never put in place.
pub(super) fn discard(files: &Files) -> Result<(), PortError> {
    if settle(files)?.0 == On::Swapped {
        return Err(already_swapped(files));
    }
    if files.folder.exists() { clear(files) } else { Ok(()) }
}

/// Removes everything beside the database, the record last.
fn clear(files: &Files) -> Result<(), PortError> {
    for path in [&files.old, &files.restore, &files.draft] {
        files::remove(path)?;
    }
    files.sync()?;
    files::remove_one(&files.record)?;
    files.sync()
}

/// Reads where things stand and finishes a replacement that was interrupted.
fn settle(files: &Files) -> Result<(On, Option<Record>), PortError> {
    let Some(mut record) = Record::read(files)? else {
        let beside = files::inode(&files.restore)?.is_some();
        return Ok((if beside { On::Beside } else { On::None }, None));
    };
    if record.phase != Phase::Swapping {
        return Ok((On::Swapped, Some(record)));
    }
    match record.way {
        Way::Replace => {
            if files::inode(&files.restore)? != Some(record.restored_inode)
                && files::inode(&files.live)? != Some(record.restored_inode)
            {
                return Err(unclear(files));
            }
            replace(files, &mut record)?;
            Ok((On::Swapped, Some(record)))
        }
        Way::Overwrite => {
            // One transaction: it happened as a whole or not at all.
            let present = if usable(&files.live)? { Some(digest(&files.live)?) } else { None };
            if present.as_ref() == Some(&record.restored_digest) {
                record.reach(files, Phase::Swapped)?;
                files::remove(&files.restore)?;
                Ok((On::Swapped, Some(record)))
            } else if present == record.original_digest {
                Ok((On::Beside, Some(record)))
            } else {
                Err(unclear(files))
            }
        }
    }
}

/// Moves a damaged database with its log aside and the restored one in; goes on from anywhere.
fn replace(files: &Files, record: &mut Record) -> Result<(), PortError> {
    if files::inode(&files.live)? != Some(record.restored_inode) {
        files::rename_companions(&files.live, &files.old)?;
        files::rename(&files.live, &files.old)?;
        files.sync()?;
        files::rename(&files.restore, &files.live)?;
    }
    files.sync()?;
    record.reach(files, Phase::Swapped)
}

/// Writes the restored content over the live database, with a pre-image that is exactly what it
/// replaces: the copy is made first, then the lock is taken, and if somebody wrote between the two
/// the copy is made again.
fn overwrite_keeping(files: &Files, record: &mut Record) -> Result<(), PortError> {
    let live = &files.live;
    // Kept open to the end: closing it would drop SQLite's locks in this process.
    let raw = fs::File::open(live).map_err(|e| fault::path("open", live, e))?;
    let watch = open(live).map_err(|e| failed("open", live, e))?;
    let source = open(&files.restore).map_err(|e| failed("open", &files.restore, e))?;
    let mut target = open(live).map_err(|e| failed("open", live, e))?;
    for _ in 0..PRE_IMAGES_MAX {
        let before = position(&raw, &watch, live)?;
        files::remove(&files.draft)?;
        copy::into(&watch, live, &files.draft)?;
        files::sync_file(&files.draft)?;
        record.original_digest = Some(digest(&files.draft)?);
        files::remove(&files.old)?;
        files::rename(&files.draft, &files.old)?;
        let backup = Backup::new(&source, &mut target).map_err(|e| failed("write", live, e))?;
        copy::lock(&backup, live)?;
        if position(&raw, &watch, live)? != before {
            continue;
        }
        // Written under the lock: while it says "swapping", nobody else has written.
        record.reach(files, Phase::Swapping)?;
        let done = copy::run(&backup, live);
        drop(backup);
        if let Err(error) = done {
            files::remove_one(&files.record)?;
            return Err(error);
        }
        record.reach(files, Phase::Swapped)?;
        drop(source);
        return files::remove(&files.restore);
    }
    Err(PortError::waiting(
        "DatabaseBusy",
        format!("{} was written each time its content was to be kept", live.display()),
    ))
}

/// Tells two moments of a database apart. In WAL mode SQLite says whether somebody wrote; otherwise
/// the header's counter does, which can be read while the file is locked.
fn position(raw: &fs::File, watch: &Connection, path: &Path) -> Result<(bool, u64), PortError> {
    let mut header = [0; 28];
    let whole = raw.read_exact_at(&mut header, 0);
    if whole.is_err() {
        return Ok((false, 0));
    }
    if header[18] == 2 {
        let version = watch
            .query_row("PRAGMA data_version", [], |row| row.get::<_, u64>(0))
            .map_err(|e| failed("read", path, e))?;
        return Ok((true, version));
    }
    let counter = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
    Ok((false, u64::from(counter)))
}

fn overwrite(source: &Connection, target: &mut Connection, path: &Path) -> Result<(), PortError> {
    let backup = Backup::new(source, target).map_err(|e| failed("write", path, e))?;
    copy::run(&backup, path)
}

/// Says whether a path holds a database that can be written through SQLite.
fn usable(path: &Path) -> Result<bool, PortError> {
    match facts::find(path)? {
        Found::File(Some(_)) => {}
        Found::File(None) | Found::Other(_) | Found::Absent => return Ok(false),
    }
    let looked = open(path).and_then(|connection| facts::verdict(&connection, "quick_check"));
    match looked {
        Ok(found) => Ok(found.is_none()),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(failed("open", path, error)),
    }
}

fn digest(path: &Path) -> Result<String, PortError> {
    let read = open(path).and_then(|connection| {
        connection.execute_batch("BEGIN")?;
        Content::read(&connection)
    });
    read.map(|content| content.digest).map_err(|e| failed("read", path, e))
}

/// Gives the restored file the owner and mode of the one that it replaces, or of the folder.
fn give_owner(files: &Files) -> Result<(), PortError> {
    let (model, mode) = match fs::metadata(&files.live) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode();
            (metadata, mode)
        }
        Err(_) => (
            fs::metadata(&files.folder).map_err(|e| fault::path("look at", &files.folder, e))?,
            MODE_OF_NEW,
        ),
    };
    let path = &files.restore;
    let own = fs::metadata(path).map_err(|e| fault::path("look at", path, e))?;
    if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
        std::os::unix::fs::chown(path, Some(model.uid()), Some(model.gid()))
            .map_err(|e| fault::path("give away", path, e))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
        .map_err(|e| fault::path("set the mode of", path, e))
}

fn kept(files: &Files, record: &Record) -> Value {
    match record.original_inode {
        Some(_) => json!({"kept": files.old.to_string_lossy()}),
        None => json!({"kept": null}),
    }
}

fn already_swapped(files: &Files) -> PortError {
    PortError::terminal(
        "AlreadySwapped",
        format!("the restored {} is in place already", files.live.display()),
    )
}

fn nothing_restored(files: &Files) -> PortError {
    PortError::terminal(
        "NothingRestored",
        format!("nothing was restored beside {}", files.live.display()),
    )
}

fn unclear(files: &Files) -> PortError {
    PortError::terminal(
        "RecoveryUnclear",
        format!(
            "{} was written by somebody else during the recovery; the original is {}, the \
             restored one {}, the record {}",
            files.live.display(),
            files.old.display(),
            files.restore.display(),
            files.record.display()
        ),
    )
}
