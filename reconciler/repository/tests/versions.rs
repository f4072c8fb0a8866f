//! Version 1 and its migration, append-only use, passwords; restic before and after.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::storage::decorators::{Hooked, Operation};
use mainstay_repository::{
    CheckOptions, Depth, Options, PruneMark, PruneOptions, Repository, Rewrite, SnapshotRepair,
};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{FileKind, Storage};
use model::progress::Silent;

/// Local storage that refuses to delete what `forbids` says, and fails the next write of a config
/// when it is told to.
fn strict(path: &Path, forbids: fn(FileKind) -> bool) -> (Arc<dyn Storage>, Arc<AtomicBool>) {
    let config_fails = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&config_fails);
    let inner = Arc::new(LocalStorage::new(path));
    let storage = Hooked::new(inner, move |operation, kind, _, act| match (operation, kind) {
        (Operation::Save, FileKind::Config) if hook.swap(false, Ordering::SeqCst) => {
            Err(PortError::transient("Injected", "injected fault"))
        }
        (Operation::Delete, _) if forbids(kind) => {
            Err(PortError::terminal("PermissionDenied", "deletion is forbidden"))
        }
        _ => act(),
    });
    (Arc::new(storage), config_fails)
}

fn make_source(root: &Path) {
    fs::create_dir_all(root).unwrap();
    for i in 0..10 {
        fs::write(root.join(format!("f{i}")), format!("text {i}\n").repeat(5000)).unwrap();
    }
}

fn assert_whole(repo: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    assert_eq!(repo.check(&options, &Silent, &Cancel::default()).unwrap().faults, []);
}

#[test]
fn version_1_is_migrated_on_request() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path, out) =
        (tmp.path().join("src"), tmp.path().join("repo"), tmp.path().join("out"));
    make_source(&source);
    restic(&path, &["init", "--repository-version", "1"]);
    restic(&path, &["backup", source.to_str().unwrap()]);
    let repo = open_at(&path);
    let id = repo.id().to_owned();
    backup(&repo, &source);
    let stored = repo.stats(&Cancel::default()).unwrap().bytes_packs;
    assert!(repo.migrate(&Silent, &Cancel::default()).unwrap());
    // The handle that migrated goes on as it began, and what it writes is valid.
    fs::write(source.join("more"), "more\n".repeat(9000)).unwrap();
    backup(&repo, &source);
    let repo = open_at(&path);
    assert_eq!((repo.version(), repo.id()), (2, id.as_str()));
    assert!(!repo.migrate(&Silent, &Cancel::default()).unwrap(), "there is nothing left to do");
    fs::write(source.join("compressible"), "again\n".repeat(50_000)).unwrap();
    backup(&repo, &source);
    let after = repo.stats(&Cancel::default()).unwrap().bytes_packs;
    assert!(after - stored < 200_000, "new content is compressed: {stored} {after}");
    assert!(repo.locks().unwrap().is_empty());
    restic(&path, &["check", "--read-data"]);
    restic(&path, &["restore", "latest", "--target", out.to_str().unwrap()]);
    assert_same_tree(&source, &out.join(source.strip_prefix("/").unwrap()));
    restic(&path, &["backup", source.to_str().unwrap()]);
    assert_whole(&repo);
}

#[test]
fn a_migration_that_was_killed_is_completed() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_source(&source);
    restic(&path, &["init", "--repository-version", "1"]);
    restic(&path, &["backup", source.to_str().unwrap()]);
    let (storage, config_fails) = strict(&path, |_| false);
    let repo = Repository::open(storage.clone(), PASSWORD.as_bytes(), options()).unwrap();
    config_fails.store(true, Ordering::SeqCst);
    assert_eq!(repo.migrate(&Silent, &Cancel::default()).unwrap_err().reason, "Injected");
    assert!(!path.join("config").exists(), "the worst moment");
    assert!(!restic_raw(&path, &["snapshots"]).status.success());
    let wrong = Repository::open(storage.clone(), b"wrong", options()).map(|_| ()).unwrap_err();
    assert_eq!(wrong.reason, "NotARepository");
    // Who may write nothing reads all the same.
    let reading = Options { read_only: true, ..options() };
    let reader = Repository::open(storage, PASSWORD.as_bytes(), reading).unwrap();
    assert_eq!((reader.version(), reader.snapshots().unwrap().len()), (2, 1));
    assert!(!path.join("config").exists());
    let mended = open_at(&path);
    assert_eq!((mended.version(), mended.id()), (2, repo.id()));
    mended.unlock(true).unwrap();
    backup(&mended, &source);
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn the_lock_that_keeps_a_config_never_goes_before_it_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    // What another process does that had opened the repository before.
    let acts: [fn(&Repository); 3] = [
        |other| assert_eq!(other.unlock(true).unwrap(), 1),
        |other| assert_eq!(other.unlock(false).unwrap(), 1),
        assert_whole,
    ];
    for act in acts {
        restic(&path, &["init", "--repository-version", "1"]);
        let mut dead = options();
        // As of a machine of this name that was started again since.
        dead.owner.instance.boot.push('x');
        dead.owner.instance.machine = "m".to_owned();
        let mut here = options();
        here.owner.instance.machine = "m".to_owned();
        let other = Arc::new(LocalStorage::new(&path));
        let other = Repository::open(other, PASSWORD.as_bytes(), here).unwrap();
        let (storage, config_fails) = strict(&path, |_| false);
        let killed = Repository::open(storage, PASSWORD.as_bytes(), dead).unwrap();
        config_fails.store(true, Ordering::SeqCst);
        assert_eq!(killed.migrate(&Silent, &Cancel::default()).unwrap_err().reason, "Injected");
        assert!(!path.join("config").exists() && other.locks().unwrap()[0].keeps_config);
        act(&other);
        assert!(other.locks().unwrap().is_empty());
        assert_eq!((open_at(&path).version(), open_at(&path).id()), (2, killed.id()));
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_migration_that_others_completed_ends_well() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    restic(&path, &["init", "--repository-version", "1"]);
    let (inner, again) = (Arc::new(LocalStorage::new(&path)), path.clone());
    let storage = Hooked::new(inner, move |operation, kind, _, act| {
        if (operation, kind) == (Operation::Save, FileKind::Config) {
            assert_eq!(open_at(&again).version(), 2, "another that comes in between");
        }
        act()
    });
    let repo = Repository::open(Arc::new(storage), PASSWORD.as_bytes(), options()).unwrap();
    assert!(repo.migrate(&Silent, &Cancel::default()).unwrap());
    assert!(repo.locks().unwrap().is_empty());
    assert_eq!(open_at(&path).version(), 2);
}

#[test]
fn appending_works_where_nothing_can_be_deleted() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_source(&source);
    drop(init_at(&path));
    // As a REST server in append-only mode has it, and as an object lock on all of it would.
    let modes: [fn(FileKind) -> bool; 2] = [|kind| kind != FileKind::Lock, |_| true];
    for forbids in modes {
        let appending = Options { append_only: true, ..options() };
        let (storage, _) = strict(&path, forbids);
        let repo = Repository::open(storage, PASSWORD.as_bytes(), appending).unwrap();
        let first = backup(&repo, &source).snapshot.id;
        backup(&repo, &source);
        repo.add_key(b"another").unwrap();
        let cancel = Cancel::default();
        let reasons = [
            repo.forget(&[first], &cancel).map(|_| ()),
            repo.rewrite(&first, &Rewrite::default(), &cancel).map(|_| ()),
            repo.prune(&PruneMark::default(), &PruneOptions::default(), &Silent, &cancel)
                .map(|_| ()),
            repo.rebuild_index(true, &Silent, &cancel).map(|_| ()),
            repo.salvage(&[], &mut |_, _| Ok(()), &Silent, &cancel).map(|_| ()),
            repo.repair_snapshots(
                &[],
                &SnapshotRepair { forget: true, dry_run: false },
                &|r, _| r.clone(),
                &Silent,
                &cancel,
            )
            .map(|_| ()),
            repo.change_password(b"x").map(|_| ()),
            repo.migrate(&Silent, &cancel).map(|_| ()),
        ]
        .map(|done| done.unwrap_err().reason);
        assert_eq!(reasons, ["AppendOnly"; 8]);
        assert_whole(&repo);
    }
    let dry = PruneOptions { dry_run: true, ..PruneOptions::default() };
    let appending = Options { append_only: true, ..options() };
    let (storage, _) = strict(&path, |kind| kind != FileKind::Lock);
    let repo = Repository::open(storage, PASSWORD.as_bytes(), appending).unwrap();
    // The locks that could not be deleted are of this very process.
    repo.unlock(true).unwrap();
    repo.prune(&PruneMark::default(), &dry, &Silent, &Cancel::default()).unwrap();
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn reading_writes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_source(&source);
    let id = backup(&init_at(&path), &source).snapshot.id;
    let files = || {
        let out = Command::new("find").arg(&path).args(["-printf", "%p %s %T@\n"]).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let before = files();
    let reading = Options { read_only: true, ..options() };
    let (storage, _) = strict(&path, |_| true);
    let repo = Repository::open(storage, PASSWORD.as_bytes(), reading).unwrap();
    assert_whole(&repo);
    let mut text = Vec::new();
    let file = source.join("f1");
    let path = file.to_str().unwrap().as_bytes();
    repo.dump(&id, path, &mut text, &Cancel::default()).unwrap();
    assert_eq!(text, fs::read(&file).unwrap());
    assert_eq!(repo.forget(&[id], &Cancel::default()).unwrap_err().reason, "ReadOnly");
    assert_eq!(files(), before);
}

#[test]
fn a_changed_password_opens_for_restic_and_the_old_one_no_more() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    let repo = init_at(&path);
    let id = repo.change_password(b"changed").unwrap();
    let keys = repo.keys().unwrap();
    assert!(keys.len() == 1 && keys[0].id == id && keys[0].current);
    assert_eq!(repo.remove_key(&id).unwrap_err().reason, "KeyInUse");
    assert_eq!(repo.change_password(b"").unwrap_err().reason, "EmptyPassword");
    assert!(!restic_raw(&path, &["snapshots"]).status.success());
    let judged = Command::new(restic_binary())
        .args(["--no-cache", "-r", path.to_str().unwrap(), "check"])
        .env("RESTIC_PASSWORD", "changed")
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
}
