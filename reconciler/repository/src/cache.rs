//! Copies, on this machine, of what is read again and again of a repository far away: indexes,
//! snapshots, and packs that hold trees, as they are stored and so encrypted. Used by `store` and
//! `treecache`.
//!
//! Nothing here is trusted. Each copy is compared with its name, which is its digest, whenever it
//! is read; and what only the storage can tell, what exists and whether it is whole there, is never
//! asked here: files are looked for that a listing or an index has just named, and `check`,
//! `repair`, restores and dumps read the storage itself. Losing all of it costs time only. Several
//! processes share a folder: copies appear whole, and one that another process removes meanwhile is
//! fetched again. A folder that cannot be used (no space, no rights) is left alone after a warning.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::ports::storage::FileKind;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use crate::id::Id;

/// Bytes that are kept unless another number is asked for: the trees of some ten million files.
const BYTES_MAX: u64 = 2 << 30;
/// Bytes that a file takes at least: a block of the file system.
const FILE_BYTES_MIN: u64 = 4096;
/// A copy above this part of the whole would drive out the rest.
const SHARE: u64 = 8;
/// The folder is looked through once so large a part of what is kept has been written.
const LOOK_SHARE: u64 = 16;
/// What tells backup programs that this need not be kept (the Cache Directory Tagging
/// Specification).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Copies of what lies in \
                   repositories; it may be deleted at any moment.\n";
/// How the name of a copy begins that is being written.
const TEMPORARY_PREFIX: &str = ".tmp-";
/// Tells apart what one process writes at once.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A folder for copies, of all repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFolder {
    /// The folder; it is made when it is needed.
    pub path: PathBuf,
    /// Bytes that are kept; what was not used for longest goes first.
    pub bytes_max: u64,
}

/// What is kept of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRepository {
    /// The repository's id.
    pub id: String,
    /// How many files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// When one was last used, in seconds since 1970.
    pub used_s: i64,
}

/// One copy.
struct Copy {
    path: PathBuf,
    repository: String,
    bytes: u64,
    used: (i64, i64),
}

impl CacheFolder {
    /// Returns a folder with the usual bound.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), bytes_max: BYTES_MAX }
    }

    /// Returns what is kept, by repository.
    pub fn list(&self) -> io::Result<Vec<CachedRepository>> {
        let mut all = std::collections::BTreeMap::new();
        for copy in self.copies()? {
            let fresh = || CachedRepository { id: String::new(), files: 0, bytes: 0, used_s: 0 };
            let sum = all.entry(copy.repository).or_insert_with(fresh);
            sum.files += 1;
            sum.bytes += copy.bytes;
            sum.used_s = sum.used_s.max(copy.used.0);
        }
        Ok(all.into_iter().map(|(id, sum)| CachedRepository { id, ..sum }).collect())
    }

    /// Removes everything, or what is kept of one repository; returns how many bytes.
    pub fn clear(&self, repository: Option<&str>) -> io::Result<u64> {
        let mut bytes = 0;
        for copy in self.copies()? {
            if repository.is_none_or(|id| copy.repository == id) {
                removed(fs::remove_file(&copy.path))?;
                bytes += copy.bytes;
            }
        }
        Ok(bytes)
    }

    fn copies(&self) -> io::Result<Vec<Copy>> {
        let mut all = Vec::new();
        for (repository, path) in below(&self.path)? {
            if !is_id(&repository) {
                continue;
            }
            for (_, kind) in below(&path)? {
                for (_, path) in below(&kind)? {
                    // Another process may have been faster.
                    let Ok(data) = fs::symlink_metadata(&path) else { continue };
                    if data.is_file() {
                        let used = (data.mtime(), data.mtime_nsec());
                        let repository = repository.clone();
                        all.push(Copy { path, repository, bytes: data.len(), used });
                    }
                }
            }
        }
        Ok(all)
    }

    /// Bytes of the largest copy.
    fn copy_bytes_max(&self) -> u64 {
        self.bytes_max / SHARE
    }

    /// Removes what was not used for longest until the rest fits, with some room.
    fn evict(&self) -> io::Result<()> {
        let size = |copy: &Copy| copy.bytes.max(FILE_BYTES_MIN);
        let mut copies = self.copies()?;
        let mut total: u64 = copies.iter().map(size).sum();
        if total <= self.bytes_max {
            return Ok(());
        }
        copies.sort_by_key(|copy| copy.used);
        for copy in copies {
            if total <= self.bytes_max - self.copy_bytes_max() {
                break;
            }
            removed(fs::remove_file(&copy.path))?;
            total -= size(&copy);
        }
        Ok(())
    }
}

fn removed(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Returns names and paths in a folder; none where there is no folder.
fn below(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if not_there(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let named = |entry: fs::DirEntry| Some((entry.file_name().to_str()?.to_owned(), entry.path()));
    Ok(entries.flatten().filter_map(named).collect())
}

fn not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What is kept of one repository, for its reader.
pub(crate) struct Cache {
    whole: CacheFolder,
    /// The repository's own folder.
    folder: PathBuf,
    /// Bytes written since the folder was looked through; at first as if it were time to.
    written: AtomicU64,
    looking: Mutex<()>,
    /// Whether the folder turned out to be of no use.
    off: AtomicBool,
}

impl Cache {
    /// Returns the part of a folder that is a repository's; `None` for an id that names no folder.
    pub fn new(whole: CacheFolder, repository: &str) -> Option<Self> {
        let folder = is_id(repository).then(|| whole.path.join(repository))?;
        let written = AtomicU64::new(whole.bytes_max);
        Some(Self {
            whole,
            folder,
            written,
            looking: Mutex::default(),
            off: AtomicBool::new(false),
        })
    }

    fn path(&self, kind: FileKind, id: &Id) -> PathBuf {
        self.folder.join(kind.folder()).join(id.hex())
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// Leaves the folder alone from here on: it is there to save time, and must cost neither a run
    /// nor a failing attempt for each file.
    fn give_up(&self, path: &Path, error: &io::Error) {
        // Something else may have removed the folder; the next copy makes it again.
        if error.kind() != io::ErrorKind::NotFound && !self.off.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %path.display(), %error, "no copies are used or kept here");
        }
    }

    /// Returns a copy that is what its name says.
    pub fn get(&self, kind: FileKind, id: &Id) -> Option<Vec<u8>> {
        if self.is_off() {
            return None;
        }
        let path = self.path(kind, id);
        let file = File::open(&path).map_err(|error| self.give_up(&path, &error)).ok()?;
        let size = file.metadata().ok()?.len().min(self.whole.copy_bytes_max());
        let mut data = Vec::with_capacity(usize::try_from(size).ok()?);
        // One that has grown is no copy, and is not read to its end to find that out.
        let read = (&file).take(self.whole.copy_bytes_max() + 1).read_to_end(&mut data);
        if read.is_err() || Id::of(&data) != *id {
            tracing::debug!("{} is not what its name says, and removed", path.display());
            drop(fs::remove_file(&path));
            return None;
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        // Not to be able to note a use only makes it look older.
        let _ = futimens(&file, &times);
        Some(data)
    }

    /// Keeps a copy, if it can be kept.
    pub fn put(&self, kind: FileKind, id: &Id, data: &[u8]) {
        let size = (data.len() as u64).max(FILE_BYTES_MIN);
        if self.is_off() || size > self.whole.copy_bytes_max() {
            return;
        }
        let path = self.path(kind, id);
        if path.exists() {
            return;
        }
        if let Err(error) = self.write(&path, data) {
            self.give_up(&path, &error);
            return;
        }
        let written = self.written.fetch_add(size, Ordering::Relaxed) + size;
        if written > self.whole.bytes_max / LOOK_SHARE
            && let Ok(_only) = self.looking.try_lock()
        {
            self.written.store(0, Ordering::Relaxed);
            if let Err(error) = self.whole.evict() {
                // What cannot be bounded must not grow.
                self.give_up(&self.whole.path, &error);
            }
        }
    }

    fn write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            fs::write(self.whole.path.join("CACHEDIR.TAG"), TAG)?;
        }
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY_PREFIX}{}-{serial}", std::process::id());
        let temporary = folder.join(name);
        // Not synced: what a crash leaves of it is found out by its digest.
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(data))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn noise(seed: u8, length: usize) -> (Id, Vec<u8>) {
        let data: Vec<u8> = (0..length).map(|n| (n as u8).wrapping_mul(31) ^ seed).collect();
        (Id::of(&data), data)
    }

    fn open(folder: &CacheFolder) -> Cache {
        Cache::new(folder.clone(), REPOSITORY).unwrap()
    }

    #[test]
    fn a_copy_is_kept_for_all_and_never_trusted() {
        let tmp = tempfile::tempdir().unwrap();
        let folder = CacheFolder::new(tmp.path().join("cache"));
        let (cache, other) = (open(&folder), open(&folder));
        let (id, data) = noise(1, 10_000);
        assert_eq!(cache.get(FileKind::Pack, &id), None);
        cache.put(FileKind::Pack, &id, &data);
        assert_eq!(other.get(FileKind::Pack, &id), Some(data.clone()));
        assert_eq!(other.get(FileKind::Index, &id), None, "another kind is another file");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let path = cache.path(FileKind::Pack, &id);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let longer = [data.as_slice(), b"more"].concat();
        for damage in [&data[..9_999], &longer, &[7; 10_000], &[]] {
            fs::write(&path, damage).unwrap();
            assert_eq!(cache.get(FileKind::Pack, &id), None);
            assert!(!path.exists(), "and it is taken away");
            cache.put(FileKind::Pack, &id, &data);
        }
        let listed = folder.list().unwrap();
        assert_eq!((listed.len(), listed[0].files, listed[0].bytes), (1, 1, 10_000));
        assert_eq!(listed[0].id, REPOSITORY);
        assert_eq!(folder.clear(Some("another")).unwrap(), 0);
        assert_eq!(folder.clear(None).unwrap(), 10_000);
        assert_eq!(folder.list().unwrap(), []);
        assert!(Cache::new(folder, "../../etc").is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let tmp = tempfile::tempdir().unwrap();
        let folder = CacheFolder { path: tmp.path().join("cache"), bytes_max: 1 << 20 };
        let cache = open(&folder);
        let copies: Vec<(Id, Vec<u8>)> = (0..40).map(|n| noise(n, 50_000)).collect();
        let age = |id: &Id, seconds: i64| {
            let file = File::open(cache.path(FileKind::Pack, id)).unwrap();
            let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: at, last_modification: at };
            futimens(&file, &times).unwrap();
        };
        for (n, (id, data)) in copies.iter().enumerate() {
            cache.put(FileKind::Pack, id, data);
            // Each is older than the next, but for the first, which is in use all the time.
            age(id, 1000 + n as i64);
            assert!(cache.get(FileKind::Pack, &copies[0].0).is_some(), "after {n}");
            let kept: u64 = folder.list().unwrap().iter().map(|r| r.bytes).sum();
            assert!(kept <= (1 << 20) + 200_000, "{kept} bytes after {n}");
        }
        assert!(cache.get(FileKind::Pack, &copies[1].0).is_none());
        assert!(cache.get(FileKind::Pack, &copies[39].0).is_some());
        let (id, data) = noise(99, 200_000);
        cache.put(FileKind::Pack, &id, &data);
        assert_eq!(
            cache.get(FileKind::Pack, &id),
            None,
            "one that drives out the rest is not kept"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("file");
        fs::write(&file, "").unwrap();
        let folder = CacheFolder::new(file.join("cache"));
        let cache = open(&folder);
        let (id, data) = noise(1, 100);
        cache.put(FileKind::Pack, &id, &data);
        assert!(cache.is_off(), "and no more attempts");
        assert_eq!(cache.get(FileKind::Pack, &id), None);
        assert_eq!(folder.list().unwrap(), []);
        // One that is removed under way is made again.
        let folder = CacheFolder::new(tmp.path().join("cache"));
        let cache = open(&folder);
        for _ in 0..2 {
            cache.put(FileKind::Pack, &id, &data);
            assert_eq!(cache.get(FileKind::Pack, &id), Some(data.clone()));
            fs::remove_dir_all(&folder.path).unwrap();
            assert_eq!(cache.get(FileKind::Pack, &id), None);
        }
        assert!(!cache.is_off());
    }

    #[test]
    fn many_at_once_get_what_they_ask_for_or_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let folder = CacheFolder { path: tmp.path().join("cache"), bytes_max: 1 << 20 };
        let copies: Vec<(Id, Vec<u8>)> = (0..40).map(|n| noise(n, 50_000)).collect();
        // What a process left that was killed while it wrote: half a copy under a name of its own.
        open(&folder).put(FileKind::Pack, &copies[0].0, &copies[0].1);
        let packs = folder.path.join(REPOSITORY).join(FileKind::Pack.folder());
        fs::write(packs.join(format!("{TEMPORARY_PREFIX}1-1")), &copies[1].1[..100]).unwrap();
        let found = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (copies, folder, found) = (&copies, &folder, &found);
                scope.spawn(move || {
                    let cache = open(folder);
                    for round in 0..400 {
                        let (id, data) = &copies[(round * 7 + worker) % copies.len()];
                        cache.put(FileKind::Pack, id, data);
                        if let Some(copy) = cache.get(FileKind::Pack, id) {
                            assert!(copy == *data);
                            found.fetch_add(1, Ordering::Relaxed);
                        }
                        if round % 50 == 49 {
                            folder.clear((worker == 0).then_some(REPOSITORY)).unwrap();
                        }
                    }
                    assert!(!cache.is_off(), "others at work are no fault");
                });
            }
        });
        assert!(found.into_inner() > 100);
        let names = fs::read_dir(&packs).unwrap().map(|e| e.unwrap().file_name());
        let left = names.filter(|name| name.to_str().unwrap().starts_with(TEMPORARY_PREFIX));
        assert_eq!(left.count(), 0, "nothing half written stays");
    }
}
