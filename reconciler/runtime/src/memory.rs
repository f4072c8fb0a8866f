//! What our state remembers, read into one `Memory` value and written record by record.
//!
//! Losing any of it is harmless: the repositories say of themselves what must not be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::agent::Agent;
use model::desired::Hold;
use model::digest::Digest;
use model::error::PortError;
use model::few::Proofs;
use model::id::{CommitId, Name, RepositoryId, SnapshotId};
use model::observed::{Backoff, BackupRequest, Deed, Memory, RecoveryRecord};
use model::ports::state::{Change, State};
use model::receipt::Evidence;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::world::encode;

/// The kinds of records.
pub mod kind {
    /// Single values, by the keys in [`super::meta`].
    pub const META: &str = "meta";
    /// Evidence by snapshot id.
    pub const EVIDENCE: &str = "evidence";
    /// Recoveries by token.
    pub const RECOVERY: &str = "recovery";
    /// The rendered agent of a recovery, by token.
    pub const RECOVERY_AGENT: &str = "recovery-agent";
    /// Approvals by destructive digest.
    pub const APPROVAL: &str = "approval";
    /// Holds made by hand, by name.
    pub const HOLD: &str = "hold";
    /// Instants of deeds for budgets, by deed.
    pub const DEED: &str = "deed";
    /// Backups asked for by hand, by token.
    pub const REQUEST: &str = "request";
    /// Failures in a row, by step.
    pub const BACKOFF: &str = "backoff";
    /// Repository ids, by name.
    pub const REPOSITORY: &str = "repository";
    /// The epoch that was found to be above all that a repository held, or under which it was made,
    /// by its name.
    pub const SETTLED: &str = "settled";
    /// The id of the repository that was found in the place of a name last, also when another one
    /// is expected there.
    pub const FOUND: &str = "found";
    /// Last prune, by repository.
    pub const RECLAIMED: &str = "reclaimed";
    /// Alarms that a person accepted.
    pub const ALARM: &str = "alarm";
    /// When the document of an erasure was first seen, by its digest.
    pub const ERASURE: &str = "erasure";
    /// The last whole restore of each resource as it was measured, by address.
    pub const RESTORE: &str = "restore";
    /// Wakes the daemon when its value changes.
    pub const WAKE: &str = "wake";
    /// The last plan, for who approves it.
    pub const PLAN: &str = "plan";
}

/// The keys of single values.
pub mod meta {
    /// The commit that was applied last, and how many documents it had.
    pub const LAST_APPLIED: &str = "last-applied";
    /// The newest commit whose configuration was valid.
    pub const LAST_GOOD: &str = "last-good";
    /// Set at the end of the first pass: from then on an empty state is a lost one.
    pub const KNOWN: &str = "known";
    /// The state was new although receipts existed; stays until accepted.
    pub const LOST: &str = "memory-lost";
    /// The state's epoch was below the repositories'; stays until accepted.
    pub const EPOCH_SUSPECT: &str = "epoch-suspect";
    /// The id of this state.
    pub const WRITER_ID: &str = "writer-id";
    /// The epoch that holds.
    pub const EPOCH: &str = "epoch";
    /// The last epoch under which a repository was looked at before this start; what carries a
    /// higher one was forgotten. A start that was killed before it looked counts for nothing.
    pub const EPOCH_BEFORE: &str = "epoch-before";
    /// The newest instant ever seen.
    pub const NEWEST_INSTANT: &str = "newest-instant";
}

/// The commit that was applied last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Which.
    pub commit: CommitId,
    /// How many documents it had.
    pub documents: u64,
}

/// Reads everything; `epoch` is the writer's, 0 for a reader. A record that cannot be read is left
/// out: forgetting is always safe.
pub async fn load(state: &dyn State, epoch: u64) -> Result<Memory, PortError> {
    let metas = state.list(kind::META).await?;
    let applied: Option<Applied> = metas.get(meta::LAST_APPLIED).and_then(decode);
    let written: Option<u64> = metas.get(meta::EPOCH).and_then(decode);
    let suspect: Option<u64> = metas.get(meta::EPOCH_SUSPECT).and_then(decode);
    let before: Option<u64> = metas.get(meta::EPOCH_BEFORE).and_then(decode);
    let known = metas.contains_key(meta::KNOWN) && !metas.contains_key(meta::LOST);
    let by_key = |map: BTreeMap<String, Vec<u8>>| map.into_keys().collect::<BTreeSet<_>>();
    Ok(Memory {
        known,
        writer: metas.get(meta::WRITER_ID).and_then(decode).unwrap_or_default(),
        epoch: written.unwrap_or(epoch),
        epoch_before: suspect.or(before).unwrap_or(0),
        last_applied: applied.as_ref().map(|a| a.commit.clone()),
        last_documents: applied.map(|a| a.documents),
        ancestry: model::observed::Ancestry::First,
        repositories: read_names::<RepositoryId>(state, kind::REPOSITORY).await?,
        evidence: state
            .list(kind::EVIDENCE)
            .await?
            .iter()
            .filter_map(|(k, v)| Some((SnapshotId::from(k.as_str()), decode(v)?)))
            .collect(),
        recoveries: state
            .list(kind::RECOVERY)
            .await?
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), decode::<RecoveryRecord>(v)?)))
            .collect(),
        approvals: approvals(state).await?,
        holds: state.list(kind::HOLD).await?.values().filter_map(decode::<Hold>).collect(),
        deeds: read_deeds(state).await?,
        requests: state
            .list(kind::REQUEST)
            .await?
            .values()
            .filter_map(decode::<BackupRequest>)
            .collect(),
        backoff: state
            .list(kind::BACKOFF)
            .await?
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), decode::<Backoff>(v)?)))
            .collect(),
        reclaimed: read_names::<Timestamp>(state, kind::RECLAIMED).await?,
        newest_instant: metas.get(meta::NEWEST_INSTANT).and_then(decode),
        erasures: state
            .list(kind::ERASURE)
            .await?
            .iter()
            .filter_map(|(k, v)| Some((Digest::from(k.clone()), decode(v)?)))
            .collect(),
        accepted_alarms: by_key(state.list(kind::ALARM).await?),
        restores: state
            .list(kind::RESTORE)
            .await?
            .iter()
            .filter_map(|(k, v)| Some((k.parse().ok()?, decode(v)?)))
            .collect(),
    })
}

/// Reads the destructive digests that a person approved.
pub async fn approvals(state: &dyn State) -> Result<BTreeSet<Digest>, PortError> {
    Ok(state.list(kind::APPROVAL).await?.into_keys().map(Digest::from).collect())
}

async fn read_names<T: DeserializeOwned>(
    state: &dyn State,
    kind: &str,
) -> Result<BTreeMap<Name, T>, PortError> {
    Ok(state
        .list(kind)
        .await?
        .iter()
        .filter_map(|(k, v)| Some((k.parse().ok()?, decode(v)?)))
        .collect())
}

/// Reads which repository was found last under each name.
pub(crate) async fn found(state: &dyn State) -> Result<BTreeMap<Name, RepositoryId>, PortError> {
    read_names(state, kind::FOUND).await
}

/// Reads under which epoch each repository was found to hold nothing of a later one.
pub(crate) async fn settled(state: &dyn State) -> Result<BTreeMap<Name, u64>, PortError> {
    read_names(state, kind::SETTLED).await
}

async fn read_deeds(state: &dyn State) -> Result<BTreeMap<Deed, Vec<Timestamp>>, PortError> {
    let mut deeds: BTreeMap<Deed, Vec<Timestamp>> = BTreeMap::new();
    for (key, value) in state.list(kind::DEED).await? {
        let Some(at) = decode::<Timestamp>(&value) else { continue };
        let deed = match key.split(':').next() {
            Some("expired") => Deed::Expired,
            Some("restored-over") => Deed::RestoredOver,
            Some("recreated") => Deed::Recreated,
            _ => continue,
        };
        deeds.entry(deed).or_default().push(at);
    }
    deeds.values_mut().for_each(|list| list.sort());
    Ok(deeds)
}

/// Returns the changes that forget what was done before an instant. The newest deed of each kind
/// stays: whether anything was forgotten since the last prune hangs on it.
pub(crate) fn old_deeds(deeds: BTreeMap<String, Vec<u8>>, before: Timestamp) -> Vec<Change> {
    let mut by_word: BTreeMap<String, Vec<(Timestamp, String)>> = BTreeMap::new();
    for (key, value) in deeds {
        let Some(at) = decode::<Timestamp>(&value) else { continue };
        let word = key.split(':').next().unwrap_or_default().to_owned();
        by_word.entry(word).or_default().push((at, key));
    }
    let mut changes = Vec::new();
    for mut deeds in by_word.into_values() {
        deeds.sort();
        deeds.pop();
        let old = deeds.into_iter().take_while(|(at, _)| *at < before);
        changes.extend(old.map(|(_, key)| unset(kind::DEED, key)));
    }
    changes
}

/// Reads one value.
pub fn decode<T: DeserializeOwned>(bytes: impl AsRef<[u8]>) -> Option<T> {
    serde_json::from_slice(bytes.as_ref()).ok()
}

/// Returns the change that sets a record.
pub fn set<T: Serialize>(
    kind: &str,
    key: impl Into<String>,
    value: &T,
) -> Result<Change, PortError> {
    Ok(Change { kind: kind.to_owned(), key: key.into(), value: Some(encode(value)?) })
}

/// Returns the change that removes a record.
pub fn unset(kind: &str, key: impl Into<String>) -> Change {
    Change { kind: kind.to_owned(), key: key.into(), value: None }
}

/// Returns the changes that remember a deed; `unique` keeps two deeds of one instant apart.
pub fn deed(deed: Deed, at: Timestamp, unique: &str) -> Result<Change, PortError> {
    let word = match deed {
        Deed::Expired => "expired",
        Deed::RestoredOver => "restored-over",
        Deed::Recreated => "recreated",
    };
    set(kind::DEED, format!("{word}:{unique}"), &at)
}

/// Adds one proof of a snapshot to what is remembered.
pub async fn add_evidence(
    state: &dyn State,
    snapshot: &SnapshotId,
    evidence: &[Evidence],
) -> Result<(), PortError> {
    let records = state.list(kind::EVIDENCE).await?;
    let key = snapshot.to_string();
    let mut set_of: Proofs = records.get(&key).and_then(decode).unwrap_or_default();
    for new in evidence {
        set_of.retain(|old| old.kind != new.kind);
        set_of.insert(new.clone());
    }
    state.write(&[set(kind::EVIDENCE, key, &set_of)?]).await
}

/// Remembers where a recovery stands.
pub async fn put_recovery(
    state: &dyn State,
    record: &RecoveryRecord,
    agent: Option<&Agent>,
) -> Result<(), PortError> {
    let mut changes = vec![set(kind::RECOVERY, record.token.clone(), record)?];
    if let Some(agent) = agent {
        changes.push(set(kind::RECOVERY_AGENT, record.token.clone(), agent)?);
    }
    state.write(&changes).await
}

/// Returns the rendered agent of a recovery, if it is remembered.
pub async fn recovery_agent(state: &dyn State, token: &str) -> Result<Option<Agent>, PortError> {
    Ok(state.list(kind::RECOVERY_AGENT).await?.get(token).and_then(decode))
}
