//! The world of a scenario: what is really there, what our state remembers, and how both look to
//! the planner. Changed by facts that a script states and by steps that succeed.

use std::collections::BTreeMap;

use model::Timestamp;
use model::desired::Desired;
use model::id::{Address, CommitId, Name, RepositoryId, SnapshotId};
use model::observed::{
    Ancestry, Memory, Observation, Observed, RepositoryObservation, SnapshotInfo,
};
use model::plan::Plan;
use model::receipt::{Control, Marker};

/// The state of a scenario; copied for `undo` and `branch`.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The clock.
    pub(super) now: Timestamp,
    /// Files of the config repository.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// All commits in the order in which they were made, with their files; the one in force.
    pub(super) commits: Vec<Commit>,
    pub(super) head: usize,
    /// Files changed since the commit in force.
    pub(super) dirty: bool,
    /// The next commit does not descend from the one before.
    pub(super) rewritten: bool,
    /// History cannot be looked at.
    pub(super) shallow: bool,
    /// What the commit in force asks for.
    pub(super) desired: Option<Desired>,
    /// Resources that are not simply absent.
    pub(super) resources: BTreeMap<Address, Thing>,
    /// Repositories that were ever made.
    pub(super) repositories: BTreeMap<Name, Store>,
    /// Our own state.
    pub(super) memory: Memory,
    /// What recoveries put aside, by token.
    pub(super) aside: BTreeMap<String, Option<Thing>>,
    /// Numbers snapshots, repositories and tokens.
    pub(super) made: u64,
    /// The last plans, newest last.
    pub(super) plans: Vec<Plan>,
    /// Restores and verifications that were measured.
    pub(super) measured: plan::whatif::Measured,
}

/// One commit.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) id: CommitId,
    pub(super) parent: Option<usize>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// A resource as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) marker: Marker,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) damaged: Option<String>,
    /// It is absent, and this is how that is seen.
    pub(super) absent: Option<String>,
    /// It cannot be looked at: word and detail.
    pub(super) unknown: Option<(String, String)>,
}

impl Default for Thing {
    fn default() -> Self {
        Self {
            marker: Marker::default(),
            bytes: 4096,
            entries: 10,
            damaged: None,
            absent: None,
            unknown: None,
        }
    }
}

/// A repository as it is.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) id: RepositoryId,
    pub(super) snapshots: Vec<SnapshotInfo>,
    pub(super) controls: Vec<Control>,
    /// It is not there any more, and this is how that is seen.
    pub(super) absent: Option<String>,
    /// It cannot be read: word and detail.
    pub(super) unknown: Option<(String, String)>,
}

/// The instant at which every scenario begins: a Friday at noon.
const BEGIN: &str = "2026-11-20T12:00:00Z";

impl State {
    pub(super) fn new() -> Self {
        let memory = Memory {
            known: true,
            writer: "w".into(),
            epoch: 2,
            epoch_before: 1,
            ..Memory::default()
        };
        Self {
            now: BEGIN.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            files: BTreeMap::new(),
            commits: Vec::new(),
            head: 0,
            dirty: false,
            rewritten: false,
            shallow: false,
            desired: None,
            resources: BTreeMap::new(),
            repositories: BTreeMap::new(),
            memory,
            aside: BTreeMap::new(),
            made: 0,
            plans: Vec::new(),
            measured: plan::whatif::Measured::default(),
        }
    }

    /// Returns the next number.
    pub(super) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Returns a new snapshot id.
    pub(super) fn snapshot_id(&mut self) -> SnapshotId {
        SnapshotId::from(format!("{:0<64}", format!("{:08}", self.number())))
    }

    /// Makes a new, empty repository.
    pub(super) fn store(&mut self) -> Store {
        Store {
            id: RepositoryId::from(format!("{:0<64}", format!("e{:07}", self.number()))),
            snapshots: Vec::new(),
            controls: Vec::new(),
            absent: None,
            unknown: None,
        }
    }

    /// Adds documents to the config repository, each as a file of its own, so that one of the same
    /// kind and name takes the place of the one before; or replaces all.
    pub(super) fn add(&mut self, text: &str, all: bool) -> Result<(), String> {
        if all {
            self.files.clear();
        }
        for document in text.split("\n---") {
            let document = document.trim_start_matches("---").trim_start_matches('\n');
            if document.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
                continue;
            }
            let value: serde_yaml::Value =
                serde_yaml::from_str(document).map_err(|e| format!("no YAML: {e}"))?;
            let kind = value["kind"].as_str().unwrap_or("document").to_lowercase();
            let name = value["metadata"]["name"].as_str().unwrap_or("unnamed");
            let file = format!("{kind}-{name}.yaml");
            self.files.insert(file, format!("{}\n", document.trim_end()).into_bytes());
        }
        self.dirty = true;
        Ok(())
    }

    /// Removes a document, `kind/name` in lower case.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), String> {
        let file = format!("{}.yaml", name.replace('/', "-"));
        self.dirty = true;
        match self.files.remove(&file) {
            Some(_) => Ok(()),
            None => Err(format!("there is no document {name}")),
        }
    }

    /// Replaces a text in the documents; it must stand there exactly once.
    pub(super) fn replace(&mut self, old: &str, new: &str) -> Result<(), String> {
        let count = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(old).count();
        let hits: usize = self.files.values().map(|bytes| count(bytes)).sum();
        if hits != 1 {
            return Err(format!("`{old}` stands {hits} times in the documents, not once"));
        }
        for bytes in self.files.values_mut() {
            *bytes = String::from_utf8_lossy(bytes).replace(old, new).into_bytes();
        }
        self.dirty = true;
        Ok(())
    }

    /// `back`: the commit before the one in force. `rewritten`: what comes next has no history.
    /// `shallow`: history cannot be looked at; `whole`: it can again.
    pub(super) fn git(&mut self, how: &str) -> Result<(), String> {
        match how {
            "back" => {
                let parent = self.commits.get(self.head).and_then(|c| c.parent);
                self.head = parent.ok_or("there is no earlier commit")?;
                self.files = self.commits[self.head].files.clone();
                (self.dirty, self.desired) = (false, None);
            }
            "rewritten" => (self.rewritten, self.dirty) = (true, true),
            "shallow" => self.shallow = true,
            "whole" => self.shallow = false,
            other => return Err(format!("`{other}` is nothing that happens to git")),
        }
        Ok(())
    }

    /// Makes the commit of what was changed, loads it and returns everything that is wrong with it.
    pub(super) fn commit(&mut self, builtin: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
        if self.dirty || self.commits.is_empty() {
            let parent = match (self.commits.is_empty(), self.rewritten) {
                (true, _) | (false, true) => None,
                (false, false) => Some(self.head),
            };
            let id = CommitId::from(format!("{:0<40}", format!("c{}", self.commits.len() + 1)));
            self.commits.push(Commit { id, parent, files: self.files.clone() });
            self.head = self.commits.len() - 1;
            (self.dirty, self.rewritten) = (false, false);
            self.desired = None;
        }
        if self.desired.is_some() {
            return Ok(());
        }
        let commit = &self.commits[self.head];
        let loaded = config::load(&commit.files, builtin, commit.id.clone());
        match loaded.desired {
            Some(desired) => {
                self.desired = Some(desired);
                Ok(())
            }
            None => Err(config::render::text(&loaded.diagnostics, &commit.files)),
        }
    }

    /// How the commit in force relates to the one that was applied last.
    fn ancestry(&self) -> Ancestry {
        let Some(last) = &self.memory.last_applied else { return Ancestry::First };
        let at = |id: &CommitId| self.commits.iter().position(|c| &c.id == id);
        if self.commits.get(self.head).is_some_and(|c| &c.id == last) {
            return Ancestry::Same;
        }
        if self.shallow {
            return Ancestry::Unknown;
        }
        let Some(last) = at(last) else { return Ancestry::Unknown };
        let mut cursor = self.commits.get(self.head).and_then(|c| c.parent);
        while let Some(at) = cursor {
            if at == last {
                return Ancestry::Descends;
            }
            cursor = self.commits[at].parent;
        }
        Ancestry::Diverged
    }

    /// The world as a pass would see it.
    pub(super) fn observed(&self, desired: &Desired) -> Observed {
        let mut memory = self.memory.clone();
        memory.ancestry = self.ancestry();
        Observed {
            at: self.now,
            resources: desired
                .resources
                .keys()
                .map(|address| (address.clone(), self.observation(address)))
                .collect(),
            repositories: desired
                .repositories
                .keys()
                .map(|name| (name.clone(), self.store_seen(name)))
                .collect(),
            memory,
        }
    }

    /// One resource as a probe would see it.
    pub(super) fn observation(&self, address: &Address) -> Observation {
        let absent = |detail: &str| Observation::Absent { detail: detail.to_owned(), at: self.now };
        let Some(thing) = self.resources.get(address) else { return absent("nothing is there") };
        if let Some((reason, detail)) = &thing.unknown {
            return Observation::Unknown { reason: reason.clone(), detail: detail.clone() };
        }
        if let Some(detail) = &thing.absent {
            return absent(detail);
        }
        Observation::Known {
            marker: thing.marker.clone(),
            bytes: Some(thing.bytes),
            entries: Some(thing.entries),
            damaged: thing.damaged.clone(),
            at: self.now,
        }
    }

    fn store_seen(&self, name: &Name) -> RepositoryObservation {
        let Some(store) = self.repositories.get(name) else {
            return RepositoryObservation::Absent { detail: "no repository is there".to_owned() };
        };
        if let Some((reason, detail)) = &store.unknown {
            return RepositoryObservation::Unknown {
                reason: reason.clone(),
                detail: detail.clone(),
            };
        }
        if let Some(detail) = &store.absent {
            return RepositoryObservation::Absent { detail: detail.clone() };
        }
        let mut snapshots = store.snapshots.clone();
        snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        RepositoryObservation::Known {
            id: store.id.clone(),
            snapshots,
            controls: store.controls.clone(),
            free_bytes: None,
            waste_bytes: None,
        }
    }

    /// Finds a snapshot by the beginning of its id.
    pub(super) fn find(&self, digits: &str) -> Result<(Name, SnapshotInfo), String> {
        let hits: Vec<(Name, &SnapshotInfo)> = self
            .repositories
            .iter()
            .flat_map(|(name, store)| store.snapshots.iter().map(|s| (name.clone(), s)))
            .filter(|(_, s)| s.id.starts_with(digits))
            .collect();
        match hits.as_slice() {
            [(name, found)] => Ok((name.clone(), (*found).clone())),
            [] => Err(format!("no point begins with `{digits}`")),
            _ => Err(format!("several points begin with `{digits}`")),
        }
    }

    /// Forgets everything that our own state knows. Whether that is noticed, the receipts decide.
    pub(super) fn forget(&mut self) {
        let receipts = self.repositories.values().any(|store| {
            store.absent.is_none()
                && store.unknown.is_none()
                && store.snapshots.iter().any(|s| s.address.is_some())
        });
        let epoch = self.memory.epoch;
        self.memory = Memory {
            known: !receipts,
            writer: format!("w{epoch}"),
            epoch: epoch + 1,
            epoch_before: 0,
            ..Memory::default()
        };
    }
}
