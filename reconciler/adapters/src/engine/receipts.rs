//! Receipts and control records inside snapshots. The receipt is a field of the snapshot's own
//! JSON; its essentials are tags as well, because restic drops fields that it does not know when it
//! rewrites or copies a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Timestamp;
use model::cancel::Cancel;
use model::digest::Digest;
use model::error::PortError;
use model::id::{Address, CommitId, Name, PlanId, RepositoryId, SnapshotId};
use model::observed::{RepositoryObservation, SnapshotInfo};
use model::ports::mover::Bytes;
use model::progress::Silent;
use model::receipt::{Control, Marker, RECEIPT_VERSION, Receipt};
use model::text::Interner;
use repository::{BackupOptions, Finishing, Repository, Snapshot, Stream};
use serde_json::{Value, json};

/// On every snapshot of ours.
const TAG: &str = "mainstay";
/// On control records.
const CONTROL_TAG: &str = "mainstay-control";
/// Names the resource.
pub const RESOURCE_TAG: &str = "mainstay:resource=";
/// What a snapshot of another program gets, besides the resource's tag, when it is adopted.
pub const ADOPTED_TAGS: [&str; 2] = [TAG, "mainstay:adopted"];
const BACKUP_TAG: &str = "mainstay:backup=";
const SLOT_TAG: &str = "mainstay:slot=";
const TRIGGER_TAG: &str = "mainstay:trigger=";
const EPOCH_TAG: &str = "mainstay:epoch=";
const PARTIAL_TAG: &str = "mainstay:partial";
/// The file that a control record is.
const CONTROL_FILE: &str = "control.json";

/// Returns the tags of a snapshot.
pub fn tags(receipt: &Receipt, more: &BTreeSet<String>) -> Vec<String> {
    let mut tags = vec![TAG.to_owned(), format!("{RESOURCE_TAG}{}", receipt.address)];
    tags.extend(receipt.backup.iter().map(|name| format!("{BACKUP_TAG}{name}")));
    tags.extend(receipt.slot.iter().map(|at| format!("{SLOT_TAG}{at}")));
    tags.extend(receipt.trigger.iter().map(|token| format!("{TRIGGER_TAG}{token}")));
    tags.push(format!("{EPOCH_TAG}{}", receipt.epoch));
    if !receipt.complete {
        tags.push(PARTIAL_TAG.to_owned());
    }
    tags.extend(more.iter().cloned());
    tags
}

/// Returns the snapshot's own field.
pub fn value(receipt: &Receipt) -> Value {
    json!({ "receipt": receipt })
}

/// Returns what the planner sees of a repository.
pub fn observation(
    id: RepositoryId,
    snapshots: &[Snapshot],
    free_bytes: Option<u64>,
) -> RepositoryObservation {
    let mut controls: Vec<Control> =
        snapshots.iter().filter(|s| is_control(s)).filter_map(control_of).collect();
    controls.sort_by_key(|c| c.at);
    // The snapshots of a fleet say the same few things millions of times.
    let mut interner = Interner::default();
    let shared = |snapshot| {
        let mut info = info_of(snapshot);
        info.share(&mut interner);
        info
    };
    let infos = snapshots.iter().filter(|s| !is_control(s)).map(shared).collect();
    RepositoryObservation::Known { id, snapshots: infos, controls, free_bytes, waste_bytes: None }
}

/// Returns whether a snapshot is a control record: not a point of anything.
pub fn is_control(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == CONTROL_TAG)
}

fn control_of(snapshot: &Snapshot) -> Option<Control> {
    match serde_json::from_value(snapshot.mainstay.get("control")?.clone()) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(snapshot = %snapshot.id.short(), %error, "a control record is not read");
            None
        }
    }
}

/// Returns what is known of one snapshot.
pub fn info_of(snapshot: &Snapshot) -> SnapshotInfo {
    let receipt = snapshot
        .mainstay
        .get("receipt")
        .and_then(|value| serde_json::from_value::<Receipt>(value.clone()).ok())
        .or_else(|| receipt_from_tags(snapshot));
    let ours = |tag: &String| tag == TAG || tag.starts_with("mainstay:");
    SnapshotInfo {
        id: SnapshotId::from(snapshot.id.hex()),
        time: snapshot.time,
        address: receipt.as_ref().map(|r| r.address.clone()),
        receipt,
        tags: Arc::new(snapshot.tags.iter().filter(|tag| !ours(tag)).cloned().collect()),
        hostname: snapshot.host.as_str().into(),
        paths: snapshot.paths.clone().into(),
    }
}

/// Rebuilds what can be from the tags of a snapshot that another program rewrote.
fn receipt_from_tags(snapshot: &Snapshot) -> Option<Receipt> {
    let find = |prefix: &str| snapshot.tags.iter().find_map(|t| t.strip_prefix(prefix));
    let address: Address = find(RESOURCE_TAG)?.parse().ok()?;
    let unknown: Name = "unknown".parse().ok()?;
    let number = |name: &str| snapshot.summary.get(name).and_then(Value::as_u64).unwrap_or(0);
    Some(Receipt {
        version: RECEIPT_VERSION,
        address,
        backup: find(BACKUP_TAG).and_then(|t| t.parse().ok()),
        slot: find(SLOT_TAG).and_then(|t| t.parse().ok()),
        trigger: find(TRIGGER_TAG).map(Into::into),
        taken_at: snapshot.time,
        marker: Marker::default(),
        digest: "".into(),
        files: number("total_files_processed"),
        bytes: number("total_bytes_processed"),
        complete: !snapshot.tags.iter().any(|t| t == PARTIAL_TAG),
        failures: Default::default(),
        failures_count: 0,
        suspicious: None,
        template: unknown,
        template_digest: Digest::from(""),
        commit: CommitId::from(""),
        plan: PlanId::from(""),
        writer: Default::default(),
        epoch: find(EPOCH_TAG).and_then(|t| t.parse().ok()).unwrap_or(0),
        mainstay: snapshot.program_version.as_str().into(),
    })
}

/// Writes a control record as a snapshot of one small file.
pub fn record(repository: &Repository, control: &Control, now: Timestamp) -> Result<(), PortError> {
    let text = serde_json::to_vec_pretty(control).map_err(|e| {
        PortError::terminal("Internal", "a control record does not serialise").with_source(e)
    })?;
    let stream = Stream {
        name: CONTROL_FILE.to_owned(),
        size_hint: text.len() as u64,
        source: Box::new(Bytes::new(text)),
    };
    let options = BackupOptions::new("mainstay", now);
    let finishing = |_: &_| {
        Ok(Finishing {
            tags: vec![TAG.to_owned(), CONTROL_TAG.to_owned()],
            receipt: json!({ "control": control }),
        })
    };
    repository
        .backup_streams(vec![stream], &options, finishing, &Silent, &Cancel::default())
        .map(drop)
}
