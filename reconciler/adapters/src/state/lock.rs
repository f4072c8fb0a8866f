//! One writer at a time: a lock on a file that dies with the process, and the writer's name in it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use model::error::PortError;
use model::ports::state::Owner;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::fault;

/// How often the lock is tried before its holder counts as one: somebody who merely looks whether
/// there is a writer holds it for some microseconds.
const TRIES: u32 = 20;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest owner that is read; anything longer was not written by us.
const OWNER_BYTES_MAX: u64 = 16 << 10;

/// A held lock; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
}

/// Takes the lock and writes the owner into it.
pub(super) fn take(path: &Path, owner: &Owner) -> Result<Held, PortError> {
    let mut file = open(path)?;
    if !try_exclusive(path, &file)? {
        return Err(refused(read_owner(&mut file).as_ref()));
    }
    let text = serde_json::to_vec(owner).unwrap_or_default();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(&text))
        .and_then(|()| file.sync_data())
        .map_err(|e| fault::path("write", path, e))?;
    Ok(Held { _file: file })
}

/// Takes the lock without becoming its owner, for repairs at the start; `None` when it is held.
pub(super) fn take_briefly(path: &Path) -> Result<Option<Held>, PortError> {
    let file = open(path)?;
    Ok(try_exclusive(path, &file)?.then_some(Held { _file: file }))
}

/// Returns who holds the lock, if somebody does.
pub(super) fn holder(path: &Path) -> Result<Option<Owner>, PortError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = File::open(path).map_err(|e| fault::path("open", path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(read_owner(&mut file).unwrap_or_else(nobody_known))),
        Err(error) => Err(fault::path("lock", path, error)),
    }
}

fn open(path: &Path) -> Result<File, PortError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| fault::path("open", path, e))
}

fn try_exclusive(path: &Path, file: &File) -> Result<bool, PortError> {
    for _ in 0..TRIES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(error) => return Err(fault::path("lock", path, error)),
        }
    }
    Ok(false)
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(OWNER_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn nobody_known() -> Owner {
    Owner {
        command: "unknown".to_owned(),
        host: "unknown".to_owned(),
        pid: 0,
        since: model::Timestamp::UNIX_EPOCH,
    }
}

fn refused(owner: Option<&Owner>) -> PortError {
    let message = match owner {
        Some(o) => format!(
            "the state is in use by `{}`, process {} on {}, since {}",
            o.command, o.pid, o.host, o.since
        ),
        None => "the state is in use by another process".to_owned(),
    };
    PortError::waiting("StateInUse", message)
        .with_hint("wait for it to end, stop it, or ask it to do the work")
}
