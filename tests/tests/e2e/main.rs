//! End-to-end: the real binary on real git, real files, real databases, with restic as the judge.

mod crash;
mod daemon;
mod documents;
mod git;
mod hand;
mod recovery;
mod secrets;
mod sqlite;
mod state;
