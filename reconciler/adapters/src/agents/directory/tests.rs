//! Tests of folders: what a probe sees, the suite of recoveries, and crashes between two moves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use model::ports::Boxed;
use model::ports::agents::{Beside, OnTarget};
use rustix::fs::RenameFlags;
use testkit::conformance::agents::{Subject, conformance};

use super::place::{Place, identity, rename};
use super::record::{Phase, Record};
use super::*;
use crate::agents::tests::{agent, fleet};

fn tree(path: &Path) -> Tree {
    Tree { path: path.to_str().unwrap().to_owned(), ..Tree::default() }
}

fn seen(path: &Path) -> Observation {
    probe(&tree(path), Timestamp::UNIX_EPOCH)
}

#[test]
fn a_probe_tells_folders_from_everything_else() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("file"), "x").unwrap();
    symlink(at("empty"), at("link")).unwrap();
    assert!(matches!(seen(&at("empty")), Observation::Known { entries: Some(0), .. }));
    assert!(matches!(seen(temp.path()), Observation::Known { entries: Some(3), .. }));
    assert!(matches!(seen(&at("file")), Observation::Known { damaged: Some(_), .. }));
    assert!(matches!(seen(&at("gone")), Observation::Absent { .. }));
    assert!(matches!(seen(&at("gone/deeper")), Observation::Absent { .. }));
    let unknown = |o, w: &str| matches!(o, Observation::Unknown { reason, .. } if reason == w);
    assert!(unknown(seen(&at("link")), "PathIsSymlink"));
    assert!(unknown(seen(&at("file/below")), "Io"));
    assert!(unknown(seen(Path::new("relative")), "BadPath"));
}

#[test]
fn a_mount_point_without_a_mount_is_absent() {
    let temp = tempfile::tempdir().unwrap();
    let mut tree = tree(temp.path());
    tree.mount_point = true;
    let Observation::Absent { detail, .. } = probe(&tree, Timestamp::UNIX_EPOCH) else {
        panic!("not absent")
    };
    assert_eq!(detail, format!("nothing is mounted at {}", temp.path().display()));
    assert_eq!(prepare(&tree, "t").unwrap_err().reason, "NotMounted");
    tree.path = "/proc".to_owned();
    assert!(matches!(probe(&tree, Timestamp::UNIX_EPOCH), Observation::Known { .. }));
}

/// A folder whose one file says what it is.
struct Folder(PathBuf);

impl Subject for Folder {
    fn agent(&self) -> model::agent::Agent {
        model::agent::Agent { tree: Some(tree(&self.0)), ..agent() }
    }
    fn reset(&self) -> Boxed<'_, ()> {
        let _ = fs::remove_dir_all(&self.0);
        fs::create_dir_all(self.0.join("deep")).unwrap();
        fs::write(self.0.join("deep/what"), "original").unwrap();
        symlink("/etc", self.0.join("link")).unwrap();
        Box::pin(std::future::ready(()))
    }
    fn lose(&self) -> Boxed<'_, ()> {
        fs::remove_dir_all(self.0.parent().unwrap()).unwrap();
        Box::pin(std::future::ready(()))
    }
    fn load(&self, beside: Beside) -> Boxed<'_, ()> {
        let Beside::Folder { path, original, .. } = beside else { panic!("a folder") };
        assert_eq!(Path::new(&original), self.0);
        fs::create_dir_all(Path::new(&path).join("deep")).unwrap();
        fs::write(Path::new(&path).join("deep/what"), "restored").unwrap();
        Box::pin(std::future::ready(()))
    }
    fn read(&self) -> Boxed<'_, Option<String>> {
        Box::pin(std::future::ready(fs::read_to_string(self.0.join("deep/what")).ok()))
    }
}

#[tokio::test]
async fn recoveries_of_folders_conform() {
    let temp = tempfile::tempdir().unwrap();
    let scratch = temp.path().join("scratch");
    let long = "n".repeat(250);
    for name in ["plain", "-rf * $(x)\n'\"", ".hidden", "…ünï", &long] {
        let subject = Folder(temp.path().join("parent").join(name));
        conformance(&|| Box::new(fleet(&scratch)), &subject).await;
        let left: Vec<_> = fs::read_dir(temp.path().join("parent")).unwrap().collect();
        assert_eq!(left.len(), 1, "{name:?} leaves nothing beside: {left:?}");
        assert!(Path::new("/etc/passwd").exists());
        fs::remove_dir_all(temp.path().join("parent")).unwrap();
    }
}

/// Makes a folder with a restored one beside it, and the record of a swap that is about to happen.
fn about_to_swap(temp: &Path, token: &str) -> (Tree, Place, Record) {
    let path = temp.join("data");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("what"), "original").unwrap();
    let tree = tree(&path);
    fs::write(Path::new(&prepare(&tree, token).unwrap()).join("what"), "restored").unwrap();
    let place = Place::of(&tree, token).unwrap();
    let restored = identity(&place.restore).unwrap().unwrap();
    let record = Record::new(token, identity(&path).unwrap(), restored);
    (tree, place, record)
}

fn what(tree: &Tree) -> String {
    fs::read_to_string(Path::new(&tree.path).join("what")).unwrap()
}

#[test]
fn a_crash_before_and_after_the_exchange_is_told_apart() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, place, mut record) = about_to_swap(temp.path(), "t");
    record.reach(&place, Phase::Swapping).unwrap();
    assert_eq!(state(&tree, "t").unwrap(), OnTarget::Beside);
    rename(&place.restore, &place.path, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(state(&tree, "t").unwrap(), OnTarget::Swapped);
    assert_eq!(fs::read_to_string(place.old.join("what")).unwrap(), "original");
    assert_eq!(swap(&tree, "t").unwrap().as_deref(), place.old.to_str());
    assert_eq!(what(&tree), "restored");
}

#[test]
fn a_crash_between_two_renames_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, place, mut record) = about_to_swap(temp.path(), "t");
    record.reach(&place, Phase::Swapping).unwrap();
    fs::rename(&place.path, &place.old).unwrap();
    assert_eq!(state(&tree, "t").unwrap(), OnTarget::Swapped);
    assert_eq!(what(&tree), "restored");
    rollback(&tree, "t").unwrap();
    assert_eq!(what(&tree), "original");
}

#[test]
fn a_crash_in_a_rollback_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, place, _) = about_to_swap(temp.path(), "t");
    swap(&tree, "t").unwrap();
    let mut record = Record::read(&place).unwrap().unwrap();
    record.reach(&place, Phase::RollingBack).unwrap();
    assert_eq!(swap(&tree, "t").unwrap_err().reason, "AlreadySwapped");
    assert_eq!(commit(&tree, "t").unwrap_err().reason, "RollbackBegun");
    rename(&place.old, &place.path, RenameFlags::EXCHANGE).unwrap();
    rollback(&tree, "t").unwrap();
    assert_eq!(what(&tree), "original");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn a_begun_commit_cannot_be_rolled_back() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, place, _) = about_to_swap(temp.path(), "t");
    swap(&tree, "t").unwrap();
    let mut record = Record::read(&place).unwrap().unwrap();
    record.reach(&place, Phase::Committing).unwrap();
    fs::remove_file(place.old.join("what")).unwrap();
    assert_eq!(rollback(&tree, "t").unwrap_err().reason, "AlreadyCommitted");
    commit(&tree, "t").unwrap();
    assert_eq!(what(&tree), "restored");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn folders_that_somebody_else_moved_are_left_to_a_person() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, place, mut record) = about_to_swap(temp.path(), "t");
    record.reach(&place, Phase::Swapping).unwrap();
    fs::rename(&place.restore, temp.path().join("elsewhere")).unwrap();
    assert_eq!(state(&tree, "t").unwrap_err().reason, "RecoveryUnclear");
    fs::write(&place.record, "{").unwrap();
    assert_eq!(state(&tree, "t").unwrap_err().reason, "RecordDamaged");
    assert_eq!(what(&tree), "original");
}

#[test]
fn a_swap_child_by_child_goes_on_from_anywhere() {
    for moved in 0..3 {
        let temp = tempfile::tempdir().unwrap();
        let (tree, place, mut record) = about_to_swap(temp.path(), "t");
        for name in ["a", "b", "c"] {
            fs::write(place.path.join(name), "original").unwrap();
            fs::write(place.restore.join(name), "restored").unwrap();
        }
        record.children = true;
        record.reach(&place, Phase::ChildrenAside).unwrap();
        fs::create_dir(&place.old).unwrap();
        for name in &["a", "b", "c"][..moved] {
            fs::rename(place.path.join(name), place.old.join(name)).unwrap();
        }
        assert_eq!(state(&tree, "t").unwrap(), OnTarget::Swapped);
        assert_eq!(what(&tree), "restored");
        assert_eq!(fs::read_dir(&place.path).unwrap().count(), 4);
        let mut record = Record::read(&place).unwrap().unwrap();
        record.reach(&place, Phase::ChildrenOut).unwrap();
        fs::create_dir(&place.restore).unwrap();
        for name in &["a", "b", "c"][..moved] {
            fs::rename(place.path.join(name), place.restore.join(name)).unwrap();
        }
        rollback(&tree, "t").unwrap();
        assert_eq!(what(&tree), "original");
        assert_eq!(fs::read_dir(&place.path).unwrap().count(), 4);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
