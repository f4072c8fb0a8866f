//! What is wrong with a configuration, where, and how to mend it; collected, never thrown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably does not do what was meant.
    Warning,
}

/// A place in a file of the config repository. Lines and columns count from 1, columns in
/// characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The file, from the root of the config tree, with `/`.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// Where.
    pub origin: Origin,
    /// How bad.
    pub severity: Severity,
    /// A stable code for programs: `reference-unknown`, `cron-never`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it; empty where the message says it all.
    pub help: String,
    /// How many characters the mark under the source line spans; at least 1.
    pub width: u32,
    /// Other places that belong to it, with what each is.
    pub related: Vec<(Origin, String)>,
}
