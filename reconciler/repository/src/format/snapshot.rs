//! Snapshot files: the JSON of one recovery point, restic's fields and one of our own.

use jiff::Timestamp;
use model::error::PortError;
use serde_json::{Map, Value};

use crate::id::Id;

/// The name of the top-level field that holds the caller's receipt. restic ignores it.
pub const RECEIPT_FIELD: &str = "mainstay";

/// One recovery point.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id: the SHA-256 of the stored file.
    pub id: Id,
    /// When it was taken.
    pub time: Timestamp,
    /// The root tree.
    pub tree: Id,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
    /// The id before its metadata was first rewritten.
    pub original: Option<Id>,
    /// The absolute paths (or stream names) it holds.
    pub paths: Vec<String>,
    /// The host it is of; may be empty.
    pub host: String,
    /// Who took it; may be empty.
    pub username: String,
    /// Tags in their order.
    pub tags: Vec<String>,
    /// Which program wrote it; empty when not said.
    pub program_version: String,
    /// The caller's receipt as given at the backup; `Null` when there is none.
    pub mainstay: Value,
    /// restic's summary object; `Null` when there is none.
    pub summary: Value,
    /// All fields as stored, those unknown here included.
    pub(crate) raw: Map<String, Value>,
}

fn bad(id: &Id, what: &str) -> PortError {
    PortError::terminal("BadSnapshot", format!("snapshot {}: {what}", id.short()))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn string(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Snapshot {
    /// Reads a snapshot's JSON.
    pub fn parse(id: Id, json: &[u8]) -> Result<Self, PortError> {
        let raw: Map<String, Value> =
            serde_json::from_slice(json).map_err(|e| bad(&id, "not valid JSON").with_source(e))?;
        Self::from_map(id, raw)
    }

    pub(crate) fn from_map(id: Id, raw: Map<String, Value>) -> Result<Self, PortError> {
        let time = raw.get("time").and_then(Value::as_str).and_then(|t| t.parse().ok());
        let file_id = |key: &str| raw.get(key).and_then(Value::as_str).and_then(Id::parse);
        Ok(Self {
            id,
            time: time.ok_or_else(|| bad(&id, "no valid time"))?,
            tree: file_id("tree").ok_or_else(|| bad(&id, "no valid tree"))?,
            parent: file_id("parent"),
            original: file_id("original"),
            paths: strings(raw.get("paths")),
            host: string(raw.get("hostname")),
            username: string(raw.get("username")),
            tags: strings(raw.get("tags")),
            program_version: string(raw.get("program_version")),
            mainstay: raw.get(RECEIPT_FIELD).cloned().unwrap_or(Value::Null),
            summary: raw.get("summary").cloned().unwrap_or(Value::Null),
            raw,
        })
    }
}
