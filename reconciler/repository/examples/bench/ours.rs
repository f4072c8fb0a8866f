//! Single steps of this engine, each called as a process of its own.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_repository::crypto::Kdf;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::{
    BackupOptions, CheckOptions, Depth, Finishing, Options, Owner, PruneMark, PruneOptions,
    Repository, RestoreOptions,
};
use model::cancel::Cancel;
use model::ports::mover::{Chunking, WalkRequest};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};

use crate::measure::{Cost, measure};

/// The password of every repository that the bench makes, whichever program works on it.
pub const PASSWORD: &str = "bench";

/// Runs one step in this process.
pub fn step(args: &[&str]) {
    match *args {
        ["init", repo, n, r, p] => {
            // The same cost of opening as restic chose for itself on this machine.
            let mut options = options();
            let (n, r, p) = (n.parse().unwrap(), r.parse().unwrap(), p.parse().unwrap());
            options.kdf = Kdf::from_numbers(n, r, p).unwrap();
            drop(Repository::init(storage(repo), PASSWORD.as_bytes(), options).unwrap());
        }
        ["backup", repo, source, chunking] => backup(&open(repo), Path::new(source), chunking),
        ["restore", repo, out] => restore(&open(repo), Path::new(out)),
        ["check", repo] => check(&open(repo)),
        ["forget", repo] => forget(&open(repo)),
        ["prune", repo] => prune(&open(repo)),
        ["copy", repo, to] => copy(&open(repo), &open(to)),
        ["list", repo] => assert!(!open(repo).snapshots().unwrap().is_empty()),
        ["index", repo] => crate::index::look_up(&open(repo)),
        _ => panic!("no such step: {args:?}"),
    }
}

/// Runs one step as a process of its own.
pub fn run(args: &[&str]) -> Cost {
    measure(Command::new(std::env::current_exe().unwrap()).arg("ours").args(args))
}

fn storage(repo: &str) -> Arc<LocalStorage> {
    Arc::new(LocalStorage::new(repo))
}

fn options() -> Options {
    Options::new(Owner::current("bench"), Arc::new(Timestamp::now))
}

pub fn open(repo: &str) -> Repository {
    Repository::open(storage(repo), PASSWORD.as_bytes(), options()).unwrap()
}

fn backup(repo: &Repository, source: &Path, chunking: &str) {
    let mut options = BackupOptions::new("bench", Timestamp::now());
    options.parent = repo.snapshots().unwrap().last().map(|s| s.id);
    options.chunking = match chunking {
        "content" => Chunking::ContentDefined,
        "fixed" => Chunking::FixedBySize,
        size => Chunking::Fixed { size_bytes: size.parse().unwrap() },
    };
    let request = WalkRequest {
        roots: vec![Path::as_os_str(source).as_bytes().to_vec()],
        ..WalkRequest::default()
    };
    let finishing = |_: &_| Ok(Finishing::default());
    let (source, cancel) = (LocalSource::default(), Cancel::default());
    let report =
        repo.backup_tree(&source, &request, &options, finishing, &Silent, &cancel).unwrap();
    assert!(report.summary.problems.is_empty(), "{:?}", report.summary.problems);
}

fn restore(repo: &Repository, out: &Path) {
    let id = repo.snapshots().unwrap().last().unwrap().id;
    let target = LocalTarget::open(out).unwrap();
    let options = RestoreOptions::default();
    let summary = repo.restore(&id, &target, &options, &Silent, &Cancel::default()).unwrap();
    assert!(summary.problems.is_empty(), "{:?}", summary.problems);
}

fn check(repo: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 0 };
    assert!(repo.check(&options, &Silent, &Cancel::default()).unwrap().is_whole());
}

fn forget(repo: &Repository) {
    let mut ids: Vec<_> = repo.snapshots().unwrap().into_iter().map(|s| s.id).collect();
    ids.pop();
    repo.forget(&ids, &Cancel::default()).unwrap();
}

fn prune(repo: &Repository) {
    let options = PruneOptions { grace: jiff::SignedDuration::ZERO, ..PruneOptions::default() };
    repo.prune(&PruneMark::default(), &options, &Silent, &Cancel::default()).unwrap();
}

fn copy(from: &Repository, to: &Repository) {
    let ids: Vec<_> = from.snapshots().unwrap().into_iter().map(|s| s.id).collect();
    from.copy(&ids, to, &Silent, &Cancel::default()).unwrap();
}

/// Bytes of all files below a folder.
pub fn folder_bytes(path: &Path) -> u64 {
    let mut total = 0;
    let mut todo: Vec<PathBuf> = vec![path.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                todo.push(entry.path());
            } else {
                total += meta.len();
            }
        }
    }
    total
}
