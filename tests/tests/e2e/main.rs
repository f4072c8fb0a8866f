//! End-to-end: the real binary on real git, real files, real databases, with restic as the judge.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, helpers included")]

mod ask;
mod crash;
mod daemon;
mod documents;
mod erasure;
mod git;
mod hand;
mod mount;
mod postgres;
mod recovery;
mod recreate;
mod repository;
mod secrets;
mod sqlite;
mod state;
mod storage;
