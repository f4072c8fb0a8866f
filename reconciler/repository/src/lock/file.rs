//! Lock files: what they say, who wrote them, and whether their holder still lives.

use jiff::{SignedDuration, Timestamp};
use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND};
use serde::{Deserialize, Serialize};

use crate::format::config::Config;
use crate::id::Id;
use crate::store::Store;

/// Age from which restic takes a lock for stale.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

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
    /// Where and since when the process runs, so that another one with the same number is not
    /// taken for it; empty when unknown.
    pub instance: Instance,
}

/// What tells a process from all others that ever had its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The machine's id, the same after each boot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub machine: String,
    /// The id of the machine's boot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// The namespace of process numbers: each container has its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// When the process started, in clock ticks since the boot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub started: String,
}

/// Field 22 of `/proc/PID/stat`, behind the name in parentheses, which may hold anything.
fn start_ticks(stat: &str) -> Option<String> {
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(19).map(str::to_owned)
}

fn started(pid: u32) -> Option<String> {
    start_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Instance {
    /// Returns this process.
    pub fn current() -> Self {
        let line = |path: &str| {
            std::fs::read_to_string(path).map_or_else(|_| String::new(), |s| s.trim().to_owned())
        };
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        Self {
            machine: line("/etc/machine-id"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.map_or_else(|_| String::new(), |p| p.display().to_string()),
            started: started(std::process::id()).unwrap_or_default(),
        }
    }

    fn is_known(&self) -> bool {
        !self.boot.is_empty() && !self.namespace.is_empty() && !self.started.is_empty()
    }
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
            instance: Instance::current(),
        }
    }
}

/// A lock as it lies in storage. restic ignores the fields that begin with our name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LockJson {
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
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mainstay_run: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mainstay_instance: Option<Instance>,
    /// Its holder waits for an exclusive lock: whoever of ours comes later lets it pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mainstay_waits: bool,
    /// The config of a repository that is being migrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mainstay_config: Option<Config>,
}

/// What a lock file claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Bears others of its kind beside it.
    Shared,
    /// Bears none beside it.
    Exclusive,
    /// Asks for its turn, and claims no more than a shared one.
    Waiting,
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
    /// Whether its holder only waits for an exclusive one.
    pub waits: bool,
    /// Whether it keeps the config of a repository that was being migrated.
    pub keeps_config: bool,
    /// Who holds it.
    pub owner: Owner,
    /// Whether its holder is surely or very likely gone.
    pub stale: bool,
    /// Whether it is of a dead run of ours on this host.
    pub reclaimable: bool,
}

/// What is known of a lock's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Alive,
    Dead,
    Unknown,
}

fn process_exists(pid: i64) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

fn fate(lock: &LockJson, me: &Owner) -> Fate {
    if lock.hostname.is_empty() || lock.hostname != me.host {
        return Fate::Unknown;
    }
    let here = &me.instance;
    let Some(there) = lock.mainstay_instance.as_ref().filter(|i| i.is_known() && here.is_known())
    else {
        // restic's rule for what it knows of its own.
        return if process_exists(lock.pid) { Fate::Alive } else { Fate::Dead };
    };
    if there.boot != here.boot {
        // Hosts of one name are told apart by their machine's id; where none is known, by nothing.
        let same = !there.machine.is_empty() && there.machine == here.machine;
        return if same { Fate::Dead } else { Fate::Unknown };
    }
    if there.namespace != here.namespace {
        // The numbers of another container's processes say nothing here.
        return Fate::Unknown;
    }
    let pid = u32::try_from(lock.pid).unwrap_or(0);
    match started(pid) {
        Some(started) if started == there.started => Fate::Alive,
        _ => Fate::Dead,
    }
}

fn judge(id: Id, lock: LockJson, me: &Owner, now: Timestamp) -> LockInfo {
    let old = now.duration_since(lock.time) > STALE_AFTER;
    let ours = !lock.mainstay_run.is_empty();
    let fate = fate(&lock, me);
    let here = lock.hostname == me.host;
    LockInfo {
        id,
        time: lock.time,
        exclusive: lock.exclusive,
        waits: lock.mainstay_waits,
        keeps_config: lock.mainstay_config.is_some(),
        stale: fate == Fate::Dead || old,
        // One of ours stops by itself well before its lock is that old, so on this host, whose
        // clock is the same, it may go even where its process cannot be looked at.
        reclaimable: ours && (fate == Fate::Dead || (fate == Fate::Unknown && here && old)),
        owner: Owner {
            host: lock.hostname,
            username: lock.username,
            uid: lock.uid,
            gid: lock.gid,
            pid: u32::try_from(lock.pid).unwrap_or(0),
            run: lock.mainstay_run,
            instance: lock.mainstay_instance.unwrap_or_default(),
        },
    }
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
        let lock = parse(&json).map_err(|e| unreadable(&id, e))?;
        all.push(judge(id, lock, me, now));
    }
    Ok(all)
}

pub(super) fn parse(json: &[u8]) -> Result<LockJson, PortError> {
    serde_json::from_slice(json).map_err(|e| PortError::terminal("BadLock", e.to_string()))
}

fn unreadable(id: &Id, e: PortError) -> PortError {
    let class = e.class;
    PortError::new(class, "BadLock", format!("lock {id} cannot be read"))
        .with_hint("once nothing else works on this repository, run `unlock` to remove its locks")
        .with_source(e)
}

/// Writes a lock file.
pub(super) fn write(
    store: &Store,
    me: &Owner,
    now: Timestamp,
    claim: Claim,
) -> Result<Id, PortError> {
    save(store, &content(me, now, claim))
}

fn save(store: &Store, lock: &LockJson) -> Result<Id, PortError> {
    let json = serde_json::to_vec(lock)
        .map_err(|e| PortError::terminal("Internal", "lock does not serialise").with_source(e))?;
    store.save(FileKind::Lock, &json)
}

/// Writes an exclusive lock that keeps the config of a repository while it has none.
pub(crate) fn keep_config(
    store: &Store,
    me: &Owner,
    now: Timestamp,
    config: Config,
) -> Result<Id, PortError> {
    let lock = LockJson { mainstay_config: Some(config), ..content(me, now, Claim::Exclusive) };
    save(store, &lock)
}

/// Returns the config that a lock keeps, and that lock.
pub(crate) fn kept_config(store: &Store) -> Result<Option<(Id, Config)>, PortError> {
    for (id, _) in store.list(FileKind::Lock)? {
        let kept = store.load(FileKind::Lock, &id).and_then(|json| parse(&json));
        if let Ok(LockJson { mainstay_config: Some(config), .. }) = kept {
            return Ok(Some((id, config)));
        }
    }
    Ok(None)
}

fn content(me: &Owner, now: Timestamp, claim: Claim) -> LockJson {
    LockJson {
        time: now,
        exclusive: claim == Claim::Exclusive,
        hostname: me.host.clone(),
        username: me.username.clone(),
        pid: i64::from(me.pid),
        uid: me.uid,
        gid: me.gid,
        mainstay_run: me.run.clone(),
        mainstay_instance: me.instance.is_known().then(|| me.instance.clone()),
        mainstay_waits: claim == Claim::Waiting,
        mainstay_config: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(instance: Option<Instance>, run: &str, pid: u32) -> LockJson {
        LockJson {
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            exclusive: false,
            hostname: Owner::current("").host,
            username: String::new(),
            pid: i64::from(pid),
            uid: 0,
            gid: 0,
            mainstay_run: run.to_owned(),
            mainstay_instance: instance,
            mainstay_waits: false,
            mainstay_config: None,
        }
    }

    /// Judges a lock at an age in minutes; returns (stale, reclaimable).
    fn verdict(lock: LockJson, minutes: i64) -> (bool, bool) {
        let now = lock.time + SignedDuration::from_mins(minutes);
        let info = judge(Id::default(), lock, &Owner::current("me"), now);
        (info.stale, info.reclaimable)
    }

    #[test]
    fn only_dead_runs_of_ours_are_reclaimed() {
        let me = Instance::current();
        let alive = std::process::id();
        let with = |change: &dyn Fn(&mut Instance)| {
            let mut instance = me.clone();
            change(&mut instance);
            Some(instance)
        };
        // This very process, under whatever run id.
        assert_eq!(verdict(lock(Some(me.clone()), "other", alive), 1), (false, false));
        assert_eq!(verdict(lock(Some(me.clone()), "other", alive), 31), (true, false));
        // The number was given to another process since.
        let reborn = with(&|i| i.started.push('7'));
        assert_eq!(verdict(lock(reborn, "other", alive), 1), (true, true));
        // Another container's process of the same number may well live.
        let elsewhere = with(&|i| i.namespace.push('x'));
        assert_eq!(verdict(lock(elsewhere.clone(), "other", alive), 1), (false, false));
        assert_eq!(verdict(lock(elsewhere, "other", alive), 31), (true, true));
        // The machine was started again; a machine that only has the same name was not.
        let before = with(&|i| {
            i.boot.push('x');
            i.machine = me.machine.clone();
        });
        assert_eq!(verdict(lock(before, "other", alive), 1).1, !me.machine.is_empty());
        let twin = with(&|i| {
            i.boot.push('x');
            i.machine = "another".to_owned();
        });
        assert_eq!(verdict(lock(twin, "other", alive), 1), (false, false));
        // restic's are judged, and never reclaimed.
        assert_eq!(verdict(lock(None, "", alive), 1), (false, false));
        assert_eq!(verdict(lock(None, "", alive), 31), (true, false));
        assert_eq!(verdict(lock(None, "", 4_000_000), 1), (true, false));
        // Other hosts' are never reclaimed.
        let mut far = lock(Some(me), "other", alive);
        far.hostname = "far".to_owned();
        assert_eq!(verdict(far, 31), (true, false));
    }

    #[test]
    fn a_name_in_parentheses_hides_nothing() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 4711 1 1";
        assert_eq!(start_ticks(stat).as_deref(), Some("4711"));
        assert_eq!(start_ticks("nothing"), None);
    }
}
