//! Our own memory behind the port: one folder with a SQLite database, a journal and a lock; and one
//! in memory for tests. Both pass one suite of `testkit`. Everything here may be lost without harm.

mod crash;
mod database;
mod folder;
mod journal;
mod lock;
mod memory;
#[cfg(test)]
mod tests;

pub use crash::CrashAfter;
pub use folder::Folder;
pub use memory::Memory;
