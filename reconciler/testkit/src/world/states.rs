//! What writers remember: records, a journal, an epoch; and, for the checks alone, what really
//! happened to each of these memories.

use std::collections::{BTreeMap, BTreeSet};

use model::journal::Record;
use model::ports::state::Owner;
use runtime::memory::{kind, meta};

/// What a state really went through. It is copied and lost together with the state, because it says
/// what the state could know.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// The commit that was applied last.
    pub applied: Option<usize>,
    /// Places where a repository was seen.
    pub seen: BTreeSet<String>,
    /// Commits that were fetched.
    pub fetched: BTreeSet<usize>,
}

/// A memory that does not know all that it did.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// When it was lost or went back.
    pub since_ms: i64,
    /// The last epoch under which it is known to have looked at a repository; what was written
    /// under a higher one shows that it went back. What was written later under the same epoch, by
    /// a start that the copy knows, does not show.
    pub epoch: u64,
    /// Under which name it wrote, as far as it still knows; `None`: it knows nothing.
    pub writer: Option<String>,
}

/// One memory.
#[derive(Clone, Debug, Default)]
pub struct StateStore {
    /// Records by kind and key.
    pub records: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// The journal.
    pub journal: Vec<Record>,
    /// The epoch that was given last.
    pub epoch: u64,
    /// Who writes.
    pub writer: Option<(usize, Owner)>,
    /// See [`Lineage`].
    pub lineage: Lineage,
    /// It was lost or went back, and nobody has accepted that.
    pub doubt: Option<Doubt>,
    /// It was lost or went back at any time.
    pub ever_doubted: bool,
    /// Alarms that a person accepted.
    pub accepted: BTreeSet<String>,
    /// Destructive digests that a person approved.
    pub approved: BTreeSet<String>,
}

impl StateStore {
    /// Returns the sequence number that the journal's next record will have.
    pub fn journal_end(&self) -> u64 {
        self.journal.last().map_or(1, |last| last.sequence + 1)
    }

    /// Returns the doubt in which this memory is when it takes the place of one that knew more.
    pub fn doubted_since(&self, since_ms: i64) -> Doubt {
        let of = |kind| self.records.get(kind).into_iter().flatten();
        let writer = of(kind::META).find(|(key, _)| *key == meta::WRITER_ID);
        let looked = of(kind::SETTLED).filter_map(|(_, epoch)| runtime::memory::decode(epoch));
        Doubt {
            since_ms,
            epoch: looked.max().unwrap_or(0),
            writer: writer.and_then(|(_, name)| runtime::memory::decode(name)),
        }
    }
}
