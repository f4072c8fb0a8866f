//! A defect in a caller's storage or source fails the operation by name; it hangs nothing and
//! publishes nothing.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{Repository, RestoreOptions};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Chunking, ReadRequest, ReadSink, SourceMover, WalkEvent, WalkRequest};
use model::ports::storage::{FileKind, Listed, Storage};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};

/// Storage that panics at one kind of call.
struct Panicky {
    inner: MemoryStorage,
    at: &'static str,
    armed: AtomicBool,
}

impl Panicky {
    fn hit(&self, call: &str, kind: FileKind) {
        let here = self.armed.load(Ordering::SeqCst) && format!("{call} {kind:?}") == self.at;
        assert!(!here, "storage defect");
    }
}

impl Storage for Panicky {
    fn location(&self) -> String {
        "panicky".to_owned()
    }
    fn create(&self) -> Result<(), PortError> {
        self.inner.create()
    }
    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        self.inner.list(kind, each)
    }
    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        self.inner.stat(kind, name)
    }
    fn load(&self, kind: FileKind, name: &str, max: u64) -> Result<Vec<u8>, PortError> {
        self.hit("load", kind);
        self.inner.load(kind, name, max)
    }
    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        self.hit("load_range", kind);
        self.inner.load_range(kind, name, offset, buffer)
    }
    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha: &[u8; 32],
    ) -> Result<(), PortError> {
        self.hit("save", kind);
        self.inner.save(kind, name, data, sha)
    }
    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        self.inner.delete(kind, name)
    }
}

fn repository(at: &'static str) -> (Arc<Panicky>, Repository) {
    let inner = MemoryStorage::default();
    let storage = Arc::new(Panicky { inner, at, armed: AtomicBool::new(false) });
    let repo = init(storage.clone());
    (storage, repo)
}

/// A source that panics in every reading thread.
struct PanickySource(LocalSource);

impl SourceMover for PanickySource {
    fn walk(
        &self,
        request: &WalkRequest,
        cancel: &Cancel,
        each: &mut dyn FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        self.0.walk(request, cancel, each)
    }
    fn read(
        &self,
        _: &[ReadRequest],
        _: Chunking,
        _: &Cancel,
        _: &mut dyn ReadSink,
    ) -> Result<(), PortError> {
        panic!("source defect");
    }
}

#[test]
fn panics_are_errors() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    // More than all queues together hold, so that somebody has to wait for somebody.
    for i in 0..60 {
        fs::write(source.join(format!("f{i}")), noise(2 << 20, i)).unwrap();
    }
    let cancel = Cancel::default();
    let run = |repo: &Repository, mover: &dyn SourceMover| {
        let options = backup_options();
        repo.backup_tree(mover, &request(&source), &options, no_extras, &Silent, &cancel)
    };
    let (_, repo) = repository("");
    let failed = run(&repo, &PanickySource(LocalSource::default())).unwrap_err();
    assert_eq!((failed.reason, failed.message.as_str()), ("Panicked", "a defect: source defect"));
    assert!(repo.snapshots().unwrap().is_empty() && repo.locks().unwrap().is_empty());
    // It goes on afterwards.
    run(&repo, &LocalSource::default()).unwrap();

    let (storage, repo) = repository("save Pack");
    storage.armed.store(true, Ordering::SeqCst);
    let failed = run(&repo, &LocalSource::default()).unwrap_err();
    assert_eq!((failed.reason, failed.message.as_str()), ("Panicked", "a defect: storage defect"));
    assert!(repo.snapshots().unwrap().is_empty());

    let (storage, repo) = repository("load_range Pack");
    let id = run(&repo, &LocalSource::default()).unwrap().snapshot.id;
    storage.armed.store(true, Ordering::SeqCst);
    let target = LocalTarget::open(&tmp.path().join("out")).unwrap();
    let options = RestoreOptions { threads: 2, ..RestoreOptions::default() };
    let failed = repo.restore(&id, &target, &options, &Silent, &cancel).unwrap_err();
    assert_eq!(failed.reason, "Panicked");
}
