//! The edges of a machine: a disk that fills up, a flipped bit in each kind of object, memory that
//! stays small whatever the source.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::actor::{actor, done, run, succeeded};
use common::*;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{CheckOptions, Depth, Object, Objects, Repository};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Bytes, StreamSource};
use model::ports::storage::{FileKind, Storage};
use model::progress::Silent;

#[test]
fn a_full_disk_fails_the_run_and_nothing_else() {
    let tmp = tempfile::tempdir().unwrap();
    let small = Small::mount(tmp.path().join("small"), "40m");
    let (repo, source) = (small.0.join("repo"), tmp.path().join("src"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("kept"), noise(6 << 20, 1)).unwrap();
    done(&repo, &["init"]);
    done(&repo, &["backup", source.to_str().unwrap()]);
    for i in 0..10 {
        fs::write(source.join(format!("too-much-{i}")), noise(8 << 20, 10 + i)).unwrap();
    }
    let failed = run(&repo, &["backup", source.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.starts_with("DiskFull: "), "{said}");
    let free = |repo: &Path| open_at(repo).snapshots().unwrap().len();
    assert_eq!(free(&repo), 1);
    restic(&repo, &["check", "--read-data"]);
    // A prune finds room where there is next to none, and then there is some.
    for i in 0..10 {
        fs::remove_file(source.join(format!("too-much-{i}"))).unwrap();
    }
    done(&repo, &["prune", "0"]);
    done(&repo, &["backup", source.to_str().unwrap()]);
    restic(&repo, &["check", "--read-data"]);
    assert_eq!(free(&repo), 2);
}

#[test]
fn a_full_disk_fails_a_restore_and_the_next_one_goes_on() {
    let tmp = tempfile::tempdir().unwrap();
    let (repo, source) = (tmp.path().join("repo"), tmp.path().join("src"));
    fs::create_dir(&source).unwrap();
    for i in 0..6 {
        fs::write(source.join(format!("f{i}")), noise(4 << 20, i)).unwrap();
    }
    done(&repo, &["init"]);
    done(&repo, &["backup", source.to_str().unwrap()]);
    let small = Small::mount(tmp.path().join("small"), "12m");
    let out = small.0.join("out");
    let failed = run(&repo, &["restore", out.to_str().unwrap()]);
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("No space left") || said.starts_with("DiskFull"), "{said}");
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&small.0).status();
    assert!(grown.unwrap().success());
    done(&repo, &["restore", out.to_str().unwrap()]);
    assert_same_tree(&source, &out.join(source.strip_prefix("/").unwrap()));
}

/// Reads everything there is to read; the first error's words, or nothing.
fn read_all(storage: &Arc<MemoryStorage>) -> Option<String> {
    let storage: Arc<dyn Storage> = storage.clone();
    let repo = match Repository::open(storage, PASSWORD.as_bytes(), options()) {
        Ok(repo) => repo,
        Err(e) => return Some(e.chain()),
    };
    let all = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    match repo.check(&all, &Silent, &Cancel::default()) {
        Ok(report) if report.is_whole() => None,
        Ok(report) => Some(report.faults[0].message.clone()),
        Err(e) => Some(e.chain()),
    }
}

#[test]
fn a_flipped_bit_in_any_object_is_found() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), noise(5000, 1)).unwrap();
    fs::write(source.join("g"), "text\n".repeat(2000)).unwrap();
    let base = Arc::new(MemoryStorage::default());
    let repo = init(base.clone());
    backup(&repo, &source);
    assert_eq!(read_all(&base), None);
    for kind in
        [FileKind::Config, FileKind::Key, FileKind::Snapshot, FileKind::Index, FileKind::Pack]
    {
        let mut names = Vec::new();
        base.list(kind, &mut |file| {
            names.push((file.name, file.size_bytes));
            Ok(())
        })
        .unwrap();
        for (name, size) in names {
            // Some dozen places over the whole object, its ends among them.
            let step = (size / 40).max(1);
            let places = (0..size).step_by(step as usize).chain([size - 1]);
            for (turn, place) in places.enumerate() {
                let spoiled = Arc::new(base.fork());
                spoiled.damage(kind, &name, |data| data[place as usize] ^= 1 << (turn % 8));
                let found = read_all(&spoiled);
                // A key is plain JSON: names and times in it protect nothing.
                let may_hide = kind == FileKind::Key;
                assert!(found.is_some() || may_hide, "{kind:?} {name} bit at byte {place}");
            }
        }
    }
}

/// Runs an operation and returns its peak memory in MiB.
fn peak_mb(repo: &Path, args: &[&str]) -> u64 {
    let file = repo.with_file_name("peak");
    succeeded(&actor(repo, args).env("ACTOR_PEAK", &file).output().unwrap(), args);
    fs::read_to_string(file).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn many_small_files_and_one_large_one_take_little_memory() {
    let tmp = tempfile::tempdir().unwrap();
    let (repo, many, large) =
        (tmp.path().join("repo"), tmp.path().join("many"), tmp.path().join("large"));
    fs::create_dir(&many).unwrap();
    for i in 0..20_000u32 {
        fs::write(many.join(format!("a-file-with-a-name-{i:08}")), i.to_le_bytes()).unwrap();
    }
    fs::create_dir(&large).unwrap();
    let file = fs::File::create(large.join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    fs::write(large.join("noise"), noise(150 << 20, 1)).unwrap();
    done(&repo, &["init"]);
    let first = peak_mb(&repo, &["backup", many.to_str().unwrap()]);
    let again = peak_mb(&repo, &["backup", many.to_str().unwrap()]);
    let big = peak_mb(&repo, &["backup", large.to_str().unwrap()]);
    let out = tmp.path().join("out");
    let back = peak_mb(&repo, &["restore", out.to_str().unwrap()]);
    assert!(first < 200 && again < 200 && big < 200, "{first} {again} {big}");
    assert!(back < 200, "{back}");
}

/// A folder of very many objects that exist only while they are asked for.
struct Endless(u32);

impl Objects for Endless {
    fn list(
        &self,
        _: &Cancel,
        each: &mut dyn FnMut(Object) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        (0..self.0).try_for_each(|i| {
            let path = format!("huge/{i:08}").into_bytes();
            each(Object { path, size: 4, ..Object::default() })
        })
    }
    fn open(&self, path: &[u8]) -> Result<Box<dyn StreamSource>, PortError> {
        Ok(Box::new(Bytes::new(path[path.len() - 4..].to_vec())))
    }
}

#[test]
fn a_folder_of_very_many_entries_is_backed_up() {
    let tmp = tempfile::tempdir().unwrap();
    let repo = init_at(&tmp.path().join("repo"));
    let options = backup_options();
    let count = 200_000;
    let report = repo
        .backup_objects(&Endless(count), &options, no_extras, &Silent, &Cancel::default())
        .unwrap();
    assert_eq!(report.summary.files, u64::from(count));
    let mut listed = 0;
    repo.ls(&report.snapshot.id, &Cancel::default(), &mut |_, _| {
        listed += 1;
        Ok(true)
    })
    .unwrap();
    assert_eq!(listed, count + 1);
    restic(&tmp.path().join("repo"), &["check"]);
}
