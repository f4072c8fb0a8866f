//! What a repository says of itself: receipts of backups, and control records for what would do
//! harm if it were forgotten. Persisted inside repositories, so both carry a version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use thin_vec::ThinVec;

use crate::digest::Digest;
use crate::few::Numbers;
use crate::id::{Address, CommitId, Name, PlanId, SnapshotId};
use crate::text::{Hex, Interner, Text};

/// Version of [`Receipt`] and [`Control`]. A newer one is read as far as it can be, never
/// rewritten.
pub const RECEIPT_VERSION: u32 = 1;

/// Failed items that a receipt names; beyond it only the count grows.
pub const FAILURES_MAX: usize = 1000;

/// What a probe learns of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// Is it the same one? `None` where the kind of source cannot tell.
    pub identity: Option<Text>,
    /// Numbers that only grow while nothing is put back: an LSN, a revision, a sequence. A lower
    /// one under the same identity means rolled back.
    pub counters: Numbers,
    /// Digest of the content, where it can be had cheaply: equal to an older point's and not to
    /// the newest's means rolled back.
    pub digest: Option<Text>,
    /// Counts that may fall (rows of a table, files); compared with limits and after a restore.
    pub counts: Numbers,
}

/// One file, object or stream that could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Which, printable.
    pub item: String,
    /// Why.
    pub error: String,
}

/// What a finished backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// The resource.
    pub address: Address,
    /// The `Backup` document; `None` for a backup by hand.
    pub backup: Option<Name>,
    /// The scheduled instant that this backup serves.
    pub slot: Option<Timestamp>,
    /// The trigger token that this backup serves.
    pub trigger: Option<Text>,
    /// The instant of the consistency point.
    pub taken_at: Timestamp,
    /// The resource as it was then.
    pub marker: Marker,
    /// Digest of the content: of the streams, or the tree's id.
    pub digest: Hex,
    /// Files or streams.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Everything that was asked for is in.
    pub complete: bool,
    /// What is not in, by name; at most [`FAILURES_MAX`].
    pub failures: ThinVec<ItemFailure>,
    /// How many items failed.
    pub failures_count: u64,
    /// Why this point is not trusted, if it is not.
    pub suspicious: Option<Text>,
    /// The type of the resource.
    pub template: Name,
    /// The template's digest.
    pub template_digest: Digest,
    /// The config commit.
    pub commit: CommitId,
    /// The plan.
    pub plan: PlanId,
    /// The state that the writer had: epochs are compared only within one.
    #[serde(default)]
    pub writer: Text,
    /// The epoch of the writer.
    pub epoch: u64,
    /// The version of Mainstay.
    pub mainstay: Text,
}

impl Receipt {
    /// Lets the texts that many receipts have in common be one.
    pub fn share(&mut self, interner: &mut Interner) {
        let Self { address, backup, marker, template, template_digest, commit, .. } = self;
        let Self { plan, writer, mainstay, .. } = self;
        address.share(interner);
        for text in [&mut template.0, &mut template_digest.0, &mut commit.0, &mut plan.0] {
            interner.text(text);
        }
        interner.text(writer);
        interner.text(mainstay);
        backup.iter_mut().for_each(|name| interner.text(&mut name.0));
        marker.identity.iter_mut().for_each(|identity| interner.text(identity));
        marker.counters.names_mut().chain(marker.counts.names_mut()).for_each(|n| interner.text(n));
    }
}

/// What is proven of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EvidenceKind {
    /// The engine wrote it and verified each blob in memory.
    Written,
    /// Its stored bytes were read again, decrypted and compared with their ids.
    Checked,
    /// It was restored, and the restored bytes were read again.
    Restored,
    /// The application's own assertions held on the restored data.
    Asserted,
}

/// A proof and its age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What is proven.
    pub kind: EvidenceKind,
    /// When.
    pub at: Timestamp,
}

/// A small record beside the data, as a snapshot of its own, for what must survive our memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// The state that the writer had: epochs are compared only within one.
    #[serde(default)]
    pub writer: String,
    /// The epoch of the writer.
    pub epoch: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub body: ControlBody,
}

impl Control {
    /// A record of this version.
    pub const fn new(writer: String, epoch: u64, at: Timestamp, body: ControlBody) -> Self {
        Self { version: RECEIPT_VERSION, writer, epoch, at, body }
    }
}

/// The attempt of a recovery's swap that is the next one, and whether an earlier one counts, from
/// the control records of its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// An attempt that was not taken back is noted.
    pub served: bool,
    /// The number of the next attempt.
    pub next: u32,
}

impl Serving {
    /// Reads it from control records; `of` says which addresses are the resource.
    pub fn of<'c>(
        controls: impl IntoIterator<Item = &'c Control>,
        wanted: &str,
        of: impl Fn(&Address) -> bool,
    ) -> Self {
        let (mut noted, mut taken_back) = (BTreeSet::new(), BTreeSet::new());
        for control in controls {
            match &control.body {
                ControlBody::RecoveryServed { address, token, attempt, .. }
                    if token == wanted && of(address) =>
                {
                    noted.insert(*attempt);
                }
                ControlBody::RecoveryTakenBack { address, token, attempt }
                    if token == wanted && of(address) =>
                {
                    taken_back.insert(*attempt);
                }
                _ => {}
            }
        }
        Self {
            served: noted.difference(&taken_back).next().is_some(),
            next: taken_back.last().map_or(0, |last| last.saturating_add(1)),
        }
    }
}

/// What a control record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ControlBody {
    /// A recovery is about to be swapped in: its token must never be served again.
    RecoveryServed {
        /// The resource.
        address: Address,
        /// The token.
        token: String,
        /// The point that is brought back.
        snapshot: SnapshotId,
        /// Counts up from 0 with each time that the token was taken back.
        #[serde(default)]
        attempt: u32,
    },
    /// The run that noted a token as served broke off before it touched anything, as the target
    /// itself says: this attempt does not count.
    RecoveryTakenBack {
        /// The resource.
        address: Address,
        /// The token.
        token: String,
        /// The attempt that came to nothing.
        attempt: u32,
    },
    /// From here on the resource is measured against this marker; older receipts no longer say
    /// where it should be. Written when a recovery is swapped in and when a state is adopted.
    Baseline {
        /// The resource.
        address: Address,
        /// The marker that is right.
        marker: Marker,
        /// Why.
        reason: String,
    },
    /// A person accepted a commit that does not descend from the one before.
    CommitAccepted {
        /// The commit.
        commit: CommitId,
    },
    /// A writer started with this epoch.
    EpochStarted,
}
