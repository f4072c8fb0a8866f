//! Names of users and groups by number, from the local files; read once.
//!
//! `/etc/passwd` and `/etc/group` are read directly: the C library's look-up needs unsafe code and
//! a dynamic linker, and the mover is one static binary. Accounts of directory services have no
//! name then.

use std::collections::HashMap;
use std::sync::Arc;

/// User and group names of this machine.
#[derive(Debug, Default)]
pub struct OwnerNames {
    users: HashMap<u32, Arc<str>>,
    groups: HashMap<u32, Arc<str>>,
    nobody: Arc<str>,
}

/// Bytes of an account file that are read.
const FILE_BYTES_MAX: u64 = 64 << 20;

fn read(path: &str) -> HashMap<u32, Arc<str>> {
    use std::io::Read;
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return HashMap::new();
    }
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            // The first line for a number counts, as in the C library.
            names.entry(id).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

impl OwnerNames {
    /// Reads this machine's account files.
    pub fn load() -> Self {
        Self { users: read("/etc/passwd"), groups: read("/etc/group"), nobody: Arc::from("") }
    }

    /// Returns a user's name; empty when unknown.
    pub fn user(&self, uid: u32) -> Arc<str> {
        Arc::clone(self.users.get(&uid).unwrap_or(&self.nobody))
    }

    /// Returns a group's name; empty when unknown.
    pub fn group(&self, gid: u32) -> Arc<str> {
        Arc::clone(self.groups.get(&gid).unwrap_or(&self.nobody))
    }
}
