//! Trees, snapshots and files that an attacker made: nothing outside the target is touched, and no
//! input makes the engine panic.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::*;
use mainstay_repository::format::node::Node;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{CheckOptions, Depth, Id, Repository, RestoreOptions};
use model::cancel::Cancel;
use model::ports::mover::{Entry, EntryKind, FileTime, Owner, ProblemKind};
use model::ports::storage::{FileKind, Storage};
use model::progress::Silent;
use mover::LocalTarget;

fn node(name: &[u8], kind: EntryKind) -> Node {
    let entry = Entry {
        name: name.to_vec(),
        kind,
        mode: 0o777,
        mtime: FileTime::default(),
        atime: FileTime::default(),
        ctime: FileTime::default(),
        owner: Owner { uid: 0, gid: 0, ..Owner::default() },
        inode: 0,
        device: 0,
        links: 1,
        size: 0,
        rdev: 0,
        link_target: Vec::new(),
        xattrs: Vec::new(),
    };
    Node { entry, content: Vec::new(), subtree: None }
}

fn link(name: &[u8], to: &Path) -> Node {
    use std::os::unix::ffi::OsStrExt;
    let mut node = node(name, EntryKind::Symlink);
    node.entry.link_target = to.as_os_str().as_bytes().to_vec();
    node
}

fn restore(repo: &Repository, root: Id, out: &Path) -> mainstay_repository::RestoreSummary {
    let target = LocalTarget::open(out).unwrap();
    let id = repo.save_snapshot_for_test(root).unwrap();
    repo.restore(&id, &target, &RestoreOptions::default(), &Silent, &Cancel::default()).unwrap()
}

#[test]
fn nothing_is_written_outside_the_target() {
    let tmp = tempfile::tempdir().unwrap();
    let outside = tmp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"as it was").unwrap();
    let repo = init(Arc::new(MemoryStorage::default()));
    let payload = repo.save_trees_for_test(&[vec![node(b"precious", EntryKind::File)]]);
    let inner = payload.unwrap()[0];
    let below = |name: &[u8]| {
        let mut dir = node(name, EntryKind::Directory);
        dir.subtree = Some(inner);
        dir
    };
    let cases: Vec<Vec<Node>> = vec![
        vec![node(b"../outside/precious", EntryKind::File)],
        vec![below(b"..")],
        vec![below(b"../outside")],
        vec![below(b"/"), below(b"."), below(b"")],
        vec![node(b"nul\0byte", EntryKind::File)],
        // A link and a directory of the same name: the second would go through the first.
        vec![link(b"x", &outside), below(b"x")],
        vec![below(b"x"), link(b"x", &outside)],
        // A link, and a file behind it of the same name.
        vec![link(b"y", &outside.join("precious")), node(b"y", EntryKind::File)],
    ];
    for (number, nodes) in cases.into_iter().enumerate() {
        let out = tmp.path().join(format!("out{number}"));
        let roots = repo.save_trees_for_test(&[nodes]).unwrap();
        let summary = restore(&repo, roots[0], &out);
        assert!(!summary.problems.is_empty(), "case {number} is named");
        assert!(summary.problems.iter().all(|p| p.kind == ProblemKind::Refused), "case {number}");
        assert_eq!(fs::read(outside.join("precious")).unwrap(), b"as it was", "case {number}");
        let around = fs::read_dir(tmp.path()).unwrap().count();
        assert_eq!(around, number + 2, "case {number} made something beside its target");
    }
    // Links that lie at the target already lead nowhere either.
    let out = tmp.path().join("prepared");
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&outside, out.join("x")).unwrap();
    std::os::unix::fs::symlink(outside.join("precious"), out.join("f")).unwrap();
    let nodes = vec![node(b"f", EntryKind::File), below(b"x")];
    let roots = repo.save_trees_for_test(&[nodes]).unwrap();
    assert_eq!(restore(&repo, roots[0], &out).problems, []);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"as it was");
    assert!(fs::symlink_metadata(out.join("x")).unwrap().is_dir());
}

/// Flips bits all over every kind of file: each operation ends with a result, never with a panic,
/// and a check never passes over damage to what a snapshot needs.
#[test]
fn flipped_bits_anywhere_are_errors() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    for i in 0..5 {
        fs::write(source.join(format!("f{i}")), noise(3000, i)).unwrap();
    }
    let storage = Arc::new(MemoryStorage::default());
    backup(&init(storage.clone()), &source);
    let kinds =
        [FileKind::Config, FileKind::Key, FileKind::Snapshot, FileKind::Index, FileKind::Pack];
    for kind in kinds {
        let mut files = Vec::new();
        storage
            .list(kind, &mut |f| {
                files.push(f);
                Ok(())
            })
            .unwrap();
        for file in files {
            for step in 0..12 {
                let at = (file.size_bytes as usize - 1) * step / 11;
                let copy = Arc::new(storage.fork());
                copy.damage(kind, &file.name, |data| data[at] ^= 1 << (step % 8));
                let whole = looks_whole(copy, &tmp.path().join("out"));
                assert!(!whole, "{kind:?} {} byte {at}", file.name);
            }
            let copy = Arc::new(storage.fork());
            copy.damage(kind, &file.name, |data| data.truncate(data.len() / 2));
            assert!(!looks_whole(copy, &tmp.path().join("out")), "{kind:?} cut");
        }
    }
    assert!(looks_whole(storage, &tmp.path().join("out")));
}

fn looks_whole(storage: Arc<MemoryStorage>, out: &Path) -> bool {
    let Ok(repo) = Repository::open(storage.clone(), PASSWORD.as_bytes(), options()) else {
        return false;
    };
    let cancel = Cancel::default();
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    let checked = repo.check(&options, &Silent, &cancel).is_ok_and(|r| r.is_whole());
    let Ok(snapshots) = repo.snapshots() else { return false };
    let target = LocalTarget::open(out).unwrap();
    for snapshot in &snapshots {
        let _ = repo.restore(&snapshot.id, &target, &RestoreOptions::default(), &Silent, &cancel);
    }
    // A key file's own words (who made it, when) are not sealed; all else is.
    checked && snapshots.len() == 1 && repo.keys().is_ok_and(|k| k.iter().all(|k| k.current)) && {
        let mut names = Vec::new();
        let listed = storage.list(FileKind::Key, &mut |f| {
            names.push(f.name);
            Ok(())
        });
        let intact = |name: &String| {
            storage.load(FileKind::Key, name, 1 << 20).is_ok_and(|d| Id::of(&d).hex() == *name)
        };
        listed.is_ok() && names.iter().all(intact)
    }
}
