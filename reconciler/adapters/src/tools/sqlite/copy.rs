//! A consistent copy of a database in use, through SQLite's backup API. The session makes it and
//! says what is in it; the stream reads that same copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use model::error::PortError;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde_json::Value;

use super::facts::{self, Content, Found};
use super::{BUSY, answer, failed, is_damage, open, unwritten};
use crate::fault;

/// The copy's name in the scratch folder.
const COPY: &str = "copy.db";

/// Room that must be left beyond the copy, in bytes: its journal, and others on that disk.
const ROOM_BYTES: u64 = 16 << 20;

/// How long one try for a lock waits.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Copies the database into the scratch folder, prints the copy's facts, and stays until standard
/// input ends.
pub(super) fn hold(
    path: &Path,
    scratch: &Path,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
) -> Result<(), PortError> {
    let made = match make(path, &scratch.join(COPY)) {
        Err(error) if error.reason == "DatabaseDamaged" => facts::damaged(&error.chain()),
        result => result?,
    };
    answer(stdout, &made)?;
    io::copy(stdin, &mut io::sink()).map_err(|e| fault::io("cannot wait for the end", e))?;
    Ok(())
}

/// Writes the copy's bytes to standard output.
pub(super) fn cat(scratch: &Path, stdout: &mut dyn Write) -> Result<(), PortError> {
    let path = scratch.join(COPY);
    let mut file = File::open(&path).map_err(|e| fault::path("open", &path, e))?;
    io::copy(&mut file, stdout).map_err(unwritten)?;
    stdout.flush().map_err(unwritten)
}

fn make(path: &Path, copy: &Path) -> Result<Value, PortError> {
    let header = match facts::find(path)? {
        Found::File(header) => header,
        Found::Other(detail) => return Ok(facts::damaged(&detail)),
        Found::Absent => return Ok(facts::absent(path)),
    };
    let source = open(path).map_err(|e| failed("open", path, e))?;
    into(&source, path, copy)?;
    drop(source);
    let connection = open(copy).map_err(|e| failed("open", copy, e))?;
    let looked = facts::verdict(&connection, "integrity_check").and_then(|found| match found {
        Some(trouble) => Ok(facts::damaged(&trouble)),
        None => Content::read(&connection).map(|content| content.facts(header.as_ref())),
    });
    // Closing the last connection leaves one file without a log beside it.
    drop(connection);
    match looked {
        Err(error) if is_damage(&error) => Ok(facts::damaged(&error.to_string())),
        result => result.map_err(|e| failed("read", copy, e)),
    }
}

/// Copies a database into a new file, checking first that there is room.
pub(super) fn into(source: &Connection, path: &Path, copy: &Path) -> Result<(), PortError> {
    let number = |pragma: &str| {
        source
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, u64>(0))
            .map_err(|e| failed("read", path, e))
    };
    let needed = number("page_count")?.saturating_mul(number("page_size")?);
    check_room(copy.parent().unwrap_or(copy), needed)?;
    let mut target = Connection::open(copy).map_err(|e| failed("create", copy, e))?;
    let backup = Backup::new(source, &mut target).map_err(|e| failed("copy", path, e))?;
    run(&backup, path)
}

/// Runs a backup in one step, so that it sees one state; in WAL mode writers go on meanwhile.
pub(super) fn run(backup: &Backup<'_, '_>, path: &Path) -> Result<(), PortError> {
    let end = std::time::Instant::now() + BUSY;
    loop {
        match backup.step(-1).map_err(|e| failed("copy", path, e))? {
            StepResult::Done => return Ok(()),
            _ if std::time::Instant::now() >= end => return Err(locked(path)),
            _ => std::thread::sleep(PAUSE),
        }
    }
}

/// Takes the target's lock without copying anything yet.
pub(super) fn lock(backup: &Backup<'_, '_>, path: &Path) -> Result<(), PortError> {
    let end = std::time::Instant::now() + BUSY;
    loop {
        match backup.step(0).map_err(|e| failed("lock", path, e))? {
            StepResult::Done | StepResult::More => return Ok(()),
            _ if std::time::Instant::now() >= end => return Err(locked(path)),
            _ => std::thread::sleep(PAUSE),
        }
    }
}

fn locked(path: &Path) -> PortError {
    PortError::waiting(
        "DatabaseLocked",
        format!("{} stayed locked by another process for {BUSY:?}", path.display()),
    )
}

fn check_room(folder: &Path, needed: u64) -> Result<(), PortError> {
    let stat = rustix::fs::statvfs(folder).map_err(|e| fault::path("look at", folder, e))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed.saturating_add(ROOM_BYTES) {
        return Ok(());
    }
    Err(PortError::transient(
        "DiskFull",
        format!("the copy needs {needed} bytes and {} has {free}", folder.display()),
    ))
}
