//! restic's locks: written, refreshed, honoured; those of dead runs of our own are reclaimed.
//!
//! A lock is a file. Who wants one looks for conflicting locks, writes its own, and looks again: on
//! storage that lists what was written, of two that come together at least one sees the other.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND};
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::store::Store;

/// Age from which restic takes a lock for stale.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// How often a held lock is renewed.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long a lock that could not be renewed is still good: well before others take it for stale.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(22);

/// Returns the current time; the engine has no clock of its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Who works on the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// User name.
    pub username: String,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
    /// The id of this start of the process, one for all it does; empty for none. Locks that carry
    /// one are ours.
    pub run: String,
}

impl Owner {
    /// Returns this process on this host, with the run id given.
    pub fn current(run: impl Into<String>) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            host,
            username: mover::names::OwnerNames::load().user(uid).to_string(),
            uid,
            gid: rustix::process::getgid().as_raw(),
            pid: std::process::id(),
            run: run.into(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LockJson {
    time: Timestamp,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i64,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    /// Ours; restic ignores it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mainstay_run: String,
}

/// A lock that lies in the repository.
#[derive(Clone, Debug)]
pub struct LockInfo {
    /// Its file.
    pub id: Id,
    /// When it was written or last refreshed.
    pub time: Timestamp,
    /// Whether it bears no other beside it.
    pub exclusive: bool,
    /// Who holds it.
    pub owner: Owner,
    /// Whether its holder is surely or very likely gone.
    pub stale: bool,
    /// Whether it is of a dead run of ours on this host.
    pub reclaimable: bool,
}

fn process_exists(pid: i64) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// Lists all locks.
pub(crate) fn list(store: &Store, me: &Owner, now: Timestamp) -> Result<Vec<LockInfo>, PortError> {
    let mut all = Vec::new();
    for (id, _) in store.list(FileKind::Lock)? {
        let json = match store.load(FileKind::Lock, &id) {
            Ok(json) => json,
            // Released since the listing.
            Err(e) if e.reason == NOT_FOUND => continue,
            Err(e) => return Err(unreadable(&id, e)),
        };
        let lock: LockJson = serde_json::from_slice(&json)
            .map_err(|e| unreadable(&id, PortError::terminal("BadLock", e.to_string())))?;
        let here = !lock.hostname.is_empty() && lock.hostname == me.host;
        // A container's first process has the same number after each start; the run tells them
        // apart.
        let reborn = lock.pid == i64::from(me.pid)
            && !lock.mainstay_run.is_empty()
            && lock.mainstay_run != me.run;
        let alive = process_exists(lock.pid) && !reborn;
        let dead = here && !alive;
        all.push(LockInfo {
            id,
            time: lock.time,
            exclusive: lock.exclusive,
            stale: dead || now.duration_since(lock.time) > STALE_AFTER,
            reclaimable: dead && !lock.mainstay_run.is_empty(),
            owner: Owner {
                host: lock.hostname,
                username: lock.username,
                uid: lock.uid,
                gid: lock.gid,
                pid: u32::try_from(lock.pid).unwrap_or(0),
                run: lock.mainstay_run,
            },
        });
    }
    Ok(all)
}

fn unreadable(id: &Id, e: PortError) -> PortError {
    PortError::terminal("BadLock", format!("lock {id} cannot be read"))
        .with_hint("once nothing else works on this repository, run `unlock` to remove its locks")
        .with_source(e)
}

/// Returns the error that says who is in the way.
fn conflict(lock: &LockInfo, now: Timestamp) -> PortError {
    let age = now.duration_since(lock.time).as_secs().max(0);
    let kind = if lock.exclusive { "exclusively " } else { "" };
    let message = format!(
        "the repository is {kind}locked by process {} of {} on host {}, {age} s old",
        lock.owner.pid, lock.owner.username, lock.owner.host
    );
    if lock.stale {
        PortError::terminal("StaleLock", message).with_hint(
            "its holder seems to be gone: make sure of it, then run `unlock` to remove the lock",
        )
    } else {
        PortError::waiting("Locked", message)
    }
}

fn look(
    store: &Store,
    me: &Owner,
    now: Timestamp,
    exclusive: bool,
    mine: Option<&Id>,
) -> Result<(), PortError> {
    for lock in list(store, me, now)? {
        if Some(&lock.id) == mine {
            continue;
        }
        if lock.reclaimable {
            store.delete(FileKind::Lock, &lock.id)?;
        } else if exclusive || lock.exclusive {
            return Err(conflict(&lock, now));
        }
    }
    Ok(())
}

fn write(store: &Store, me: &Owner, now: Timestamp, exclusive: bool) -> Result<Id, PortError> {
    let lock = LockJson {
        time: now,
        exclusive,
        hostname: me.host.clone(),
        username: me.username.clone(),
        pid: i64::from(me.pid),
        uid: me.uid,
        gid: me.gid,
        mainstay_run: me.run.clone(),
    };
    let json = serde_json::to_vec(&lock)
        .map_err(|e| PortError::terminal("Internal", "lock does not serialise").with_source(e))?;
    store.save(FileKind::Lock, &json)
}

struct Held {
    id: Id,
    renewed: Timestamp,
    released: bool,
    lost: bool,
}

/// A held lock; released when dropped.
pub struct Lock {
    state: Arc<(Mutex<Held>, Condvar)>,
    store: Arc<Store>,
    clock: Clock,
    renewer: Option<std::thread::JoinHandle<()>>,
}

impl Lock {
    /// Takes a lock, or says who is in the way.
    pub(crate) fn take(
        store: &Arc<Store>,
        me: &Owner,
        clock: &Clock,
        exclusive: bool,
    ) -> Result<Self, PortError> {
        look(store, me, clock(), exclusive, None)?;
        let renewed = clock();
        let id = write(store, me, renewed, exclusive)?;
        if let Err(e) = look(store, me, clock(), exclusive, Some(&id)) {
            let _ = store.delete(FileKind::Lock, &id);
            return Err(e);
        }
        let held = Held { id, renewed, released: false, lost: false };
        let state = Arc::new((Mutex::new(held), Condvar::new()));
        let renewer = {
            let (state, store, me, clock) =
                (Arc::clone(&state), Arc::clone(store), me.clone(), Arc::clone(clock));
            std::thread::spawn(move || renew(&state, &store, &me, &clock, exclusive))
        };
        Ok(Self {
            state,
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            renewer: Some(renewer),
        })
    }

    /// Says whether the lock still protects: asked before every step that would harm without it.
    pub(crate) fn check(&self, cancel: &Cancel) -> Result<(), PortError> {
        cancel.check()?;
        let held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.lost || (self.clock)().duration_since(held.renewed) > GOOD_FOR {
            return Err(PortError::transient(
                "LockLost",
                "the lock could not be renewed or was removed by somebody else",
            ));
        }
        Ok(())
    }
}

/// Renews the lock until it is released.
fn renew(
    state: &(Mutex<Held>, Condvar),
    store: &Store,
    me: &Owner,
    clock: &Clock,
    exclusive: bool,
) {
    let mut held = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // Before the wait as well: the lock may have been released before this thread came here.
        if held.released {
            return;
        }
        let (next, timeout) =
            state.1.wait_timeout(held, REFRESH_EVERY).unwrap_or_else(PoisonError::into_inner);
        held = next;
        if held.released || !timeout.timed_out() {
            continue;
        }
        let old = held.id;
        drop(held);
        let now = clock();
        // A lock that somebody removed must not come back: what it protected may be gone.
        let there = store.storage.stat(FileKind::Lock, &old.hex());
        let lost = there.as_ref().is_err_and(|e| e.reason == NOT_FOUND);
        let fresh = if there.is_ok() { write(store, me, now, exclusive).ok() } else { None };
        held = state.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.lost |= lost;
        if let Some(id) = fresh {
            held.id = id;
            held.renewed = now;
            let _ = store.delete(FileKind::Lock, &old);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let id = {
            let mut held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
            held.released = true;
            held.id
        };
        self.state.1.notify_all();
        if let Some(renewer) = self.renewer.take() {
            let _ = renewer.join();
        }
        let last = self.state.0.lock().unwrap_or_else(PoisonError::into_inner).id;
        for id in [id, last] {
            let _ = self.store.delete(FileKind::Lock, &id);
        }
    }
}
