//! Damage and its repair: what is whole is kept, what is not is named, and restic agrees.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::*;
use mainstay_repository::format::pack::BlobKind;
use mainstay_repository::{
    CheckOptions, Depth, Id, Repository, RestoreOptions, SalvageReport, SnapshotRepair,
};
use model::cancel::Cancel;
use model::progress::Silent;
use mover::LocalTarget;
use serde_json::{Value, json};

struct Place {
    _tmp: tempfile::TempDir,
    path: PathBuf,
    source: PathBuf,
    out: PathBuf,
}

/// A repository with three snapshots of a folder with some files, one of several pieces.
fn place() -> (Place, Vec<Id>) {
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let place = Place { path: at("repo"), source: at("src"), out: at("out"), _tmp: tmp };
    fs::create_dir_all(place.source.join("a/b")).unwrap();
    fs::write(place.source.join("large"), noise(5 << 20, 1)).unwrap();
    for i in 0..10 {
        fs::write(place.source.join(format!("a/f{i}")), noise(40_000, 10 + i)).unwrap();
        fs::write(place.source.join(format!("a/b/g{i}")), noise(30_000, 50 + i)).unwrap();
    }
    let repo = init_at(&place.path);
    let ids = (0..3u64)
        .map(|state| {
            fs::write(place.source.join("state"), noise(70_000, 1000 + state)).unwrap();
            backup(&repo, &place.source).snapshot.id
        })
        .collect();
    (place, ids)
}

/// Spoils one byte of a stored pack.
fn spoil(repo: &Path, pack: &Id, at: u32) {
    let file = pack_file(repo, pack);
    let mut data = fs::read(&file).unwrap();
    data[at as usize] ^= 0x20;
    fs::remove_file(&file).unwrap();
    fs::write(&file, data).unwrap();
}

fn pack_file(repo: &Path, pack: &Id) -> PathBuf {
    repo.join("data").join(&pack.hex()[..2]).join(pack.hex())
}

fn faults(repo: &Repository, depth: Depth) -> mainstay_repository::CheckReport {
    let options = CheckOptions { depth, snapshots: Vec::new(), threads: 2 };
    repo.check(&options, &Silent, &Cancel::default()).unwrap()
}

fn salvage(repo: &Repository, packs: &[Id]) -> (SalvageReport, Vec<Id>) {
    let mut aside = Vec::new();
    let report = repo
        .salvage(
            packs,
            &mut |id, bytes| {
                assert!(!bytes.is_empty());
                aside.push(*id);
                Ok(())
            },
            &Silent,
            &Cancel::default(),
        )
        .unwrap();
    (report, aside)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).unwrap()
}

fn restored(repo: &Repository, id: &Id, place: &Place) {
    let _ = fs::remove_dir_all(&place.out);
    let target = LocalTarget::open(&place.out).unwrap();
    let base = place.source.as_os_str().as_bytes().to_vec();
    let options = RestoreOptions { base, ..RestoreOptions::default() };
    let summary = repo.restore(id, &target, &options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(summary.problems, []);
}

#[test]
fn a_damaged_pack_gives_what_is_whole_and_names_what_is_not() {
    let (place, ids) = place();
    let repo = open_at(&place.path);
    let index = repo.index(&Cancel::default()).unwrap();
    let small = Id::of(&noise(40_000, 13));
    let large = repo.snapshots().unwrap();
    assert_eq!(large.len(), 3);
    let (pack, blob) = index.locate(BlobKind::Data, &small).unwrap();
    spoil(&place.path, &pack, blob.offset + 60);
    drop(index);

    let report = faults(&repo, Depth::All);
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    // Every file of every snapshot is named, not one of them.
    let named: Vec<_> = report.affected.iter().map(|a| (a.snapshot, shown(&a.path))).collect();
    let path = format!("{}/a/f3", place.source.display());
    let mut expect: Vec<_> = ids.iter().map(|id| (*id, path.clone())).collect();
    let mut got = named.clone();
    expect.sort();
    got.sort();
    assert_eq!(got, expect);

    let (report, aside) = salvage(&repo, &[pack]);
    assert_eq!(aside, [pack]);
    assert_eq!(report.lost.len(), 1);
    assert_eq!((report.lost[0].id, report.lost[0].pack), (small, pack));
    assert_eq!(report.affected.len(), 3);
    assert!(report.blobs_saved > 20 && !pack_file(&place.path, &pack).exists());
    // restic sees the same: one blob is missing, the rest is whole.
    let judged = restic_raw(&place.path, &["check", "--read-data"]);
    assert!(!judged.status.success());
    let said = String::from_utf8_lossy(&judged.stderr).into_owned()
        + &String::from_utf8_lossy(&judged.stdout);
    assert!(said.contains(&small.hex()[..8]), "{said}");

    let keep = |receipt: &Value, _: &[_]| receipt.clone();
    let dry = SnapshotRepair { dry_run: true, forget: true };
    let cancel = Cancel::default();
    let planned = repo.repair_snapshots(&[], &dry, &keep, &Silent, &cancel).unwrap();
    assert_eq!(planned.len(), 3);
    assert!(planned.iter().all(|s| s.repaired.is_none()));
    assert_eq!(repo.snapshots().unwrap().len(), 3);

    let forget = SnapshotRepair { dry_run: false, forget: true };
    let mark = |_: &Value, lost: &[mainstay_repository::LostItem]| json!({"lost": lost.len()});
    let done = repo.repair_snapshots(&[], &forget, &mark, &Silent, &cancel).unwrap();
    assert_eq!(done.len(), 3);
    restic(&place.path, &["check", "--read-data"]);
    let snapshots = repo.snapshots().unwrap();
    assert_eq!(snapshots.len(), 3);
    for (snapshot, original) in snapshots.iter().zip(&ids) {
        assert_eq!(snapshot.original, Some(*original));
        assert!(snapshot.tags.contains(&"repaired".to_owned()));
        assert_eq!(snapshot.mainstay, json!({"lost": 1}));
    }
    restored(&repo, &snapshots[2].id, &place);
    assert_eq!(fs::read(place.out.join("a/f3.incomplete")).unwrap(), b"");
    let (want, got) = (describe(&place.source), describe(&place.out));
    let missing: Vec<_> = want.iter().filter(|l| !got.contains(l)).collect();
    assert_eq!(missing.len(), 1, "only the lost file is missing: {missing:#?}");
    // A second run finds nothing to do.
    assert!(repo.repair_snapshots(&[], &forget, &mark, &Silent, &cancel).unwrap().is_empty());
    // The file comes back with the next backup.
    let again = backup(&repo, &place.source);
    restored(&repo, &again.snapshot.id, &place);
    assert_same_tree(&place.source, &place.out);
}

#[test]
fn packs_that_are_gone_cost_their_files_and_no_others() {
    let (place, ids) = place();
    let repo = open_at(&place.path);
    let index = repo.index(&Cancel::default()).unwrap();
    let state = Id::of(&noise(70_000, 1001));
    let (pack, _) = index.locate(BlobKind::Data, &state).unwrap();
    drop(index);
    fs::remove_file(pack_file(&place.path, &pack)).unwrap();
    let report = faults(&repo, Depth::Structure);
    assert_eq!(report.faults[0].reason, "PackMissing");
    assert!(report.affected.iter().any(|a| a.snapshot == ids[1]), "{:?}", report.affected);

    let (report, aside) = salvage(&repo, &[pack]);
    assert!(aside.is_empty() && report.lost.iter().any(|b| b.id == state));
    let cancel = Cancel::default();
    let keep = |receipt: &Value, _: &[_]| receipt.clone();
    let options = SnapshotRepair { dry_run: false, forget: true };
    let done = repo.repair_snapshots(&[], &options, &keep, &Silent, &cancel).unwrap();
    assert_eq!(done.iter().map(|s| s.original).collect::<Vec<_>>(), [ids[1]]);
    restic(&place.path, &["check", "--read-data"]);
    restored(&repo, &ids[2], &place);
    assert_same_tree(&place.source, &place.out);
}

#[test]
fn a_lost_tree_becomes_an_empty_directory() {
    let (place, ids) = place();
    let repo = open_at(&place.path);
    let mut subtree = None;
    let below = format!("{}/a/b", place.source.display());
    repo.ls(&ids[0], &Cancel::default(), &mut |path, node| {
        if shown(path) == below {
            subtree = node.subtree;
        }
        Ok(true)
    })
    .unwrap();
    let index = repo.index(&Cancel::default()).unwrap();
    let (pack, blob) = index.locate(BlobKind::Tree, &subtree.unwrap()).unwrap();
    drop(index);
    spoil(&place.path, &pack, blob.offset + 40);
    let (report, _) = salvage(&repo, &[pack]);
    assert_eq!(report.lost.len(), 1);
    assert!(report.affected.iter().all(|a| shown(&a.path) == below), "{:?}", report.affected);
    let cancel = Cancel::default();
    let keep = |receipt: &Value, _: &[_]| receipt.clone();
    let options = SnapshotRepair { dry_run: false, forget: true };
    let done = repo.repair_snapshots(&[], &options, &keep, &Silent, &cancel).unwrap();
    assert_eq!(done.len(), 3, "all three have the directory");
    assert_eq!(shown(&done[0].lost[0].path), below);
    restic(&place.path, &["check", "--read-data"]);
    restored(&repo, &done[2].repaired.unwrap(), &place);
    assert_eq!(fs::read_dir(place.out.join("a/b")).unwrap().count(), 0);
    let same = fs::read(place.out.join("a/f1")).unwrap() == noise(40_000, 11);
    assert!(same);
}

#[test]
fn restics_repair_follows_ours_and_the_other_way_round() {
    let (place, ids) = place();
    let repo = open_at(&place.path);
    let index = repo.index(&Cancel::default()).unwrap();
    let (one, _) = index.locate(BlobKind::Data, &Id::of(&noise(70_000, 1000))).unwrap();
    let (two, _) = index.locate(BlobKind::Data, &Id::of(&noise(70_000, 1001))).unwrap();
    drop(index);
    fs::remove_file(pack_file(&place.path, &one)).unwrap();
    restic(&place.path, &["repair", "index"]);
    restic(&place.path, &["repair", "snapshots", "--forget"]);
    assert_eq!(faults(&repo, Depth::All).faults, []);
    if two != one {
        fs::remove_file(pack_file(&place.path, &two)).unwrap();
        let cancel = Cancel::default();
        repo.rebuild_index(false, &Silent, &cancel).unwrap();
        let keep = |receipt: &Value, _: &[_]| receipt.clone();
        let options = SnapshotRepair { dry_run: false, forget: true };
        repo.repair_snapshots(&[], &options, &keep, &Silent, &cancel).unwrap();
    }
    restic(&place.path, &["check", "--read-data"]);
    assert_eq!(faults(&repo, Depth::All).faults, []);
    let left = repo.snapshots().unwrap();
    assert_eq!(left.len(), ids.len(), "each has a mended form");
    restored(&repo, &left[2].id, &place);
    assert!(fs::read(place.out.join("state")).unwrap() == noise(70_000, 1002));
}

#[test]
fn each_part_of_a_check_reads_its_packs_and_all_parts_read_all() {
    let (place, _) = place();
    let repo = open_at(&place.path);
    let all = faults(&repo, Depth::All).packs_read;
    let parts: u64 =
        (1..=3).map(|part| faults(&repo, Depth::Part { part, of: 3 }).packs_read).sum();
    assert!(all > 2 && parts == all, "{parts} of {all}");
    let options =
        CheckOptions { depth: Depth::Part { part: 4, of: 3 }, snapshots: Vec::new(), threads: 1 };
    let refused = repo.check(&options, &Silent, &Cancel::default()).unwrap_err();
    assert_eq!(refused.reason, "BadPart");
}
