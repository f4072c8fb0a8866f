//! A defect in a caller's storage or source fails the operation by name; it hangs nothing and
//! publishes nothing.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::storage::decorators::Hooked;
use mainstay_repository::{Repository, RestoreOptions};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Chunking, ReadRequest, ReadSink, SourceMover, WalkEvent, WalkRequest};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};

/// Makes a repository in storage that panics at one kind of call, once it is armed.
fn repository(at: &'static str) -> (Arc<AtomicBool>, Repository) {
    let armed = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&armed);
    let storage = Hooked::new(Arc::new(MemoryStorage::default()), move |call, kind, _, act| {
        let here = hook.load(Ordering::SeqCst) && format!("{call:?} {kind:?}") == at;
        assert!(!here, "storage defect");
        act()
    });
    (armed, init(Arc::new(storage)))
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

    let (armed, repo) = repository("Save Pack");
    armed.store(true, Ordering::SeqCst);
    let failed = run(&repo, &LocalSource::default()).unwrap_err();
    assert_eq!((failed.reason, failed.message.as_str()), ("Panicked", "a defect: storage defect"));
    assert!(repo.snapshots().unwrap().is_empty());

    let (armed, repo) = repository("LoadRange Pack");
    let id = run(&repo, &LocalSource::default()).unwrap().snapshot.id;
    armed.store(true, Ordering::SeqCst);
    let target = LocalTarget::open(&tmp.path().join("out")).unwrap();
    let options = RestoreOptions { threads: 2, ..RestoreOptions::default() };
    let failed = repo.restore(&id, &target, &options, &Silent, &cancel).unwrap_err();
    assert_eq!(failed.reason, "Panicked");
}
