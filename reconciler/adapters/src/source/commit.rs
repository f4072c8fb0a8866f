//! Commits all files of a folder, for the demo: a machine with Mainstay need not have git.

use std::path::Path;

use git2::{IndexAddOption, Repository, Signature};
use model::error::PortError;
use model::id::CommitId;

/// Makes the folder a git repository if it is none, and commits everything in it.
pub fn commit_all(folder: &Path, message: &str) -> Result<CommitId, PortError> {
    commit(folder, message).map_err(|error| {
        PortError::terminal("GitFailed", format!("{}: {}", folder.display(), error.message()))
    })
}

fn commit(folder: &Path, message: &str) -> Result<CommitId, git2::Error> {
    let repository = match Repository::open(folder) {
        Ok(repository) => repository,
        Err(_) => Repository::init(folder)?,
    };
    let mut index = repository.index()?;
    index.add_all(["*"], IndexAddOption::DEFAULT, None)?;
    index.write()?;
    let tree = repository.find_tree(index.write_tree()?)?;
    let who = Signature::now("Mainstay demo", "demo@mainstay.example")?;
    let parent = repository.head().and_then(|head| head.peel_to_commit()).ok();
    let parents: Vec<_> = parent.iter().collect();
    let id = repository.commit(Some("HEAD"), &who, &who, message, &tree, &parents)?;
    Ok(CommitId::from(id.to_string()))
}
