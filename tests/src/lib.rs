//! What the end-to-end tests share: real systems to run on, and the ledger of which took part.
//!
//! Never skips: a system that a test needs and that is not there fails that test by name. Must not
//! know any crate of the product, so that every one of them may use it in its tests.

pub mod https;
mod ledger;
pub mod mainstay;
pub mod postgres;
pub mod proxy;
pub mod services;
pub mod ssh;
mod tools;

pub use ledger::{LEDGER_VARIABLE, ledger};
pub use tools::{Tool, git, restic, sqlite};
