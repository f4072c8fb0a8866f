//! Turns what went wrong in an outside system into a [`PortError`] of the right class. Used by
//! every adapter of this crate.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use model::error::PortError;

/// Reason words from templates that are remembered. Words live as long as the process, so their
/// number is bounded; a fleet has a few dozen.
const WORDS_MAX: usize = 1024;

/// The reason word that stands for all words beyond [`WORDS_MAX`].
const WORD_OF_THE_REST: &str = "CommandFailed";

/// Returns the error for a failed file operation: `what` says which, such as `cannot read /srv/x`.
pub fn io(what: impl Into<String>, error: io::Error) -> PortError {
    let what = what.into();
    let fault = match error.kind() {
        io::ErrorKind::NotFound => PortError::terminal("NotFound", what),
        io::ErrorKind::PermissionDenied => PortError::terminal("PermissionDenied", what)
            .with_hint("run as a user that may do this, or change the owner or mode"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            PortError::transient("DiskFull", what).with_hint("free space there")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            PortError::terminal("ReadOnly", what).with_hint("mount the file system for writing")
        }
        io::ErrorKind::AlreadyExists => PortError::terminal("AlreadyExists", what),
        _ => PortError::transient("Io", what),
    };
    fault.with_source(error)
}

/// Returns the error for a failed operation on a path: `verb` such as `read`, `create`.
pub fn path(verb: &str, path: &Path, error: impl Into<io::Error>) -> PortError {
    io(format!("cannot {verb} {}", path.display()), error.into())
}

/// Runs blocking work away from the async threads.
pub async fn blocking<T, F>(work: F) -> Result<T, PortError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, PortError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(PortError::terminal("Internal", "a worker ended unexpectedly")
            .with_hint("this is a defect of Mainstay: please report it")
            .with_source(error)),
    }
}

/// Returns a word as one that lives as long as the process, as [`PortError::reason`] needs it.
pub fn word(text: &str) -> &'static str {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = words.get(text) {
        return known;
    }
    if words.len() >= WORDS_MAX {
        return WORD_OF_THE_REST;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    words.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use model::error::ErrorClass;

    use super::*;

    #[test]
    fn words_are_kept_once() {
        assert!(std::ptr::eq(word("ServerDown"), word("ServerDown")));
    }

    #[test]
    fn a_full_disk_may_pass_and_a_missing_file_does_not() {
        let full = io("cannot write", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!((full.class, full.reason), (ErrorClass::Transient, "DiskFull"));
        let gone = path("read", Path::new("/x"), io::Error::from(io::ErrorKind::NotFound));
        assert_eq!((gone.class, gone.reason), (ErrorClass::Terminal, "NotFound"));
        assert_eq!(gone.message, "cannot read /x");
    }
}
