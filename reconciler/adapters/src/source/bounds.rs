//! How much configuration is read at the most. Used by both sources.

use std::collections::BTreeMap;

use model::error::PortError;

/// Files of one commit. The largest fleets that we know of keep some thousand documents.
pub const FILES_MAX: usize = 20_000;

/// Bytes of one file: a document is some KiB; pictures and papers beside them still fit.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of all files of one commit; they are held in memory.
pub const TREE_BYTES_MAX: u64 = 256 << 20;

/// The files of one commit as they are gathered.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Gathered {
    /// Says no to a file that is too large, before it is read.
    pub(super) fn admit(&self, path: &str, bytes: u64) -> Result<(), PortError> {
        let too_large = |what: String| {
            Err(PortError::terminal("ConfigTooLarge", what)
                .with_hint("keep configuration in a folder or repository of its own"))
        };
        if bytes > FILE_BYTES_MAX {
            return too_large(format!("{path} has more than {FILE_BYTES_MAX} bytes"));
        }
        if self.files.len() >= FILES_MAX {
            return too_large(format!("there are more than {FILES_MAX} files"));
        }
        if self.bytes + bytes > TREE_BYTES_MAX {
            return too_large(format!("the files have more than {TREE_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Takes a file.
    pub(super) fn take(&mut self, path: String, content: Vec<u8>) -> Result<(), PortError> {
        self.admit(&path, content.len() as u64)?;
        self.bytes += content.len() as u64;
        self.files.insert(path, content);
        Ok(())
    }
}
