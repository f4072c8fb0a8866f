//! The port to the config repository: one commit in, all its files out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Boxed;
use crate::error::PortError;
use crate::id::CommitId;
use crate::observed::Ancestry;

/// All files of one commit below the configured folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigTree {
    /// The commit.
    pub commit: CommitId,
    /// The branch, tag or folder it was read from, for people.
    pub reference: String,
    /// When it was committed.
    pub committed_at: Option<Timestamp>,
    /// Content by path with `/`.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A place that config comes from.
pub trait Source: Send + Sync {
    /// Fetches the newest commit of the reference. On an error the last good tree stays valid; an
    /// adapter never answers with fewer files than the commit has.
    fn fetch(&self) -> Boxed<'_, Result<ConfigTree, PortError>>;
    /// Returns one commit that was fetched before.
    fn at<'a>(&'a self, commit: &'a CommitId) -> Boxed<'a, Result<ConfigTree, PortError>>;
    /// Returns how `new` relates to `old`.
    fn ancestry<'a>(&'a self, old: &'a CommitId, new: &'a CommitId) -> Boxed<'a, Ancestry>;
}
