//! Where a repository's files lie on a service: restic's default layout, so that either program
//! finds what the other wrote.

use model::error::PortError;
use model::ports::storage::{FileKind, Listed, NOT_FOUND, Storage};

fn is_hex(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Returns a name that is a file id, or says that it is none: nothing else becomes part of a path.
pub fn checked(kind: FileKind, name: &str) -> Result<&str, PortError> {
    if kind == FileKind::Config || (is_hex(name) && name.len() >= 3) {
        return Ok(name);
    }
    Err(PortError::terminal("BadName", format!("{name:?} is not a file id")))
}

/// Returns a file's path below the repository.
pub fn path(kind: FileKind, name: &str) -> Result<String, PortError> {
    let name = checked(kind, name)?;
    Ok(match kind {
        FileKind::Config => "config".to_owned(),
        FileKind::Pack => format!("data/{}/{name}", &name[..2]),
        _ => format!("{}/{name}", kind.folder()),
    })
}

/// Returns a path below a prefix that may be empty.
pub fn in_prefix(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") }
}

/// Returns the name of the file that lies at a path below a kind's folder; `None` for what is no
/// file of that kind.
pub fn name<'p>(kind: FileKind, folder: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    let name = match kind {
        FileKind::Pack => {
            let (shard, name) = rest.split_once('/')?;
            name.starts_with(shard).then_some(name)?
        }
        _ => rest,
    };
    is_hex(name).then_some(name)
}

/// Lists the config, of which there is one or none: no service lists a single file.
pub fn list_config(
    storage: &dyn Storage,
    each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
) -> Result<(), PortError> {
    match storage.stat(FileKind::Config, "") {
        Ok(size_bytes) => each(Listed { name: String::new(), size_bytes }),
        Err(error) if error.reason == NOT_FOUND => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns what is done to which file where, for messages.
pub fn what(doing: &str, kind: FileKind, name: &str, location: &str) -> String {
    let folder = kind.folder();
    let slash = if name.is_empty() || kind == FileKind::Config { "" } else { "/" };
    let name = if kind == FileKind::Config { "" } else { name };
    format!("cannot {doing} {folder}{slash}{name} in {location}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_restics() {
        assert_eq!(path(FileKind::Pack, "abcd").unwrap(), "data/ab/abcd");
        assert_eq!(path(FileKind::Index, "abcd").unwrap(), "index/abcd");
        assert_eq!(path(FileKind::Config, "").unwrap(), "config");
        for bad in ["", "ab", "../etc/passwd", "ABCD", "ab/cd", "ab cd"] {
            assert_eq!(path(FileKind::Pack, bad).unwrap_err().reason, "BadName", "{bad}");
        }
    }

    #[test]
    fn only_files_of_the_kind_are_named() {
        assert_eq!(name(FileKind::Pack, "p/data", "p/data/ab/abcd"), Some("abcd"));
        assert_eq!(name(FileKind::Pack, "p/data", "p/data/ab/cdef"), None);
        assert_eq!(name(FileKind::Pack, "p/data", "p/data/abcd"), None);
        assert_eq!(name(FileKind::Key, "keys", "keys/abcd"), Some("abcd"));
        assert_eq!(name(FileKind::Key, "keys", "keys/abcd.tmp"), None);
        assert_eq!(name(FileKind::Key, "keys", "keys/x/abcd"), None);
    }
}
