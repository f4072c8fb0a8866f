//! The port to our own memory: small records by kind and key, a journal, and one writer at a time.
//! Everything in it may be lost at any moment without harm.

use std::collections::BTreeMap;

use super::Boxed;
use crate::error::PortError;
use crate::journal::Record;

/// One change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind: `evidence`, `recovery`, `approval`…
    pub kind: String,
    /// The key in the kind.
    pub key: String,
    /// The new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// Who writes, for people: command, host and process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The command: `daemon`, `apply`.
    pub command: String,
    /// The machine.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// When it began.
    pub since: jiff::Timestamp,
}

/// The right to write, given back when dropped or when the process ends in any way.
pub trait Lease: Send + Sync {
    /// Returns the epoch that this writer was given: one more than any before in this state.
    fn epoch(&self) -> u64;
}

/// A store.
pub trait State: Send + Sync {
    /// Takes the right to write. Another holder is a `Waiting` error that names it.
    fn acquire<'a>(&'a self, owner: &'a Owner) -> Boxed<'a, Result<Box<dyn Lease>, PortError>>;
    /// Raises the epoch of the present writer to at least this (the highest seen in repositories
    /// plus one), and returns the epoch that now holds.
    fn raise_epoch(&self, at_least: u64) -> Boxed<'_, Result<u64, PortError>>;
    /// Returns who writes, if somebody does.
    fn writer(&self) -> Boxed<'_, Result<Option<Owner>, PortError>>;
    /// Returns all records of a kind.
    fn list<'a>(&'a self, kind: &'a str)
    -> Boxed<'a, Result<BTreeMap<String, Vec<u8>>, PortError>>;
    /// Makes all changes or none, durably.
    fn write<'a>(&'a self, changes: &'a [Change]) -> Boxed<'a, Result<(), PortError>>;
    /// Appends to the journal, durably; returns the sequence number it was given.
    fn append<'a>(&'a self, record: &'a Record) -> Boxed<'a, Result<u64, PortError>>;
    /// Returns journal records with a sequence number of at least `from`, oldest first, at most
    /// `count_max`.
    fn read_journal(
        &self,
        from: u64,
        count_max: usize,
    ) -> Boxed<'_, Result<Vec<Record>, PortError>>;
    /// Returns the sequence number that the journal's next record will have, without reading what
    /// came before.
    fn journal_end(&self) -> Boxed<'_, Result<u64, PortError>>;
}
