//! How a snapshot says what it is: the receipt in a field of ours, and its essentials in tags, which
//! stay when another program rewrites the snapshot. Control records are tiny snapshots of their own.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use model::cancel::Cancel;
use model::digest::Digest;
use model::error::PortError;
use model::id::{Address, CommitId, Name, PlanId, SnapshotId};
use model::observed::SnapshotInfo;
use model::ports::mover::Bytes;
use model::progress::ProgressSink;
use model::receipt::{Control, Marker, RECEIPT_VERSION, Receipt};
use repository::{BackupOptions, Finishing, Repository, Snapshot, Stream};

/// The tag of everything that we wrote.
const OURS: &str = "mainstay";

/// The tag of control records.
const CONTROL: &str = "mainstay-control";

/// The file of a control record.
const CONTROL_FILE: &str = "control.json";

/// How our tags with a value begin.
const PREFIX: &str = "mainstay:";

/// The largest control record in bytes; the engine's own ones have some hundred.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// What stands where a rewritten snapshot does not say it any more.
const LOST: &str = "unknown";

/// Returns the tags of a receipt, the caller's own among them.
pub(super) fn tags(receipt: &Receipt, own: &BTreeSet<String>) -> Vec<String> {
    let mut tags = vec![OURS.to_owned(), format!("{PREFIX}resource={}", receipt.address)];
    let mut add = |name: &str, value: String| tags.push(format!("{PREFIX}{name}={value}"));
    add("type", receipt.template.to_string());
    add("epoch", receipt.epoch.to_string());
    if !receipt.writer.is_empty() {
        add("writer", receipt.writer.clone());
    }
    if let Some(slot) = receipt.slot {
        add("slot", slot.to_string());
    }
    if let Some(backup) = &receipt.backup {
        add("backup", backup.to_string());
    }
    if let Some(trigger) = &receipt.trigger {
        // A comma would end the tag in restic's own commands.
        add("trigger", trigger.replace(',', "%2C"));
    }
    if !receipt.complete {
        add("complete", "no".to_owned());
    }
    if receipt.suspicious.is_some() {
        add("suspicious", "yes".to_owned());
    }
    tags.extend(own.iter().filter(|tag| !is_ours(tag)).cloned());
    tags
}

fn is_ours(tag: &str) -> bool {
    tag == OURS || tag == CONTROL || tag.starts_with(PREFIX)
}

/// Returns whether a snapshot is a control record.
pub(super) fn is_control(snapshot: &Snapshot) -> bool {
    snapshot.tags.iter().any(|tag| tag == CONTROL)
}

/// Returns what is known of a snapshot.
pub(super) fn info(snapshot: &Snapshot) -> SnapshotInfo {
    let stored = serde_json::from_value::<Receipt>(snapshot.mainstay.clone()).ok();
    let receipt = stored.or_else(|| from_tags(snapshot));
    SnapshotInfo {
        id: SnapshotId::from(snapshot.id.hex()),
        time: snapshot.time,
        address: receipt.as_ref().map(|r| r.address.clone()),
        receipt,
        tags: snapshot.tags.iter().filter(|tag| !is_ours(tag)).cloned().collect(),
        hostname: snapshot.host.clone(),
        paths: snapshot.paths.clone(),
    }
}

/// Makes a minimal receipt of the tags of a snapshot whose own field is gone.
fn from_tags(snapshot: &Snapshot) -> Option<Receipt> {
    let values: BTreeMap<&str, &str> =
        snapshot.tags.iter().filter_map(|tag| tag.strip_prefix(PREFIX)?.split_once('=')).collect();
    let number = |name: &str| snapshot.summary.get(name).and_then(serde_json::Value::as_u64);
    let suspicious = || "the receipt was lost when the snapshot was rewritten".to_owned();
    Some(Receipt {
        version: RECEIPT_VERSION,
        address: values.get("resource")?.parse::<Address>().ok()?,
        backup: values.get("backup").and_then(|b| b.parse::<Name>().ok()),
        slot: values.get("slot").and_then(|slot| slot.parse::<Timestamp>().ok()),
        trigger: values.get("trigger").map(|trigger| trigger.replace("%2C", ",")),
        taken_at: snapshot.time,
        marker: Marker::default(),
        digest: String::new(),
        files: number("total_files_processed").unwrap_or_default(),
        bytes: number("total_bytes_processed").unwrap_or_default(),
        complete: values.get("complete") != Some(&"no"),
        failures: Vec::new(),
        failures_count: 0,
        suspicious: values.contains_key("suspicious").then(suspicious),
        template: values.get("type").and_then(|t| t.parse().ok()).or_else(|| LOST.parse().ok())?,
        template_digest: Digest(String::new()),
        commit: CommitId::from(LOST),
        plan: PlanId::from(LOST),
        writer: values.get("writer").map(|w| (*w).to_owned()).unwrap_or_default(),
        epoch: values.get("epoch").and_then(|e| e.parse().ok()).unwrap_or_default(),
        mainstay: snapshot.program_version.clone(),
    })
}

/// Writes a control record.
pub(super) fn write_control(
    repository: &Repository,
    control: &Control,
    progress: &dyn ProgressSink,
    cancel: &Cancel,
) -> Result<(), PortError> {
    let failed = |e: serde_json::Error| {
        PortError::terminal("Internal", "a control record is not JSON").with_source(e)
    };
    let value = serde_json::to_value(control).map_err(failed)?;
    let text = serde_json::to_vec(control).map_err(failed)?;
    let stream = Stream {
        name: CONTROL_FILE.to_owned(),
        size_hint: text.len() as u64,
        source: Box::new(Bytes::new(text)),
    };
    let options = BackupOptions::new(OURS, control.at);
    let finishing = Finishing { tags: vec![OURS.to_owned(), CONTROL.to_owned()], receipt: value };
    repository.backup_streams(vec![stream], &options, |_| Ok(finishing), progress, cancel).map(drop)
}

/// Reads a control record: from the field, or from its file when the snapshot was rewritten.
pub(super) fn read_control(
    repository: &Repository,
    snapshot: &Snapshot,
    cancel: &Cancel,
) -> Result<Option<Control>, PortError> {
    if let Ok(control) = serde_json::from_value(snapshot.mainstay.clone()) {
        return Ok(Some(control));
    }
    let mut file = Bounded(Vec::new());
    let path = format!("/{CONTROL_FILE}");
    repository.dump(&snapshot.id, path.as_bytes(), &mut file, cancel)?;
    match serde_json::from_slice(&file.0) {
        Ok(control) => Ok(Some(control)),
        Err(error) => {
            // Written by a newer version, most likely: what it says cannot be acted on here.
            tracing::warn!(snapshot = %snapshot.id.short(), %error, "a control record is not known");
            Ok(None)
        }
    }
}

/// Memory with a limit.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > CONTROL_BYTES_MAX {
            return Err(std::io::Error::other("a control record is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
