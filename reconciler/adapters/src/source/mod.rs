//! Places that configuration comes from, behind the port: a git repository, pinned to one commit by
//! each fetch, or a folder whose files are not committed.

mod bounds;
mod commit;
mod git;
mod known_hosts;
mod location;
#[cfg(test)]
mod tests;
mod worktree;

pub use bounds::{FILE_BYTES_MAX, FILES_MAX, TREE_BYTES_MAX};
pub use commit::commit_all;
pub use git::{Access, Git};
pub use location::Location;
pub use worktree::Worktree;
