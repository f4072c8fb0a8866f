//! The n-th storage operation fails, for every n: before it did its work or after, once or for
//! ever. Whatever happens, what was committed stays whole, and a further try succeeds.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::*;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::storage::decorators::{Act, Hooked};
use mainstay_repository::{CheckOptions, Depth, PruneMark, PruneOptions, Repository};
use model::cancel::Cancel;
use model::error::PortError;
use model::progress::Silent;
use mover::LocalSource;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Before,
    After,
    ForEver,
}

/// The n-th operation on a storage fails.
struct Fault {
    left: AtomicU64,
    how: How,
    broken: AtomicBool,
}

impl Fault {
    fn around(&self, act: &mut Act<'_>) -> Result<(), PortError> {
        let fault = || PortError::transient("Injected", "injected fault");
        if self.broken.load(Ordering::SeqCst) {
            return Err(fault());
        }
        let hit = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if !hit {
            return act();
        }
        match self.how {
            How::Before => Err(fault()),
            How::After => act().and(Err(fault())),
            How::ForEver => {
                self.broken.store(true, Ordering::SeqCst);
                Err(fault())
            }
        }
    }
}

fn try_backup(repo: &Repository, source: &std::path::Path) -> Result<(), PortError> {
    let cancel = Cancel::default();
    let mover = LocalSource::default();
    repo.backup_tree(&mover, &request(source), &backup_options(), no_extras, &Silent, &cancel)
        .map(|_| ())
}

fn prune_now(repo: &Repository) -> Result<(), PortError> {
    let options = PruneOptions {
        grace: jiff::SignedDuration::ZERO,
        waste_percent_max: 0,
        ..PruneOptions::default()
    };
    repo.prune(&PruneMark::default(), &options, &Silent, &Cancel::default()).map(|_| ())
}

fn assert_whole(storage: Arc<MemoryStorage>, what: &str) -> Repository {
    let repo = open(storage);
    repo.unlock(true).unwrap();
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    let report = repo.check(&options, &Silent, &Cancel::default());
    let report = report.unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
    assert_eq!(report.faults, [], "{what}");
    repo
}

/// Runs `work` on copies of `base` with each operation failing in turn.
fn sweep(base: &MemoryStorage, name: &str, work: impl Fn(&Repository) -> Result<(), PortError>) {
    for how in [How::Before, How::After, How::ForEver] {
        for n in 1.. {
            assert!(n < 500, "the sweep ends");
            let inner = Arc::new(base.fork());
            let fault = Arc::new(Fault {
                left: AtomicU64::new(u64::MAX),
                how,
                broken: AtomicBool::new(false),
            });
            let hook = Arc::clone(&fault);
            let storage = Hooked::new(inner.clone(), move |_, _, _, act| hook.around(act));
            let repo = Repository::open(Arc::new(storage), PASSWORD.as_bytes(), options()).unwrap();
            fault.left.store(n, Ordering::SeqCst);
            let result = work(&repo);
            drop(repo);
            let reached = fault.broken.load(Ordering::SeqCst)
                || fault.left.load(Ordering::SeqCst) > u64::MAX / 2
                || fault.left.load(Ordering::SeqCst) == 0;
            let what = format!("{name}: operation {n} fails {how:?}");
            let again = assert_whole(Arc::clone(&inner), &what);
            if !reached {
                result.unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
                break;
            }
            work(&again).unwrap_or_else(|e| panic!("{what}, again: {}", e.chain()));
            assert_whole(inner, &what);
        }
    }
}

#[test]
fn every_storage_operation_may_fail() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    for i in 0..4 {
        fs::write(source.join(format!("f{i}")), noise(20_000, i)).unwrap();
    }
    let storage = Arc::new(MemoryStorage::default());
    let repo = init(storage.clone());
    try_backup(&repo, &source).unwrap();
    sweep(&storage, "backup", |repo| {
        fs::write(source.join("f1"), noise(20_000, 77)).unwrap();
        try_backup(repo, &source)
    });
    fs::write(source.join("f2"), noise(20_000, 78)).unwrap();
    try_backup(&repo, &source).unwrap();
    let old = repo.snapshots().unwrap()[0].id;
    sweep(&storage, "forget and prune", |repo| {
        repo.forget(&[old], &Cancel::default())?;
        prune_now(repo)
    });
    let second = init(Arc::new(MemoryStorage::default()));
    try_backup(&second, &source).unwrap();
    let id = second.snapshots().unwrap()[0].id;
    sweep(&storage, "copy", |repo| {
        second.copy(&[id], repo, &Silent, &Cancel::default()).map(|_| ())
    });
    sweep(&storage, "rebuild index", |repo| {
        repo.rebuild_index(true, &Silent, &Cancel::default()).map(|_| ())
    });
}
