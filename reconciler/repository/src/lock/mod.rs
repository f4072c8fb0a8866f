//! restic's locks: written, refreshed, honoured; those of dead runs of our own are reclaimed.
//!
//! A lock is a file. Who wants one looks for conflicting locks, writes its own, and looks again: on
//! storage that lists what was written, of two that come together at least one sees the other.
//!
//! Who may wait for a lock asks again until its time is over. One that waits for an exclusive lock
//! says so by a file of its own, a shared lock to restic; others of ours that come later let it
//! pass, or writers one behind the other would keep it out for ever.

mod file;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::cancel::Cancel;
use model::error::{ErrorClass, PortError};
use model::ports::storage::{FileKind, NOT_FOUND};

use crate::id::Id;
use crate::migrate;
use crate::store::Store;
use file::{Claim, write};
pub use file::{Instance, LockInfo, Owner, STALE_AFTER};
pub(crate) use file::{keep_config, kept_config, list};

/// How often a held lock is renewed.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long a lock that could not be renewed is still good: well before others take it for stale.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(22);
/// Time between two tries for a lock, at first and at the most.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How soon a wait notices that it is cancelled.
const WAIT_SLICE: Duration = Duration::from_millis(50);
/// How long a request for a turn counts after it was written: its writer renews it before.
const TURN_GOOD_FOR: SignedDuration = SignedDuration::from_mins(2);
const TURN_RENEW_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Returns the current time; the engine has no clock of its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Who takes locks, when, and how patiently.
#[derive(Clone)]
pub(crate) struct Party<'p> {
    pub me: &'p Owner,
    pub clock: &'p Clock,
    /// How long it waits for others at the most.
    pub wait: Duration,
}

/// Reads a lock file's JSON, for fuzzing.
#[cfg(feature = "testing")]
pub(crate) fn parse(json: &[u8]) -> Result<(), PortError> {
    file::parse(json).map(drop)
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

/// Looks for a lock that is in the way of a new one.
fn look(
    store: &Store,
    me: &Owner,
    now: Timestamp,
    exclusive: bool,
    mine: &[Id],
) -> Result<(), PortError> {
    for lock in list(store, me, now)? {
        if mine.contains(&lock.id) {
            continue;
        }
        if lock.reclaimable {
            if lock.keeps_config {
                migrate::settle(store)?;
            }
            store.delete(FileKind::Lock, &lock.id)?;
        } else if lock.exclusive || (exclusive && !lock.waits) {
            return Err(conflict(&lock, now));
        }
    }
    Ok(())
}

/// Returns whether another of ours waits for its turn.
fn somebody_waits(store: &Store, me: &Owner, now: Timestamp) -> Result<bool, PortError> {
    let fresh = |l: &LockInfo| now.duration_since(l.time).abs() < TURN_GOOD_FOR;
    Ok(list(store, me, now)?.iter().any(|l| l.waits && fresh(l) && !l.reclaimable))
}

/// A request for a turn; taken back when dropped.
struct Turn<'s> {
    store: &'s Store,
    asked: Option<(Id, Timestamp)>,
}

impl Turn<'_> {
    /// Asks, or asks anew before the request grows old.
    fn ask(&mut self, me: &Owner, now: Timestamp) -> Result<(), PortError> {
        let due = |(_, at): &(Id, Timestamp)| now.duration_since(*at).abs() > TURN_RENEW_AFTER;
        if self.asked.as_ref().is_none_or(due) {
            let id = write(self.store, me, now, Claim::Waiting)?;
            if let Some((old, _)) = self.asked.replace((id, now)) {
                self.store.delete(FileKind::Lock, &old)?;
            }
        }
        Ok(())
    }

    fn ids(&self) -> Vec<Id> {
        self.asked.iter().map(|(id, _)| *id).collect()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some((id, _)) = self.asked.take() {
            let _ = self.store.delete(FileKind::Lock, &id);
        }
    }
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
    /// Takes a lock, waiting as long as the party may, or says who is in the way.
    pub(crate) fn take(
        store: &Arc<Store>,
        party: &Party<'_>,
        exclusive: bool,
        cancel: &Cancel,
    ) -> Result<Self, PortError> {
        let mut turn = Turn { store, asked: None };
        let (mut waited, mut pause) = (Duration::ZERO, WAIT_FIRST);
        loop {
            let over = waited >= party.wait;
            // Who comes later lets one that waits pass, as long as it may wait itself.
            let held_back =
                !over && !exclusive && somebody_waits(store, party.me, (party.clock)())?;
            if !held_back {
                match Self::try_take(store, party, exclusive, &turn.ids()) {
                    Err(e) if e.class == ErrorClass::Waiting && !over => {}
                    other => return other,
                }
            }
            if exclusive {
                turn.ask(party.me, (party.clock)())?;
            }
            let until = (waited + pause).min(party.wait);
            while waited < until {
                cancel.check()?;
                let slice = WAIT_SLICE.min(until - waited);
                std::thread::sleep(slice);
                waited += slice;
            }
            // Two that wait for each other must not step in time.
            pause = (pause * 2).min(WAIT_MAX) + Duration::from_millis(u64::from(party.me.pid % 97));
        }
    }

    fn try_take(
        store: &Arc<Store>,
        party: &Party<'_>,
        exclusive: bool,
        asked: &[Id],
    ) -> Result<Self, PortError> {
        let (me, clock) = (party.me, party.clock);
        look(store, me, clock(), exclusive, asked)?;
        let renewed = clock();
        let claim = if exclusive { Claim::Exclusive } else { Claim::Shared };
        let id = write(store, me, renewed, claim)?;
        let mut mine = asked.to_vec();
        mine.push(id);
        if let Err(e) = look(store, me, clock(), exclusive, &mine) {
            let _ = store.delete(FileKind::Lock, &id);
            return Err(e);
        }
        let held = Held { id, renewed, released: false, lost: false };
        let state = Arc::new((Mutex::new(held), Condvar::new()));
        let renewer = {
            let (state, store, me, clock) =
                (Arc::clone(&state), Arc::clone(store), me.clone(), Arc::clone(clock));
            std::thread::spawn(move || renew(&state, &store, &me, &clock, claim))
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
        let mut held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.lost || (self.clock)().duration_since(held.renewed) > GOOD_FOR {
            held.lost = true;
            return Err(lost());
        }
        Ok(())
    }

    /// Says whether the lock still protects, and looks whether its file is still there: somebody
    /// may have taken it for stale while this process was suspended.
    pub(crate) fn confirm(&self, cancel: &Cancel) -> Result<(), PortError> {
        self.check(cancel)?;
        loop {
            let id = self.state.0.lock().unwrap_or_else(PoisonError::into_inner).id;
            let there = self.store.storage.stat(FileKind::Lock, &id.hex());
            let mut held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
            match there {
                Ok(_) => break,
                // Renewed in between.
                Err(_) if held.id != id => {}
                Err(e) if e.reason == NOT_FOUND => {
                    held.lost = true;
                    return Err(lost());
                }
                Err(e) => return Err(e),
            }
        }
        self.check(cancel)
    }
}

fn lost() -> PortError {
    PortError::transient(
        "LockLost",
        "the lock could not be renewed in time or was removed by somebody else",
    )
    .with_hint("nothing was published; run it again: what is stored already is found and used")
}

/// Renews the lock until it is released.
fn renew(state: &(Mutex<Held>, Condvar), store: &Store, me: &Owner, clock: &Clock, claim: Claim) {
    let mut held = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // Before the wait as well: the lock may have been released before this thread came here.
        if held.released {
            return;
        }
        let (next, timeout) =
            state.1.wait_timeout(held, REFRESH_EVERY).unwrap_or_else(PoisonError::into_inner);
        held = next;
        if held.released || held.lost || !timeout.timed_out() {
            continue;
        }
        // A process that slept too long has lost its lock, even where the file still lies there:
        // others have counted on it.
        if clock().duration_since(held.renewed) > GOOD_FOR {
            held.lost = true;
            continue;
        }
        let old = held.id;
        drop(held);
        let now = clock();
        // A lock that somebody removed must not come back: what it protected may be gone.
        let there = store.storage.stat(FileKind::Lock, &old.hex());
        let gone = there.as_ref().is_err_and(|e| e.reason == NOT_FOUND);
        let fresh = if there.is_ok() { write(store, me, now, claim).ok() } else { None };
        held = state.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.lost |= gone;
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
        let _ = self.store.delete(FileKind::Lock, &last);
        if last != id {
            let _ = self.store.delete(FileKind::Lock, &id);
        }
    }
}
