//! Who writes, in words that a person can act on.

use model::Timestamp;
use model::ports::state::Owner;

/// Returns an owner of this process.
pub fn owner(command: &str, host: &str, since: Timestamp) -> Owner {
    Owner { command: command.to_owned(), host: host.to_owned(), pid: std::process::id(), since }
}
