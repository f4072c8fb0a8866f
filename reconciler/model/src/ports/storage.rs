//! The port on which a snapshot repository keeps its files: local folders, object stores, SFTP.
//! Called by the data engine, implemented by the engine (local, memory) and by adapters (the rest).
//!
//! The port is synchronous on purpose: the engine has threads of its own and no async runtime. An
//! adapter over an async client blocks the calling thread on a runtime that it owns.

use crate::error::PortError;

/// Stable reason word of an error for a file that does not exist.
pub const NOT_FOUND: &str = "NotFound";
/// Stable reason word of an error for a file that exists already.
pub const ALREADY_EXISTS: &str = "AlreadyExists";
/// Stable reason word of an error for fewer stored bytes than were asked for.
pub const SHORT_READ: &str = "ShortRead";
/// Stable reason word of an error for a file above the size that the caller allowed.
pub const TOO_LARGE: &str = "TooLarge";
/// Stable reason word of an error for bytes that differ from their checksum.
pub const CHECKSUM_MISMATCH: &str = "ChecksumMismatch";

/// Stable reason word of an error for a full disk or a spent quota: `Transient`, and not worth a
/// try before somebody made room.
pub const DISK_FULL: &str = "DiskFull";

/// What a stored file is; with its name, this is its whole address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// The one file that makes a place a repository; its name is ignored.
    Config,
    /// A password's envelope around the master key.
    Key,
    /// A sign that somebody is at work.
    Lock,
    /// A recovery point.
    Snapshot,
    /// A table of which blob lies in which pack.
    Index,
    /// Blobs, packed.
    Pack,
}

impl FileKind {
    /// All kinds that hold many files, in the order in which they are written.
    pub const LISTED: [Self; 5] = [Self::Key, Self::Lock, Self::Pack, Self::Index, Self::Snapshot];

    /// Returns the folder name in the layout of restic repositories (`config` for the one file).
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Lock => "locks",
            Self::Snapshot => "snapshots",
            Self::Index => "index",
            Self::Pack => "data",
        }
    }
}

/// One file as a listing reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name: lower-case hexadecimal digits.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Where a repository keeps its files. Files are written once, whole, and never changed.
///
/// Errors carry a class: what may pass by itself is `Transient` (decorators retry it), the rest is
/// `Terminal` with one of this module's reason words where one fits.
pub trait Storage: Send + Sync {
    /// Returns where this is, for people, without secrets: `/srv/backup`, `s3:host/bucket/prefix`.
    fn location(&self) -> String;

    /// Returns how many requests at once serve this storage well.
    fn connections(&self) -> usize {
        4
    }

    /// Makes the folders of an empty repository; succeeds where they are already.
    fn create(&self) -> Result<(), PortError>;

    /// Calls `each` for every file of a kind, in no order, while the listing goes on. Files whose
    /// names are not hexadecimal (temporary ones) are left out. `Config` lists at most one.
    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError>;

    /// Returns a file's size in bytes; `NotFound` when it is not there.
    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError>;

    /// Returns a whole file; `TooLarge` above `size_bytes_max`, before memory is taken.
    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError>;

    /// Fills `buffer` from `offset` on; `ShortRead` when the file ends before.
    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError>;

    /// Writes a whole file, visible only once it is complete and durable. `sha256` is the digest of
    /// `data`: an implementation checks it wherever the way there could change a byte.
    /// `AlreadyExists` when the file is there.
    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError>;

    /// Removes a file. When it is not there: `NotFound`, or success where only another request
    /// could tell (S3).
    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError>;
}
