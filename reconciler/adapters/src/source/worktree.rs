//! The files of a folder as they are, not committed: for trying policies out before a commit.

use std::fs;
use std::path::{Path, PathBuf};

use model::error::PortError;
use model::id::CommitId;
use model::observed::Ancestry;
use model::ports::Boxed;
use model::ports::source::{ConfigTree, Source};

use super::bounds::Gathered;
use crate::fault;

/// The commit id of files that are not committed.
pub(super) const WORKTREE: &str = "worktree";

/// How deep folders are entered; deeper is a loop of mounts, not configuration.
const DEPTH_MAX: usize = 64;

/// A folder.
#[derive(Clone, Debug)]
pub struct Worktree {
    folder: PathBuf,
}

impl Worktree {
    /// Returns the source of a folder's files.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

fn gather(folder: &Path, prefix: &str, depth: usize, into: &mut Gathered) -> Result<(), PortError> {
    if depth > DEPTH_MAX {
        return Err(PortError::terminal(
            "ConfigTooLarge",
            format!("{} lies more than {DEPTH_MAX} folders deep", folder.display()),
        ));
    }
    let failed = |e| fault::path("list", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(PortError::terminal(
                "BadPath",
                format!("{} has a name that is not UTF-8", path.display()),
            ));
        };
        let kind = entry.file_type().map_err(|e| fault::path("look at", &path, e))?;
        let inner = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        if kind.is_symlink() {
            tracing::info!(path = inner, "a symbolic link in the configuration is not followed");
        } else if kind.is_dir() {
            if name != ".git" {
                gather(&path, &inner, depth + 1, into)?;
            }
        } else if kind.is_file() {
            let bytes = entry.metadata().map_err(|e| fault::path("look at", &path, e))?.len();
            into.admit(&inner, bytes)?;
            let content = fs::read(&path).map_err(|e| fault::path("read", &path, e))?;
            into.take(inner, content)?;
        }
    }
    Ok(())
}

impl Source for Worktree {
    fn fetch(&self) -> Boxed<'_, Result<ConfigTree, PortError>> {
        let folder = self.folder.clone();
        Box::pin(fault::blocking(move || {
            let mut gathered = Gathered::default();
            gather(&folder, "", 0, &mut gathered)?;
            Ok(ConfigTree {
                commit: CommitId::from(WORKTREE),
                reference: folder.display().to_string(),
                committed_at: None,
                files: gathered.files,
            })
        }))
    }

    fn at<'a>(&'a self, commit: &'a CommitId) -> Boxed<'a, Result<ConfigTree, PortError>> {
        if commit.as_str() == WORKTREE {
            return self.fetch();
        }
        Box::pin(std::future::ready(Err(PortError::terminal(
            "CommitNotFound",
            format!("files that are not committed have no commit {commit}"),
        ))))
    }

    fn ancestry<'a>(&'a self, _old: &'a CommitId, _new: &'a CommitId) -> Boxed<'a, Ancestry> {
        Box::pin(std::future::ready(Ancestry::Unknown))
    }
}
