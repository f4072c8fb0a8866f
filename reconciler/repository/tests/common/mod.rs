//! What the suites share: restic as judge, repositories on temporary folders, trees to back up.
#![allow(dead_code)] // Each suite uses a part.

pub mod actor;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_repository::crypto::Kdf;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::{
    BackupOptions, BackupReport, BackupSummary, Finishing, Options, Owner, Repository,
};
use model::cancel::Cancel;
use model::ports::mover::WalkRequest;
use model::ports::storage::Storage;
use model::progress::Silent;
use mover::LocalSource;

pub const PASSWORD: &str = "correct horse";

/// The restic binary that judges: `$RESTIC`, else the one on `PATH`. Its absence is a failure, as a
/// suite without its judge proves nothing.
pub fn restic_binary() -> PathBuf {
    let binary = std::env::var_os("RESTIC").map_or_else(|| PathBuf::from("restic"), PathBuf::from);
    let version = Command::new(&binary).arg("version").output().unwrap_or_else(|e| {
        panic!("restic is needed as judge: set RESTIC to its binary or put it on PATH ({e})")
    });
    assert!(version.status.success(), "{} version fails", binary.display());
    binary
}

/// Runs restic on a repository and returns its output, whatever its status.
pub fn restic_raw(repo: &Path, args: &[&str]) -> Output {
    Command::new(restic_binary())
        .args(["--no-cache", "-r"])
        .arg(repo)
        .args(args)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("GOMAXPROCS", "2")
        .output()
        .unwrap()
}

/// Runs restic, fails unless it succeeds, and returns what it printed.
pub fn restic(repo: &Path, args: &[&str]) -> String {
    let output = restic_raw(repo, args);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic {args:?} failed:\n{out}\n{err}");
    out
}

/// A small file system of its own; unmounted when dropped.
pub struct Small(pub PathBuf);

impl Small {
    pub fn mount(at: PathBuf, size: &str) -> Self {
        fs::create_dir(&at).unwrap();
        let size = format!("size={size}");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(&at)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "this test mounts a small tmpfs, which needs root: {said}");
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A key derivation that costs nothing, for tests.
pub const CHEAP: Kdf = Kdf { log_n: 8, r: 8, p: 1 };

pub fn now() -> Timestamp {
    Timestamp::now()
}

pub fn options() -> Options {
    let mut options = Options::new(Owner::current("test-run"), Arc::new(now));
    options.kdf = CHEAP;
    options
}

pub fn init(storage: Arc<dyn Storage>) -> Repository {
    Repository::init(storage, PASSWORD.as_bytes(), options()).unwrap()
}

pub fn open(storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage, PASSWORD.as_bytes(), options()).unwrap()
}

/// A repository of ours in a folder.
pub fn init_at(path: &Path) -> Repository {
    init(Arc::new(LocalStorage::new(path)))
}

pub fn open_at(path: &Path) -> Repository {
    open(Arc::new(LocalStorage::new(path)))
}

pub fn request(root: &Path) -> WalkRequest {
    use std::os::unix::ffi::OsStrExt;
    WalkRequest { roots: vec![root.as_os_str().as_bytes().to_vec()], ..WalkRequest::default() }
}

pub fn backup_options() -> BackupOptions {
    BackupOptions::new("host-a", now())
}

pub fn no_extras(_: &BackupSummary) -> Result<Finishing, model::error::PortError> {
    Ok(Finishing::default())
}

pub fn backup(repo: &Repository, root: &Path) -> BackupReport {
    backup_with(repo, root, &backup_options())
}

pub fn backup_with(repo: &Repository, root: &Path, options: &BackupOptions) -> BackupReport {
    let source = LocalSource::default();
    repo.backup_tree(&source, &request(root), options, no_extras, &Silent, &Cancel::default())
        .unwrap_or_else(|e| panic!("backup: {}", e.chain()))
}

/// Bytes that do not compress, the same for each seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Makes a tree with one of everything that a backup must bring back.
pub fn make_tree(root: &Path) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    fs::create_dir_all(root.join("sub/deeper/empty")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("small"), b"hello").unwrap();
    fs::write(root.join("sub/text"), "line of text\n".repeat(50_000)).unwrap();
    fs::write(root.join("sub/big"), noise(9 << 20, 1)).unwrap();
    fs::write(root.join("sub/deeper/zeros"), vec![0; 3 << 20]).unwrap();
    let odd = ["quote\"back\\slash", "new\nline", "tab\t", "grün 😀", "<html>&", "\u{2028}"];
    for name in odd {
        fs::write(root.join("sub").join(name), name).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"latin1-\xe9\xff")), b"bytes").unwrap();
    symlink("small", root.join("link")).unwrap();
    symlink(OsStr::from_bytes(b"nowhere-\xe9"), root.join("dangling")).unwrap();
    fs::hard_link(root.join("sub/big"), root.join("hard")).unwrap();
    fs::hard_link(root.join("small"), root.join("sub/small-too")).unwrap();
    let fifo = std::ffi::CString::new(root.join("fifo").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo.as_c_str(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    if rustix::process::geteuid().is_root() {
        let device = rustix::fs::makedev(1, 3);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, root.join("null"), kind, mode, device).unwrap();
        std::os::unix::fs::chown(root.join("small"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::lchown(root.join("link"), Some(77), Some(78)).unwrap();
    }
    xattr::set(root.join("small"), "user.colour", b"gr\x00n").unwrap();
    xattr::set(root.join("sub"), "user.on-a-dir", b"yes").unwrap();
    xattr::set(root.join("sub/big"), "user.long", &noise(3000, 5)).unwrap();
    let mode = |name: &str, bits| {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(bits)).unwrap();
    };
    mode("sub/text", 0o4751);
    mode("sub/deeper", 0o1777);
    mode("empty", 0o000);
    let times = |path: &Path, seconds, nanos| {
        let t = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = rustix::fs::Timestamps { last_access: t, last_modification: t };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    };
    times(&root.join("small"), 1_234_567_890, 123_456_789);
    times(&root.join("link"), 1_000_000_000, 1);
    times(&root.join("empty"), -5, 500_000_000);
    times(&root.join("sub/deeper"), 946_684_800, 0);
}

/// Describes a tree completely, one line an entry, so that two can be compared as text.
pub fn describe(root: &Path) -> Vec<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut lines = Vec::new();
    let mut inodes: std::collections::HashMap<u64, String> = std::collections::HashMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap();
        let name = relative.as_os_str().as_bytes().escape_ascii().to_string();
        let content = if meta.is_file() {
            blake3::hash(&fs::read(&path).unwrap()).to_hex()[..16].to_owned()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string()
        } else {
            String::new()
        };
        let mut attributes: Vec<String> = xattr::list(&path)
            .unwrap()
            .map(|n| {
                let value = xattr::get(&path, &n).unwrap().unwrap_or_default();
                format!("{}={}", n.to_string_lossy(), blake3::hash(&value).to_hex())
            })
            .collect();
        attributes.sort();
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let line = format!(
            "{name} mode {:o} owner {}:{} size {} mtime {}.{:09} rdev {} content {content} xattrs \
             {attributes:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            if meta.is_dir() { 0 } else { meta.size() },
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
        );
        lines.push((name, meta.ino(), meta.nlink(), meta.is_dir(), line));
    }
    lines.sort();
    let mut out = Vec::new();
    for (name, inode, links, dir, line) in lines {
        let same = if links > 1 && !dir {
            inodes.entry(inode).or_insert_with(|| name.clone()).clone()
        } else {
            String::new()
        };
        out.push(format!("{line} linked {same:?}"));
    }
    out
}

/// Compares two trees and shows what differs.
pub fn assert_same_tree(left: &Path, right: &Path) {
    let (a, b) = (describe(left), describe(right));
    let missing: Vec<_> = a.iter().filter(|l| !b.contains(l)).collect();
    let extra: Vec<_> = b.iter().filter(|l| !a.contains(l)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "wanted {missing:#?}\ngot {extra:#?}");
}
