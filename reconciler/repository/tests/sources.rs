//! Sources beside trees and streams: objects of an adapter, devices and images, and restic's own
//! chunker.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use mainstay_repository::objects::order;
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{BackupReport, Object, Objects, Repository, Stream};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Bytes, Chunking, FileTime, StreamSource, fixed_chunk_size};
use model::progress::Silent;
use mover::device::Device;

/// Objects in memory: content and version by path; what has none fails when it is opened.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, (Option<Vec<u8>>, String)>,
    opened: AtomicU64,
    shuffled: bool,
}

/// A stream whose end is an error.
struct Broken(Bytes);

impl StreamSource for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
    fn finish(self: Box<Self>) -> Result<(), PortError> {
        Err(PortError::transient("CutOff", "the server hung up"))
    }
}

impl Objects for Bucket {
    fn list(
        &self,
        _: &Cancel,
        each: &mut dyn FnMut(Object) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let object = |(path, (data, version)): (&String, &(Option<Vec<u8>>, String))| Object {
            path: path.clone().into_bytes(),
            size: data.as_ref().map_or(3, Vec::len) as u64,
            mtime: FileTime { seconds: 1_700_000_000, nanos: 5 },
            version: version.clone(),
            mode: 0,
        };
        let mut all: Vec<Object> = self.objects.iter().map(object).collect();
        order(&mut all);
        if self.shuffled {
            all.reverse();
        }
        all.into_iter().try_for_each(each)
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn StreamSource>, PortError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let name = std::str::from_utf8(path).unwrap();
        match self.objects[name].0.clone() {
            Some(data) if name.ends_with("broken") => Ok(Box::new(Broken(Bytes::new(data)))),
            Some(data) => Ok(Box::new(Bytes::new(data))),
            None => Err(PortError::terminal("Forbidden", "this one is not for you")),
        }
    }
}

impl Bucket {
    fn put(&mut self, path: &str, data: &[u8], version: &str) {
        self.objects.insert(path.to_owned(), (Some(data.to_vec()), version.to_owned()));
    }
}

fn backup_bucket(
    repo: &Repository,
    bucket: &Bucket,
    parent: Option<&BackupReport>,
) -> Result<BackupReport, PortError> {
    let mut options = backup_options();
    options.parent = parent.map(|p| p.snapshot.id);
    repo.backup_objects(bucket, &options, no_extras, &Silent, &Cancel::default())
}

#[test]
fn objects_become_a_tree_and_unchanged_ones_are_not_asked_for() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    let repo = init_at(&path);
    let mut bucket = Bucket::default();
    bucket.put("a/b/deep", &noise(3 << 20, 1), "1");
    bucket.put("a-b", b"sorts between a and a/ by bytes", "1");
    bucket.put("a/x", b"x", "1");
    bucket.put("top", b"top", "1");
    let first = backup_bucket(&repo, &bucket, None).unwrap();
    assert_eq!((first.summary.files, first.summary.dirs), (4, 2));
    assert_eq!(first.summary.problems, []);
    restic(&path, &["check", "--read-data"]);
    let id = first.snapshot.id.hex();
    assert!(restic_raw(&path, &["dump", &id, "/a/b/deep"]).stdout == noise(3 << 20, 1));
    assert_eq!(restic(&path, &["dump", &id, "/a/x"]), "x");

    let before = bucket.opened.load(Ordering::SeqCst);
    bucket.put("a/x", b"y", "2");
    let second = backup_bucket(&repo, &bucket, Some(&first)).unwrap();
    assert_eq!(bucket.opened.load(Ordering::SeqCst) - before, 1, "by size and time it is the same");
    assert_eq!((second.summary.files_changed, second.summary.files_unmodified), (1, 3));
    assert_eq!(restic(&path, &["dump", &second.snapshot.id.hex(), "/a/x"]), "y");
}

#[test]
fn objects_that_fail_are_named_and_the_others_are_in() {
    let repo = init(Arc::new(MemoryStorage::default()));
    let mut bucket = Bucket::default();
    bucket.put("good", b"good", "");
    bucket.put("dir/broken", &noise(2 << 20, 9), "");
    bucket.objects.insert("forbidden".to_owned(), (None, String::new()));
    let report = backup_bucket(&repo, &bucket, None).unwrap();
    let mut named: Vec<String> = report
        .summary
        .problems
        .iter()
        .map(|p| format!("{}: {}", String::from_utf8_lossy(&p.path), p.message))
        .collect();
    named.sort();
    assert_eq!(named, ["/dir/broken: the server hung up", "/forbidden: this one is not for you"]);
    let mut listed = Vec::new();
    repo.ls(&report.snapshot.id, &Cancel::default(), &mut |path, _| {
        listed.push(String::from_utf8_lossy(path).into_owned());
        Ok(true)
    })
    .unwrap();
    assert_eq!(listed, ["/dir", "/good"]);
}

#[test]
fn paths_that_cannot_be_a_tree_are_refused() {
    let repo = init(Arc::new(MemoryStorage::default()));
    for paths in [vec!["a/../b"], vec!["/a"], vec!["a//b"], vec!["a", "a/b"]] {
        let mut bucket = Bucket::default();
        paths.iter().for_each(|p| bucket.put(p, b"1", ""));
        let refused = backup_bucket(&repo, &bucket, None).unwrap_err();
        assert_eq!(refused.reason, "BadObjectPath", "{paths:?}");
    }
    let mut bucket = Bucket { shuffled: true, ..Bucket::default() };
    bucket.put("a", b"1", "");
    bucket.put("b", b"1", "");
    assert_eq!(backup_bucket(&repo, &bucket, None).unwrap_err().reason, "BadObjectPath");
    assert!(repo.snapshots().unwrap().is_empty());
}

fn backup_device(
    repo: &Repository,
    path: &std::path::Path,
    hint: Option<u64>,
    parent: Option<&BackupReport>,
) -> BackupReport {
    let device = Device::open(path).unwrap();
    let size_hint = hint.unwrap_or(device.size());
    let stream = Stream { name: "disk.img".to_owned(), size_hint, source: Box::new(device) };
    let mut options = backup_options();
    options.chunking = Chunking::FixedBySize;
    options.parent = parent.map(|p| p.snapshot.id);
    repo.backup_streams(vec![stream], &options, no_extras, &Silent, &Cancel::default()).unwrap()
}

#[test]
fn images_are_cut_into_pages_of_a_size_that_stays() {
    let tmp = tempfile::tempdir().unwrap();
    let (path, image) = (tmp.path().join("repo"), tmp.path().join("disk"));
    let file = fs::File::options().create_new(true).write(true).read(true).open(&image).unwrap();
    file.set_len(200 << 20).unwrap();
    file.write_all_at(&noise(1 << 20, 4), 7 << 20).unwrap();
    file.write_all_at(&noise(1 << 20, 5), 150 << 20).unwrap();
    let repo = init_at(&path);
    // As a source of a TiB would begin: with pieces of 64 KiB.
    let first = backup_device(&repo, &image, Some(1 << 40), None);
    assert_eq!(first.summary.bytes, 200 << 20);
    assert_eq!(first.summary.written.data_blobs, 32 + 1, "noise, and one piece of zeros");
    file.write_all_at(b"one sector", 7 << 20).unwrap();
    let second = backup_device(&repo, &image, None, Some(&first));
    assert_eq!(second.summary.written.data_blobs, 1);
    assert_ne!(fixed_chunk_size(200 << 20), 64 << 10, "by itself it would have other pieces");
    let third = backup_device(&repo, &image, None, None);
    assert!(third.summary.written.data_blobs > 64);
    restic(&path, &["check", "--read-data"]);
    let got = restic_raw(&path, &["dump", &second.snapshot.id.hex(), "/disk.img"]).stdout;
    assert!(got == fs::read(&image).unwrap());
}

#[test]
fn an_image_that_shrinks_while_it_is_read_leaves_no_snapshot() {
    let tmp = tempfile::tempdir().unwrap();
    let image = tmp.path().join("disk");
    fs::write(&image, noise(1 << 20, 4)).unwrap();
    let repo = init(Arc::new(MemoryStorage::default()));
    let device = Device::open(&image).unwrap();
    fs::File::options().write(true).open(&image).unwrap().set_len(1000).unwrap();
    let size_hint = device.size();
    let streams = vec![Stream { name: "disk".to_owned(), size_hint, source: Box::new(device) }];
    let failed = repo
        .backup_streams(streams, &backup_options(), no_extras, &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(failed.reason, "SourceChanged");
    assert!(repo.snapshots().unwrap().is_empty());
    assert!(Device::open(tmp.path()).is_err() && Device::open(&tmp.path().join("no")).is_err());
}

#[test]
fn with_restics_chunker_both_find_each_others_pieces() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("noise"), noise(30 << 20, 1)).unwrap();
    fs::write(source.join("zeros"), vec![0; 20 << 20]).unwrap();
    fs::write(source.join("text"), "a line of text\n".repeat(300_000)).unwrap();
    fs::write(source.join("small"), noise(600_000, 2)).unwrap();
    fs::write(source.join("least"), noise(512 << 10, 3)).unwrap();
    let added = |source: &std::path::Path| {
        let args = ["backup", "--force", "--json", source.to_str().unwrap()];
        let said = restic(&path, &args);
        let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        last["data_blobs"].as_u64().unwrap()
    };
    // A repository of restic's, with a polynomial of its own.
    restic(&path, &["init"]);
    let repo = open_at(&path);
    let mut options = backup_options();
    options.chunking = repo.restic_chunking().unwrap();
    let ours = backup_with(&repo, &source, &options);
    // By the largest size of a piece; where the cuts lie depends on the polynomial.
    assert!(ours.summary.written.data_blobs >= 8);
    assert_eq!(added(&source), 0, "restic adds nothing to what we cut");
    // And the other way round, with content that moved.
    let mut moved = noise(12_345, 7);
    moved.extend_from_slice(&noise(30 << 20, 1));
    fs::write(source.join("noise"), &moved).unwrap();
    fs::write(source.join("more"), noise(9 << 20, 8)).unwrap();
    assert!(added(&source) >= 3);
    let again = backup_with(&repo, &source, &options);
    assert_eq!(again.summary.written.data_blobs, 0);
    restic(&path, &["check", "--read-data"]);
}
