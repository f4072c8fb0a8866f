//! Progress of one long piece of work as a stream of events with exact counts; produced by the
//! engine, shown by the command line, kept by the journal.

use serde::{Deserialize, Serialize};

/// Counts since the start of the work. All sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Files (or objects, or streams) looked at and finished.
    pub files_done: u64,
    /// Files known so far; grows while the walk goes on.
    pub files_total: u64,
    /// Bytes of content finished, whether stored or already known.
    pub bytes_done: u64,
    /// Bytes of content known so far.
    pub bytes_total: u64,
    /// Bytes of content that were not known to the repository before.
    pub bytes_new: u64,
    /// Bytes written to storage, after compression and encryption.
    pub bytes_stored: u64,
    /// Files that could not be read or written.
    pub errors: u64,
}

/// One thing that happened in a long piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Progress {
    /// A named phase began: `scan`, `backup`, `index`, `verify`, `restore`…
    Phase {
        /// Its name.
        name: String,
    },
    /// The counts moved. Sent at a bounded rate.
    Counts(Counts),
    /// One item failed; the work goes on.
    ItemFailed {
        /// What failed, printable.
        item: String,
        /// Why.
        error: String,
    },
}

/// Where progress goes. Calls must be quick: they come from worker threads.
pub trait ProgressSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Progress);
}

/// A sink that drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl ProgressSink for Silent {
    fn event(&self, _event: Progress) {}
}
