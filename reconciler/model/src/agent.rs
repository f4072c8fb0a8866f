//! How one resource is probed, backed up and brought back: an `AgentTemplate` after rendering, with
//! typed argument lists and named holes for what only execution knows. Made by `config`, run by
//! `adapters`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::Name;

/// A reference to a secret; the value exists only inside the adapter that uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(pub String);

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A value that execution fills in: `token`, `scratch`, or a fact that the session printed.
    Hole(String),
    /// A secret's value; allowed in environment and standard input only, never in an argument.
    Secret(SecretRef),
}

/// One argument, one environment value or one standard input: pieces joined without separator.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arg(pub Vec<Piece>);

impl Arg {
    /// Returns an argument of plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }
}

/// A program with its arguments; no shell is ever involved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The program and its arguments. The program `mainstay` means this product's own binary.
    pub argv: Vec<Arg>,
    /// Written to standard input, which is then closed. `None`: empty input.
    pub input: Option<Arg>,
    /// Time limit in seconds; 0 means the operation's default.
    pub timeout_s: u64,
}

/// A command that stays open while streams are read, to hold one consistency point.
///
/// It gets `command.input` and must answer with one line of JSON (the facts); its standard input
/// stays open until all streams have ended, then is closed, and it must exit with 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The command.
    pub command: Command,
}

/// How content is cut into blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Chunking {
    /// Content-defined: for files and dumps.
    #[default]
    Content,
    /// Fixed, page-aligned: for database files, volumes and disk images.
    Pages,
}

/// A stream that a command writes to its standard output and that becomes one file of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The file's name in the snapshot: one path component.
    pub name: String,
    /// The command that writes it.
    pub command: Command,
    /// How it is cut.
    pub chunking: Chunking,
}

/// A stream of the snapshot that is fed to a command's standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// The file's name in the snapshot.
    pub stream: String,
    /// A point without it comes back all the same: one of a version that did not store it.
    #[serde(default)]
    pub optional: bool,
    /// The command that reads it.
    pub command: Command,
}

/// A folder that the mover reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// Its absolute path on the target.
    pub path: String,
    /// Patterns of what to leave out, as restic reads them.
    pub excludes: Vec<String>,
    /// Leave out folders that carry a `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out folders that contain a file of one of these names.
    pub exclude_if_present: Vec<String>,
    /// Stay on the file system of `path`.
    pub one_file_system: bool,
    /// Leave out files larger than this many bytes.
    pub largest_bytes: Option<u64>,
    /// The path must be a mount point: when nothing is mounted there, the resource is absent.
    pub mount_point: bool,
}

/// The commands of a recovery. All are run again after a crash, so each must be idempotent under
/// the same `token` hole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySteps {
    /// Prints JSON `{"phase": "none" | "beside" | "swapped"}` for the token.
    pub state: Vec<Command>,
    /// Makes an empty place beside the original, removing an unfinished one of the same token.
    pub prepare: Vec<Command>,
    /// Feeds the snapshot's streams into that place, in order.
    pub load: Vec<Load>,
    /// Prints facts of the restored place in the shape of a probe; compared with the receipt.
    pub verify: Vec<Command>,
    /// Puts the restored place where the original is and keeps the original aside.
    pub swap: Vec<Command>,
    /// Removes what was kept aside.
    pub commit: Vec<Command>,
    /// Puts what was kept aside back.
    pub rollback: Vec<Command>,
    /// Removes a restored place that was never swapped in.
    pub discard: Vec<Command>,
}

/// Maps what a failed command wrote to standard error to a class, a reason and a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRule {
    /// A text that standard error contains.
    pub contains: String,
    /// `transient`, `waiting`, `terminal`, or `absent` (the resource is not there).
    pub class: ErrorRuleClass,
    /// A stable word.
    pub reason: String,
    /// How to mend it.
    pub hint: String,
}

/// What a matching error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorRuleClass {
    /// May pass by itself.
    Transient,
    /// Somebody else must act first.
    Waiting,
    /// A person must act.
    Terminal,
    /// In a probe: the resource is provably not there.
    Absent,
}

/// A rendered agent. Exactly one of `tree` and `streams` carries the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The template's name; it is the resource's type.
    pub template: Name,
    /// Digest of the template's text, so that a changed template shows in plans.
    pub template_digest: Digest,
    /// The parameters after defaults, printable; secrets appear as `{secret: NAME}`.
    pub with: BTreeMap<String, String>,
    /// Environment of every command.
    pub env: BTreeMap<String, Arg>,
    /// The folder, for types whose data the mover reads.
    pub tree: Option<Tree>,
    /// Prints JSON facts (see `docs/templates.md`); empty for trees.
    pub probe: Vec<Command>,
    /// Holds a consistency point while streams are read.
    pub session: Option<Session>,
    /// What is stored.
    pub streams: Vec<Stream>,
    /// How it comes back; `None` for trees, which the mover brings back by itself.
    pub recovery: Option<RecoverySteps>,
    /// Make the resource anew where a policy says so, without any point; run again after a crash.
    /// Empty: it cannot be made anew.
    #[serde(default)]
    pub recreate: Vec<Command>,
    /// How errors are read.
    pub errors: Vec<ErrorRule>,
}
