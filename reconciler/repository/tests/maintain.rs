//! Forgetting, pruning, copying, keys, locks and repair, judged by restic and by comparing trees.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::*;
use jiff::SignedDuration;
use mainstay_repository::storage::{LocalStorage, MemoryStorage};
use mainstay_repository::{
    CheckOptions, Depth, Id, PruneMark, PruneOptions, Repository, RestoreOptions, Rewrite,
};
use model::cancel::Cancel;
use model::ports::storage::{FileKind, Storage};
use model::progress::Silent;
use mover::LocalTarget;

fn prune(repo: &Repository, mark: &PruneMark, hours: i64) -> mainstay_repository::PruneReport {
    let options = PruneOptions {
        grace: SignedDuration::from_hours(hours),
        waste_percent_max: 0,
        ..PruneOptions::default()
    };
    repo.prune(mark, &options, &Silent, &Cancel::default())
        .unwrap_or_else(|e| panic!("prune: {}", e.chain()))
}

fn assert_whole(repo: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 2 };
    let report = repo.check(&options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(report.faults, []);
}

fn assert_restores(repo: &Repository, id: &Id, source: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let out = tempfile::tempdir().unwrap();
    let options = RestoreOptions {
        base: source.as_os_str().as_bytes().to_vec(),
        ..RestoreOptions::default()
    };
    let target = LocalTarget::open(out.path()).unwrap();
    let summary = repo.restore(id, &target, &options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(summary.problems, []);
    assert_same_tree(source, out.path());
}

/// Three states of a tree, each losing most of what the one before had.
fn three_states(repo: &Repository, source: &Path) -> Vec<Id> {
    fs::create_dir_all(source.join("d")).unwrap();
    let mut ids = Vec::new();
    for state in 0..3u64 {
        fs::write(source.join("d/keep"), noise(3 << 20, 99)).unwrap();
        fs::write(source.join("d/changing"), noise(6 << 20, state)).unwrap();
        for i in 0..20 {
            fs::write(source.join(format!("f{i}")), noise(5000, state * 100 + i)).unwrap();
        }
        ids.push(backup(repo, source).snapshot.id);
    }
    ids
}

#[test]
fn prune_waits_then_deletes_and_keeps_what_is_needed() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    let repo = init_at(&path);
    let ids = three_states(&repo, &source);
    let before = repo.stats(&Cancel::default()).unwrap();
    assert_eq!(repo.forget(&ids[..2], &Cancel::default()).unwrap(), 2);
    assert_eq!(repo.forget(&ids[..2], &Cancel::default()).unwrap(), 0);

    let first = prune(&repo, &PruneMark::default(), 1);
    assert_eq!(first.packs_deleted, 0, "nothing goes before the grace period is over");
    assert!(!first.mark.packs.is_empty() && first.bytes_waiting > 12 << 20);
    assert_whole(&repo);
    assert_restores(&repo, &ids[2], &source);

    let mark = serde_json::to_string(&first.mark).unwrap();
    let mark: PruneMark = serde_json::from_str(&mark).unwrap();
    let second = prune(&repo, &mark, 1);
    assert_eq!((second.packs_deleted, &second.mark), (0, &mark), "the mark keeps its instant");
    let third = prune(&repo, &mark, 0);
    assert_eq!(third.packs_deleted, mark.packs.len() as u64);
    assert!(third.mark.packs.is_empty());
    let after = repo.stats(&Cancel::default()).unwrap();
    assert!(after.bytes_packs < before.bytes_packs / 2, "{after:?} {before:?}");
    assert_whole(&repo);
    assert_restores(&repo, &ids[2], &source);
    restic(&path, &["check", "--read-data"]);
    assert_restores(&open_at(&path), &ids[2], &source);
}

#[test]
fn a_snapshot_that_appears_within_the_grace_period_gets_its_blobs_back() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    let repo = init_at(&path);
    let ids = three_states(&repo, &source);
    // A writer without locks has used old blobs and is not done yet: its snapshot comes late.
    let late = path.join("snapshots").join(ids[0].hex());
    let aside = tmp.path().join("aside");
    fs::rename(&late, &aside).unwrap();
    let mark = prune(&repo, &PruneMark::default(), 1).mark;
    assert!(!mark.packs.is_empty());
    fs::rename(&aside, &late).unwrap();
    let report = prune(&repo, &mark, 0);
    assert!(report.packs_rescued > 0);
    assert_whole(&repo);
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn restic_and_we_prune_by_turns() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    let repo = init_at(&path);
    let ids = three_states(&repo, &source);
    restic(&path, &["forget", "--prune", &ids[0].hex()]);
    assert_whole(&repo);
    restic(&path, &["backup", source.to_str().unwrap()]);
    repo.forget(&ids[1..2], &Cancel::default()).unwrap();
    prune(&repo, &PruneMark::default(), 0);
    restic(&path, &["check", "--read-data"]);
    restic(&path, &["prune", "--max-unused", "0"]);
    assert_whole(&repo);
    assert_restores(&repo, &ids[2], &source);
    assert_eq!(repo.snapshots().unwrap().len(), 2);
}

#[test]
fn copies_lie_under_another_key_and_are_made_once() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    make_tree(&source);
    let repo = init(Arc::new(MemoryStorage::default()));
    let first = backup(&repo, &source).snapshot;
    let rewrite = Rewrite {
        tags: Some(vec!["t".to_owned()]),
        receipt: Some(serde_json::json!({"a": 1})),
        ..Rewrite::default()
    };
    let id = repo.rewrite(&first.id, &rewrite, &Cancel::default()).unwrap().id;
    let path = tmp.path().join("repo");
    let other = init_at(&path);
    let report = repo.copy(&[id], &other, &Silent, &Cancel::default()).unwrap();
    assert_eq!(report.copied, 1);
    let copy = &report.snapshots[0];
    assert_eq!((copy.original, &copy.tags), (Some(first.id), &vec!["t".to_owned()]));
    assert_eq!(copy.mainstay, serde_json::json!({"a": 1}));
    assert_restores(&other, &copy.id, &source);
    restic(&path, &["check", "--read-data"]);
    let again = repo.copy(&[id], &other, &Silent, &Cancel::default()).unwrap();
    assert_eq!((again.copied, again.written.data_blobs), (0, 0));
    assert_eq!(again.snapshots[0].id, copy.id);
    // restic sees the receipt as nothing and lists the rest.
    assert!(restic(&path, &["snapshots"]).contains("1 snapshots"));
    // Into version 1 as well, which knows no compression.
    let old = tmp.path().join("v1");
    restic(&old, &["init", "--repository-version", "1"]);
    let old_repo = open_at(&old);
    repo.copy(&[id], &old_repo, &Silent, &Cancel::default()).unwrap();
    restic(&old, &["check", "--read-data"]);
}

#[test]
fn keys_come_and_go() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    let repo = init_at(&path);
    let id = repo.add_key(b"second").unwrap();
    let storage = || Arc::new(LocalStorage::new(&path));
    let second = Repository::open(storage(), b"second", options()).unwrap();
    assert_eq!(second.id(), repo.id());
    assert_eq!(second.keys().unwrap().len(), 2);
    assert_eq!(second.remove_key(&id).unwrap_err().reason, "KeyInUse");
    repo.remove_key(&id).unwrap();
    let open = |password: &[u8]| Repository::open(storage(), password, options()).map(|_| ());
    assert_eq!(open(b"second").unwrap_err().reason, "WrongPassword");
    assert_eq!(open(b"").unwrap_err().reason, "WrongPassword");
    open(PASSWORD.as_bytes()).unwrap();
    let again = Repository::init(storage(), b"x", options()).map(|_| ());
    assert_eq!(again.unwrap_err().reason, "AlreadyInitialised");
    let nowhere = Arc::new(LocalStorage::new(tmp.path().join("nothing")));
    let missing = Repository::open(nowhere, b"x", options()).map(|_| ());
    assert_eq!(missing.unwrap_err().reason, "NotARepository");
    assert!(
        restic(&path, &["key", "list"]).contains("scrypt")
            || !restic(&path, &["key", "list"]).is_empty()
    );
}

#[test]
fn a_lost_index_is_made_anew() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    let repo = init_at(&path);
    let ids = three_states(&repo, &source);
    for (number, file) in fs::read_dir(path.join("index")).unwrap().enumerate() {
        let file = file.unwrap().path();
        // One damaged, the others gone.
        if number == 0 {
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            fs::write(&file, b"spoiled").unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
    }
    let repo = open_at(&path);
    let report = repo.rebuild_index(false, &Silent, &Cancel::default()).unwrap();
    assert!(report.packs_found > 0 && report.packs_unreadable.is_empty());
    assert_whole(&repo);
    assert_restores(&repo, &ids[2], &source);
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn locks_are_honoured_both_ways() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), b"x").unwrap();
    let repo = init_at(&path);
    backup(&repo, &source);
    // restic holds a lock while it backs up from a pipe that stays open.
    let mut holder = std::process::Command::new(restic_binary())
        .args(["--no-cache", "-r", path.to_str().unwrap(), "backup", "--stdin"])
        .env("RESTIC_PASSWORD", PASSWORD)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while repo.locks().unwrap().is_empty() {
        std::thread::yield_now();
    }
    backup(&repo, &source);
    let refused = repo.forget(&[], &Cancel::default()).unwrap_err();
    assert_eq!((refused.reason, refused.class.to_string().as_str()), ("Locked", "waiting"));
    let pid = holder.id().to_string();
    assert!(refused.message.contains(&pid), "{}", refused.message);
    // Killed, it leaves its lock: foreign, so it is named and not broken.
    holder.kill().unwrap();
    holder.wait().unwrap();
    let stale = repo.forget(&[], &Cancel::default()).unwrap_err();
    assert_eq!(stale.reason, "StaleLock");
    assert!(stale.hint.unwrap().contains("unlock"));
    assert_eq!(repo.unlock(false).unwrap(), 1);
    repo.forget(&[], &Cancel::default()).unwrap();
    assert!(repo.locks().unwrap().is_empty());
}

#[test]
fn locks_of_our_own_dead_runs_are_reclaimed() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let repo = init(Arc::clone(&storage));
    let mut dead = options();
    dead.owner.run = "an earlier start".to_owned();
    // Of the same number, as the first process of a container has after each start.
    dead.owner.instance.started = "1".to_owned();
    let earlier = Repository::open(Arc::clone(&storage), PASSWORD.as_bytes(), dead).unwrap();
    // The earlier start died with its lock held.
    let held = earlier.hold_lock_for_test().unwrap();
    assert_eq!(repo.locks().unwrap().len(), 1);
    assert!(repo.locks().unwrap()[0].reclaimable);
    repo.forget(&[], &Cancel::default()).unwrap();
    assert!(repo.locks().unwrap().is_empty());
    drop(held);
}

#[test]
fn damage_is_named_and_the_rest_comes_back() {
    use std::os::unix::ffi::OsStrExt;
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    for i in 0..40 {
        fs::write(source.join(format!("f{i:02}")), noise(100_000, i)).unwrap();
    }
    let storage = Arc::new(MemoryStorage::default());
    let repo = init(storage.clone());
    let id = backup(&repo, &source).snapshot.id;
    let index = repo.index(&Cancel::default()).unwrap();
    let pack = index.packs().into_iter().find(|p| p.blobs.len() > 20).expect("one data pack");
    let victim = pack.blobs[7];
    storage.damage(FileKind::Pack, &pack.id.hex(), |data| data[victim.offset as usize + 50] ^= 4);
    let options = CheckOptions { depth: Depth::All, snapshots: vec![id], threads: 2 };
    let report = repo.check(&options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    let fault = &report.faults[0];
    assert_eq!((fault.pack, fault.blob), (Some(pack.id), Some(victim.id)));
    let (snapshot, file) = fault.needed_by.clone().unwrap();
    assert_eq!(snapshot, id);
    let name = String::from_utf8(file.clone()).unwrap();
    assert!(name.contains("/src/f"), "{name}");

    let out = tmp.path().join("out");
    let options = RestoreOptions {
        base: source.as_os_str().as_bytes().to_vec(),
        ..RestoreOptions::default()
    };
    let target = LocalTarget::open(&out).unwrap();
    let summary = repo.restore(&id, &target, &options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(summary.problems.len(), 1);
    assert!(summary.problems[0].message.contains(&pack.id.hex()));
    let left = fs::read_dir(&source)
        .unwrap()
        .filter(|e| {
            let e = e.as_ref().unwrap();
            fs::read(e.path()).ok() != fs::read(out.join(e.file_name())).ok()
        })
        .count();
    assert_eq!(left, 1, "only the damaged file is missing");
    // A pack that is gone altogether.
    storage.delete(FileKind::Pack, &pack.id.hex()).unwrap();
    let options = CheckOptions { depth: Depth::Structure, snapshots: Vec::new(), threads: 2 };
    let report = repo.check(&options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(report.faults[0].reason, "PackMissing");
    let refused = prune_error(&repo);
    assert_eq!(refused, "PackMissing", "a damaged repository is not pruned");
}

fn prune_error(repo: &Repository) -> &'static str {
    let mark = PruneMark::default();
    repo.prune(&mark, &PruneOptions::default(), &Silent, &Cancel::default()).unwrap_err().reason
}
