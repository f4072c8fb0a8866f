//! The port by which the data engine reads and writes trees of files wherever they lie: in this
//! process, on a host, in a pod. Called by the engine; the in-process side is the mover crate.
//!
//! Synchronous like the storage port. Names are bytes, never text; paths are joined by `/`.

use std::io;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::PortError;

/// The SHA-256 of a blob's plain content.
pub type BlobHash = [u8; 32];

/// A point in time: seconds since 1970-01-01T00:00:00Z and nanoseconds after them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct FileTime {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket: recorded, never restored.
    Socket,
}

/// A user and a group, by number and, where known, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// User name; empty when unknown.
    pub user: std::sync::Arc<str>,
    /// Group name; empty when unknown.
    pub group: std::sync::Arc<str>,
}

/// What is known of one directory entry, its content aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its last path component, in any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at the most.
    pub mode: u32,
    /// When its content last changed.
    pub mtime: FileTime,
    /// When it was last read.
    pub atime: FileTime,
    /// When its content or metadata last changed.
    pub ctime: FileTime,
    /// To whom it belongs.
    pub owner: Owner,
    /// Inode number; 0 when unknown.
    pub inode: u64,
    /// Device number of its file system.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// Size in bytes of a regular file, otherwise 0.
    pub size: u64,
    /// Device number that a device node stands for, otherwise 0.
    pub rdev: u64,
    /// Where a symbolic link points, otherwise empty.
    pub link_target: Vec<u8>,
    /// Extended attributes, ACLs included, by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One thing that a walk met. Within a directory entries come in the byte order of their names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum WalkEvent {
    /// A directory begins; the root's name is empty and it has no metadata of its own.
    Enter(Entry),
    /// Anything but a directory.
    Entry(Entry),
    /// The innermost open directory is complete.
    Leave,
    /// Something could not be looked at; the walk goes on.
    Failed(Problem),
}

/// Why an item is missing from, or uncertain in, a finished piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProblemKind {
    /// It could not be read at all; it is not in the snapshot.
    Unreadable,
    /// It changed whenever it was read; its content may mix two states.
    ChangedWhileRead,
    /// Part of its metadata could not be read or set.
    Metadata,
    /// It could not be written.
    Unwritable,
    /// Its stored content is damaged or missing.
    Damaged,
    /// Its name or kind is not accepted at the target.
    Refused,
}

/// An item that makes a piece of work partial, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The path, in any bytes.
    pub path: Vec<u8>,
    /// What kind of trouble.
    pub kind: ProblemKind,
    /// What happened.
    pub message: String,
}

/// What a walk covers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WalkRequest {
    /// Absolute paths; each must exist.
    pub roots: Vec<Vec<u8>>,
    /// Patterns as restic's users know them: `*`, `?`, `[a-z]`, `**`, a leading `/` for a full
    /// path, a leading `!` to take back an earlier exclusion; later patterns win.
    pub excludes: Vec<String>,
    /// Leaves out what a directory with a valid `CACHEDIR.TAG` holds, the tag file aside.
    pub exclude_caches: bool,
    /// Leaves out directories that hold an entry of one of these names.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// Does not cross into other file systems.
    pub one_file_system: bool,
    /// Leaves out regular files above this size in bytes.
    pub file_size_bytes_max: Option<u64>,
}

/// How content is cut into blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chunking {
    /// By content: insertions move no later cut. For trees of files.
    ContentDefined,
    /// Into pieces of one size in bytes, a power of two: for databases, volumes and disk images.
    Fixed {
        /// Bytes of each piece but the last, [`CHUNK_BYTES_MAX`] at the most.
        size_bytes: u32,
    },
    /// Into pieces of one size that grows with the source, see [`fixed_chunk_size`].
    FixedBySize,
    /// By content exactly as restic does, for repositories that it goes on writing to.
    Restic {
        /// The repository's polynomial.
        polynomial: u64,
    },
}

/// The largest blob in bytes that is made.
pub const CHUNK_BYTES_MAX: u32 = 8 << 20;

/// Returns the piece size in bytes for a source of a known size in bytes, page-aligned and growing
/// so that the index stays small: 16 KiB to 64 GiB, 32 KiB to 512 GiB, 64 KiB beyond.
pub fn fixed_chunk_size(source_bytes: u64) -> u32 {
    match source_bytes >> 30 {
        0..64 => 16 << 10,
        64..512 => 32 << 10,
        _ => 64 << 10,
    }
}

/// A regular file to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadRequest {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// How it looked when the walk met it.
    pub entry: Entry,
}

/// How reading one file ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ReadOutcome {
    /// Whole and at rest; the entry as it was when read.
    Whole(Box<Entry>),
    /// Whole, but it changed each time it was read.
    Changed(Box<Entry>),
    /// Not readable.
    Failed(Problem),
}

/// Takes the content of files as it is read. Files are numbered by their place in the request.
pub trait ReadSink {
    /// Returns whether the bytes of this blob are wanted; without, only its hash is delivered.
    fn wants(&mut self, hash: &BlobHash, length: u32) -> bool;

    /// Takes the next blob of a file; `data` is `None` when it was not wanted.
    fn blob(
        &mut self,
        file: usize,
        hash: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError>;

    /// The file is read again from its begin: forget its blobs so far.
    fn restart(&mut self, file: usize) -> Result<(), PortError>;

    /// The file ended.
    fn end(&mut self, file: usize, outcome: ReadOutcome) -> Result<(), PortError>;
}

/// Reads trees of files where they lie.
pub trait SourceMover: Send + Sync {
    /// Walks the roots below their common ancestors, `/` first, and hands over events in bounded
    /// batches. A root that is not there is an error; an unreadable item is an event.
    fn walk(
        &self,
        request: &WalkRequest,
        cancel: &Cancel,
        each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    ) -> Result<(), PortError>;

    /// Reads, cuts and hashes files one after the other. Called from many threads at once.
    fn read(
        &self,
        files: &[ReadRequest],
        chunking: Chunking,
        cancel: &Cancel,
        sink: &mut dyn ReadSink,
    ) -> Result<(), PortError>;
}

/// What is done to an entry that is in the way of a restored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Overwrite {
    /// Regular files keep their matching parts, anything else is replaced.
    #[default]
    Always,
    /// Existing files are left as they are.
    Never,
}

/// A file at the target that has its full size and waits for content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prepared {
    /// Made anew: all of it is a hole.
    Fresh,
    /// It was there with some content: ask which parts match.
    Existing,
    /// It was there and is to be left alone.
    Kept,
}

/// Writes a tree of files below one directory and nowhere else. Paths are relative to it; each
/// component is checked, and no symbolic link is ever followed. Called from many threads at once.
pub trait TargetMover: Send + Sync {
    /// Makes a directory in one that is there, writable for its owner until its metadata is set.
    fn make_directory(&self, path: &[u8]) -> Result<(), PortError>;

    /// Makes or opens a regular file and gives it its size in bytes.
    fn prepare_file(
        &self,
        path: &[u8],
        size: u64,
        overwrite: Overwrite,
    ) -> Result<Prepared, PortError>;

    /// Returns for each piece (offset, length, hash) whether the file holds it already.
    fn matching(
        &self,
        path: &[u8],
        pieces: &[(u64, u32, BlobHash)],
    ) -> Result<Vec<bool>, PortError>;

    /// Writes at an offset of a prepared file. With `fresh`, runs of zeros stay holes.
    fn write_at(&self, path: &[u8], offset: u64, data: &[u8], fresh: bool)
    -> Result<(), PortError>;

    /// Returns whether writes to one file from several threads wait for each other, as a kernel's
    /// do, so that one thread does better to write what all have.
    fn writes_take_turns(&self) -> bool {
        false
    }

    /// Makes a small regular file with all its content and metadata at once.
    fn write_file(
        &self,
        path: &[u8],
        entry: &Entry,
        parts: &[&[u8]],
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError>;

    /// Makes a link, device, pipe: whatever holds no content, with its metadata.
    fn make_special(
        &self,
        path: &[u8],
        entry: &Entry,
        overwrite: Overwrite,
    ) -> Result<Vec<Problem>, PortError>;

    /// Gives a restored file a further name.
    fn hard_link(&self, existing: &[u8], path: &[u8]) -> Result<(), PortError>;

    /// Sets owner, mode, extended attributes and times; of the target itself when the path is
    /// empty.
    fn set_metadata(&self, path: &[u8], entry: &Entry) -> Result<Vec<Problem>, PortError>;

    /// Returns the names in a directory.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, PortError>;

    /// Removes an entry with all that is below it, following no link.
    fn remove(&self, path: &[u8]) -> Result<(), PortError>;

    /// Makes all that was written durable.
    fn sync(&self) -> Result<(), PortError>;
}

/// Bytes that come from a running program or service: a dump, an export, an object.
///
/// The content counts as whole only when `read` came to its end and `finish` said yes: a dump that
/// died looks like an early end of file.
pub trait StreamSource: Send {
    /// Reads into the buffer and returns how many bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Says, after the end, whether the source ended well: the exit status of the program behind
    /// it.
    fn finish(self: Box<Self>) -> Result<(), PortError>;
}

/// Bytes at hand as a stream that always ends well.
pub struct Bytes(io::Cursor<Vec<u8>>);

impl Bytes {
    /// Returns the bytes as a source.
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self(io::Cursor::new(data.into()))
    }
}

impl StreamSource for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.0, buffer)
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        Ok(())
    }
}
