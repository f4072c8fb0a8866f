//! Repositories of the simulated world: whole snapshots in memory, without any cryptography, with
//! the rules of the real engine (write order, receipts, two phases of pruning, refusals).

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::cancel::Cancel;
use model::desired::{RepositorySpec, StorageSpec};
use model::error::PortError;
use model::id::{RepositoryId, SnapshotId};
use model::observed::{RepositoryObservation, SnapshotInfo};
use model::ports::Boxed;
use model::ports::agents::{Beside, Content, OpenSource};
use model::ports::engine::{BackupMade, BackupOrder, Engine, Reclaimed, Restored, Verified};
use model::ports::mover::StreamSource;
use model::progress::{Counts, ProgressSink};
use model::receipt::{Control, ItemFailure, Receipt};

use super::Ports;
use crate::faults::{Fault, Op};
use crate::world::content::{self, Files};
use crate::world::stores::{Body, Snap, Store};
use crate::world::{Answer, World};

/// See the module.
pub struct SimulatedEngine(pub Ports);

/// Returns where a repository lies.
pub fn path(spec: &RepositorySpec) -> &str {
    match &spec.storage {
        StorageSpec::Local { path, .. } => path,
        StorageSpec::Remote(_) => "remote storage, which the simulated world has none of",
    }
}

fn id64(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
    format!("{mixed:016x}{number:016x}{:032x}", 0)
}

fn store<'w>(world: &'w mut World, spec: &RepositorySpec) -> Result<&'w mut Store, PortError> {
    let store = world.stores.entry(path(spec).to_owned()).or_default();
    if store.cut_off {
        return Err(PortError::transient("Unreachable", format!("{} is cut off", path(spec))));
    }
    Ok(store)
}

fn body<'w>(world: &'w mut World, spec: &RepositorySpec) -> Result<&'w mut Body, PortError> {
    let missing =
        || PortError::terminal("RepositoryMissing", format!("no repository `{}`", spec.name));
    store(world, spec)?.body.as_mut().ok_or_else(missing)
}

/// As `body`, with room for more.
fn roomy<'w>(world: &'w mut World, spec: &RepositorySpec) -> Result<&'w mut Body, PortError> {
    if store(world, spec)?.full {
        return Err(PortError::transient("DiskFull", format!("{} is full", path(spec))));
    }
    body(world, spec)
}

fn snap<'b>(body: &'b Body, id: &SnapshotId) -> Result<&'b Snap, PortError> {
    let missing =
        || PortError::terminal("SnapshotMissing", format!("there is no snapshot {}", id.short()));
    body.snaps.get(id).filter(|snap| snap.control.is_none()).ok_or_else(missing)
}

/// What an opened source gave.
struct Gathered {
    files: Files,
    failures: Vec<ItemFailure>,
}

fn read_streams(streams: Vec<model::ports::agents::NamedStream>) -> Result<Files, PortError> {
    let mut files = Files::new();
    for mut stream in streams {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.source.read(&mut buffer).map_err(|error| {
                PortError::transient("ReadFailed", "a stream broke").with_source(error)
            })?;
            if read == 0 {
                break;
            }
            bytes.extend(&buffer[..read]);
        }
        let source: Box<dyn StreamSource> = stream.source;
        source.finish()?;
        files.insert(stream.name, bytes);
    }
    Ok(files)
}

/// Reads a folder as it is now.
fn read_tree(world: &World, at: &str) -> Result<Gathered, PortError> {
    let gone = || PortError::terminal("NotFound", format!("{at} is not there"));
    let thing = world.things.get(at).ok_or_else(gone)?;
    if !thing.reachable {
        return Err(PortError::transient("Unreachable", format!("{at} is out of reach")));
    }
    let live = thing.live.as_ref().ok_or_else(gone)?;
    let mut files = (*live.rows).clone();
    let mut failures = Vec::new();
    if let Some(name) = &thing.unreadable
        && files.remove(name).is_some()
    {
        failures.push(ItemFailure { item: name.clone(), error: "permission denied".to_owned() });
    }
    Ok(Gathered { files, failures })
}

fn complete(receipt: &mut Receipt, gathered: &Gathered) {
    receipt.digest = content::digest(&gathered.files).into();
    receipt.files = gathered.files.len() as u64;
    receipt.bytes = content::size(&gathered.files);
    receipt.failures = gathered.failures.as_slice().into();
    receipt.failures_count = gathered.failures.len() as u64;
    receipt.complete = gathered.failures.is_empty();
}

fn observe(world: &mut World, spec: &RepositorySpec) -> Result<RepositoryObservation, PortError> {
    let store = store(world, spec)?;
    let Some(body) = &store.body else {
        let detail = format!("there is nothing at {}", path(spec));
        return Ok(RepositoryObservation::Absent { detail });
    };
    let mut snapshots: Vec<SnapshotInfo> = body.points().map(|snap| snap.info.clone()).collect();
    snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(RepositoryObservation::Known {
        id: body.id.clone(),
        snapshots,
        controls: body.controls(),
        free_bytes: Some(if store.full { 0 } else { 1 << 40 }),
        waste_bytes: None,
    })
}

fn counts(files: &Files) -> Counts {
    let (number, bytes) = (files.len() as u64, content::size(files));
    Counts {
        files_done: number,
        files_total: number,
        bytes_done: bytes,
        bytes_total: bytes,
        ..Counts::default()
    }
}

impl SimulatedEngine {
    async fn backup_opened(
        &self,
        spec: &RepositorySpec,
        content: Content,
        mut receipt: Receipt,
        more: (String, BTreeSet<String>),
        judge: &(dyn Fn(&mut Receipt) + Send + Sync),
        cancel: &Cancel,
    ) -> Result<BackupMade, PortError> {
        let actor = self.0.actor;
        let (tree, streamed) = match content {
            Content::Tree { tree, .. } => (Some(tree.path), Files::new()),
            Content::Streams(streams) => (None, read_streams(streams)?),
        };
        let subject = receipt.address.to_string();
        let act = |world: &mut World, _: Option<Fault>| {
            roomy(world, spec)?;
            let gathered = match &tree {
                Some(at) => read_tree(world, at)?,
                None => Gathered { files: streamed, failures: Vec::new() },
            };
            complete(&mut receipt, &gathered);
            judge(&mut receipt);
            let id = SnapshotId::from(id64(world.give()));
            let made_ms = world.now_ms();
            let info = SnapshotInfo {
                id: id.clone(),
                time: receipt.taken_at,
                address: Some(receipt.address.clone()),
                receipt: Some(receipt.clone()),
                tags: more.1.into(),
                hostname: more.0.into(),
                paths: tree.iter().cloned().collect::<Vec<_>>().into(),
            };
            let body = roomy(world, spec)?;
            let files = body.store(&gathered.files);
            let made = Snap { info, control: None, files, made_ms, proven: false };
            body.snaps.insert(id.clone(), made);
            world.on_backup(actor, path(spec), &id);
            Ok(BackupMade { snapshot: id, receipt, counts: counts(&gathered.files) })
        };
        self.0.call(Op::EngineBackup, &subject, Some(cancel), act).await
    }
}

impl Engine for SimulatedEngine {
    fn observe<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, RepositoryObservation> {
        let actor = self.0.actor;
        Box::pin(async move {
            let act = |world: &mut World, fault: Option<Fault>| {
                let key = format!("{actor} {}", path(spec));
                if let (Some(Fault::Stale), Some(Answer::Repository(old))) =
                    (fault, world.answers.get(&key))
                {
                    return Ok(old.clone());
                }
                let mut seen = observe(world, spec)?;
                world.on_look(actor, path(spec));
                if world.answers_again {
                    world.answers.insert(key, Answer::Repository(seen.clone()));
                }
                if let (Some(Fault::Partial), RepositoryObservation::Known { snapshots, .. }) =
                    (fault, &mut seen)
                {
                    snapshots.pop();
                }
                Ok(seen)
            };
            match self.0.call(Op::EngineObserve, path(spec), None, act).await {
                Ok(seen) => seen,
                Err(error) => RepositoryObservation::Unknown {
                    reason: error.reason.to_owned(),
                    detail: error.message,
                },
            }
        })
    }

    fn init<'a>(&'a self, spec: &'a RepositorySpec) -> Boxed<'a, Result<RepositoryId, PortError>> {
        let actor = self.0.actor;
        let act = move |world: &mut World, _| {
            let id = RepositoryId::from(id64(world.give()));
            let store = store(world, spec)?;
            if store.body.is_some() {
                return Err(PortError::terminal("PlaceTaken", "something lies there"));
            }
            if store.full {
                return Err(PortError::transient("DiskFull", "the disk is full"));
            }
            world.on_init(actor, spec);
            let store = self::store(world, spec)?;
            store.body = Some(Body::new(id.clone()));
            store.made += 1;
            Ok(id)
        };
        Box::pin(self.0.call(Op::EngineInit, path(spec), None, act))
    }

    fn backup<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        order: BackupOrder<'a>,
        _progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<BackupMade, PortError>> {
        Box::pin(async move {
            let BackupOrder { source, receipt, hostname, tags, judge, .. } = order;
            let OpenSource { content, close, .. } = source;
            let more = (hostname, tags);
            match self.backup_opened(spec, content, receipt, more, judge, cancel).await {
                Ok(made) => {
                    close.close(false).await?;
                    Ok(made)
                }
                Err(error) => {
                    // The first error is the one that is told.
                    let _ = close.close(true).await;
                    Err(error)
                }
            }
        })
    }

    fn verify<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        _progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Verified, PortError>> {
        let act = move |world: &mut World, _| {
            let body = body(world, spec)?;
            let found = snap(body, snapshot)?;
            let Some(files) = body.read(found) else {
                let failure =
                    ItemFailure { item: "a file".to_owned(), error: "is damaged".to_owned() };
                return Ok(Verified { counts: Counts::default(), failures: vec![failure] });
            };
            if let Some(found) = body.snaps.get_mut(snapshot) {
                found.proven = true;
                body.read.insert(snapshot.clone());
            }
            Ok(Verified { counts: counts(&files), failures: Vec::new() })
        };
        Box::pin(async move {
            self.0.call(Op::EngineVerify, &snapshot.short(), Some(cancel), act).await
        })
    }

    fn restore<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshot: &'a SnapshotId,
        paths: &'a [String],
        into: Beside,
        _progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Restored, PortError>> {
        Box::pin(async move {
            let wanted = |name: &str| paths.is_empty() || paths.iter().any(|path| path == name);
            let folder = match &into {
                Beside::Folder { path, .. } => Some(path.clone()),
                Beside::Streams(_) => None,
            };
            let act = |world: &mut World, fault: Option<Fault>| {
                let body = body(world, spec)?;
                let found = snap(body, snapshot)?;
                let mut files = body.read(found).ok_or_else(|| {
                    PortError::terminal("Damaged", "stored content is damaged or missing")
                })?;
                files.retain(|name, _| wanted(name));
                if let Some(found) = body.snaps.get_mut(snapshot).filter(|_| paths.is_empty()) {
                    found.proven = true;
                    body.read.insert(snapshot.clone());
                }
                if let Some(at) = &folder {
                    world.put_beside(at, &files, fault == Some(Fault::Partial))?;
                }
                Ok((files, fault == Some(Fault::Partial)))
            };
            let (files, partial) =
                self.0.call(Op::EngineRestore, &snapshot.short(), Some(cancel), act).await?;
            if let Beside::Streams(sinks) = into {
                for mut named in sinks {
                    let Some(bytes) = files.get(&named.name) else {
                        if named.optional {
                            continue;
                        }
                        let what = "the snapshot lacks a stream";
                        return Err(PortError::terminal("StreamMissing", what));
                    };
                    named.sink.write_all(bytes).map_err(|error| {
                        PortError::transient("WriteFailed", "a stream broke").with_source(error)
                    })?;
                    named.sink.finish()?;
                }
            }
            let failures = if partial {
                vec![ItemFailure { item: "a file".into(), error: "was not written".into() }]
            } else {
                Vec::new()
            };
            let digest = paths.is_empty().then(|| content::digest(&files));
            Ok(Restored { counts: counts(&files), failures, damaged: false, digest })
        })
    }

    fn forget<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        snapshots: &'a [SnapshotId],
    ) -> Boxed<'a, Result<Vec<SnapshotId>, PortError>> {
        let actor = self.0.actor;
        let act = move |world: &mut World, fault: Option<Fault>| {
            if spec.append_only {
                return Err(PortError::terminal("AppendOnly", "nothing is deleted there"));
            }
            body(world, spec)?;
            // A run that is killed half-way has forgotten some.
            let half = matches!(fault, Some(Fault::KilledAfter(_)));
            let some = if half { snapshots.len().div_ceil(2) } else { snapshots.len() };
            let going = &snapshots[..some];
            world.on_forget(actor, path(spec), going);
            let body = body(world, spec)?;
            for id in going {
                body.snaps.remove(id);
            }
            Ok(snapshots.to_vec())
        };
        Box::pin(self.0.call(Op::EngineForget, path(spec), None, act))
    }

    fn reclaim<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        _now: Timestamp,
        _progress: &'a dyn ProgressSink,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Reclaimed, PortError>> {
        let actor = self.0.actor;
        let act = move |world: &mut World, _| {
            let now_ms = world.now_ms();
            body(world, spec)?;
            world.on_reclaim(actor, path(spec));
            let (freed_bytes, marked_bytes) = body(world, spec)?.prune(now_ms);
            Ok(Reclaimed { freed_bytes, marked_bytes })
        };
        Box::pin(self.0.call(Op::EngineReclaim, path(spec), Some(cancel), act))
    }

    fn record<'a>(
        &'a self,
        spec: &'a RepositorySpec,
        control: &'a Control,
    ) -> Boxed<'a, Result<(), PortError>> {
        let actor = self.0.actor;
        let act = move |world: &mut World, _| {
            let id = SnapshotId::from(id64(world.give()));
            let made_ms = world.now_ms();
            let info = SnapshotInfo {
                id: id.clone(),
                time: control.at,
                address: None,
                receipt: None,
                tags: Default::default(),
                hostname: "mainstay".into(),
                paths: Default::default(),
            };
            let snap = Snap {
                info,
                control: Some(control.clone()),
                files: std::collections::BTreeMap::new(),
                made_ms,
                proven: true,
            };
            roomy(world, spec)?.snaps.insert(id, snap);
            world.on_record(actor, path(spec), control);
            Ok(())
        };
        Box::pin(self.0.call(Op::EngineRecord, path(spec), None, act))
    }
}

impl World {
    /// Writes restored files into the folder beside a place; a part of them, when asked to.
    fn put_beside(&mut self, at: &str, files: &Files, partly: bool) -> Result<(), PortError> {
        let gone = || PortError::terminal("NotFound", format!("{at} is not there"));
        let (place, token) = at.split_once('#').ok_or_else(gone)?;
        let thing = self.things.get_mut(place).ok_or_else(gone)?;
        if !thing.reachable {
            return Err(PortError::transient("Unreachable", format!("{at} is out of reach")));
        }
        let recovery = thing.recoveries.get_mut(token).ok_or_else(gone)?;
        let some = if partly { files.len() / 2 } else { files.len() };
        let written: Files =
            files.iter().take(some).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        recovery.beside = Some(std::sync::Arc::new(written));
        Ok(())
    }
}
