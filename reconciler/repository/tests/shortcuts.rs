//! The shortcuts that make the engine fast, each compared with the long way: trees taken over from
//! the parent with trees made without one, contents in many windows with the source.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use common::*;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{Id, Repository, RestoreOptions};
use model::cancel::Cancel;
use model::ports::mover::Chunking;
use model::progress::Silent;
use mover::LocalTarget;

type Change = (&'static str, fn(&Path));

/// Each touches what an entry says in another way.
const CHANGES: [Change; 14] = [
    ("nothing", |_| {}),
    ("mode of a file", |root| mode(&root.join("sub/text"), 0o600)),
    ("mode of a directory", |root| mode(&root.join("sub/deeper"), 0o700)),
    ("attribute of a file", |root| xattr::set(root.join("small"), "user.colour", b"x").unwrap()),
    ("attribute gone", |root| xattr::remove(root.join("sub"), "user.on-a-dir").unwrap()),
    ("content of the same length", |root| fs::write(root.join("small"), b"HELLO").unwrap()),
    ("content longer", |root| fs::write(root.join("sub/text"), b"other").unwrap()),
    ("renamed", |root| fs::rename(root.join("sub/text"), root.join("sub/texu")).unwrap()),
    ("moved", |root| fs::rename(root.join("sub/texu"), root.join("texu")).unwrap()),
    ("added", |root| fs::write(root.join("sub/deeper/more"), b"more").unwrap()),
    ("removed", |root| fs::remove_file(root.join("sub/deeper/more")).unwrap()),
    ("link removed", |root| fs::remove_file(root.join("hard")).unwrap()),
    ("directory emptied", |root| {
        fs::remove_file(root.join("sub/deeper/zeros")).unwrap();
        fs::remove_dir(root.join("sub/deeper/empty")).unwrap();
    }),
    ("link to elsewhere", |root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("elsewhere", root.join("link")).unwrap();
    }),
];

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
}

fn memory() -> Repository {
    init(Arc::new(MemoryStorage::default()))
}

/// The tree of one folder of a snapshot.
fn tree_of(repo: &Repository, snapshot: &Id, folder: &Path) -> Id {
    use std::os::unix::ffi::OsStrExt;
    let mut found = None;
    repo.ls(snapshot, &Cancel::default(), &mut |path, node| {
        if path == folder.as_os_str().as_bytes() {
            found = node.subtree;
        }
        Ok(true)
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn a_parent_changes_the_cost_of_a_backup_and_never_its_tree() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    make_tree(&root);
    let (repo, fresh) = (memory(), memory());
    let mut options = backup_options();
    options.parent = Some(backup(&repo, &root).snapshot.id);
    for (what, change) in CHANGES {
        change(&root);
        let taken = backup_with(&repo, &root, &options);
        let long_way = backup(&fresh, &root);
        let id = taken.snapshot.id;
        assert_eq!(
            tree_of(&repo, &id, &root),
            tree_of(&fresh, &long_way.snapshot.id, &root),
            "{what}"
        );
        assert_eq!(taken.summary.files, long_way.summary.files, "{what}");
        assert_eq!(taken.summary.dirs, long_way.summary.dirs, "{what}");
        if what == "nothing" {
            // The tree with the three below; what lies above is not the test's alone.
            assert!(taken.summary.dirs_unmodified >= 4, "{:?}", taken.summary);
        }
        options.parent = Some(id);
    }
}

#[test]
fn a_file_of_many_windows_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    fs::create_dir_all(&root).unwrap();
    // Beside it small files, so that windows end within it, before it and behind it.
    for i in 0..300 {
        fs::write(root.join(format!("a-{i}")), noise(70, i)).unwrap();
        fs::write(root.join(format!("z-{i}")), noise(10, i)).unwrap();
    }
    fs::write(root.join("many"), noise(64 * 40_000 + 5, 7)).unwrap();
    let repo = memory();
    let mut options = backup_options();
    options.chunking = Chunking::Fixed { size_bytes: 64 };
    let report = backup_with(&repo, &root, &options);
    assert!(report.summary.written.data_blobs > 40_000);
    let out = tempfile::tempdir().unwrap();
    let target = LocalTarget::open(out.path()).unwrap();
    let base = std::os::unix::ffi::OsStrExt::as_bytes(root.as_os_str()).to_vec();
    for pass in ["empty target", "all there"] {
        let options = RestoreOptions { base: base.clone(), verify: true, ..Default::default() };
        let id = report.snapshot.id;
        let done = repo.restore(&id, &target, &options, &Silent, &Cancel::default()).unwrap();
        assert_eq!(done.problems, [], "{pass}");
        assert_eq!((done.files, done.files_verified), (601, 601), "{pass}");
        assert_eq!(describe(out.path()), describe(&root), "{pass}");
    }
}
