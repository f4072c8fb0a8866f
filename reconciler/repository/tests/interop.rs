//! restic judges what this engine writes, and this engine reads what restic writes.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;

use common::*;
use mainstay_repository::{CheckOptions, Depth, Finishing, RestoreOptions, Stream};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Bytes, StreamSource};
use model::progress::Silent;
use mover::LocalTarget;

#[test]
fn restic_checks_and_restores_our_tree() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path, out) =
        (tmp.path().join("src"), tmp.path().join("repo"), tmp.path().join("out"));
    make_tree(&source);
    let repo = init_at(&path);
    let report = backup(&repo, &source);
    assert_eq!(report.summary.problems, []);
    restic(&path, &["check", "--read-data"]);
    restic(&path, &["restore", "latest", "--target", out.to_str().unwrap()]);
    assert_same_tree(&source, &out.join(source.strip_prefix("/").unwrap()));

    let mut options = backup_options();
    options.parent = Some(report.snapshot.id);
    let again = backup_with(&repo, &source, &options);
    assert_eq!(again.summary.files_unmodified, report.summary.files);
    assert_eq!(again.summary.written.data_blobs, 0);
    fs::write(source.join("small"), b"changed").unwrap();
    let third = backup_with(&repo, &source, &options);
    assert_eq!((third.summary.files_changed, third.summary.files_new), (2, 0));
    restic(&path, &["check", "--read-data"]);
    let listed = restic(&path, &["snapshots", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

struct Broken(Bytes, &'static str);

impl StreamSource for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 if self.1 == "read" => Err(std::io::Error::other("pipe broke")),
            n => Ok(n),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        match self.1 {
            "finish" => Err(PortError::terminal("DumpFailed", "exit status 3")),
            _ => Ok(()),
        }
    }
}

#[test]
fn restic_dumps_our_streams_and_broken_ones_leave_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("repo");
    let repo = init_at(&path);
    let dump = noise(5 << 20, 3);
    let run = |how: &'static str| {
        let stream = |name: &str, source: Box<dyn StreamSource>| Stream {
            name: name.to_owned(),
            size_hint: 0,
            source,
        };
        let streams = vec![
            stream("dump.pgdump", Box::new(Bytes::new(dump.clone()))),
            stream("meta/globals.sql", Box::new(Broken(Bytes::new("create role x;"), how))),
        ];
        let finishing = |summary: &mainstay_repository::BackupSummary| {
            Ok(Finishing {
                tags: vec!["a,b=c".to_owned()],
                receipt: serde_json::json!({ "digest": summary.content_digest, "bytes": summary.bytes }),
            })
        };
        let cancel = Cancel::default();
        repo.backup_streams(streams, &backup_options(), finishing, &Silent, &cancel)
    };
    for (how, reason) in [("read", "SourceFailed"), ("finish", "DumpFailed")] {
        assert_eq!(run(how).unwrap_err().reason, reason);
        assert_eq!(repo.snapshots().unwrap().len(), 0, "{how}");
    }
    let report = run("well").unwrap();
    assert_eq!(report.summary.streams[0].blake3, blake3::hash(&dump).to_hex().to_string());
    assert_eq!(report.snapshot.mainstay["bytes"], (dump.len() + 14) as u64);
    restic(&path, &["check", "--read-data"]);
    let id = report.snapshot.id.hex();
    let got = restic_raw(&path, &["dump", &id, "/dump.pgdump"]).stdout;
    assert!(got == dump);
    assert_eq!(restic(&path, &["dump", &id, "/meta/globals.sql"]), "create role x;");
    assert_eq!(open_at(&path).snapshots().unwrap()[0].tags, ["a,b=c"]);
}

fn restore_ours(
    repo: &mainstay_repository::Repository,
    id: &mainstay_repository::Id,
    to: &std::path::Path,
    options: &RestoreOptions,
) -> mainstay_repository::RestoreSummary {
    let target = LocalTarget::open(to).unwrap();
    repo.restore(id, &target, options, &Silent, &Cancel::default())
        .unwrap_or_else(|e| panic!("restore: {}", e.chain()))
}

fn check_all(repo: &mainstay_repository::Repository) -> mainstay_repository::CheckReport {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 2 };
    repo.check(&options, &Silent, &Cancel::default()).unwrap_or_else(|e| panic!("{}", e.chain()))
}

#[test]
fn we_check_and_restore_what_restic_wrote() {
    use std::os::unix::ffi::OsStrExt;
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    make_tree(&source);
    for version in ["1", "2"] {
        let (path, out) =
            (tmp.path().join(format!("repo{version}")), tmp.path().join(format!("out{version}")));
        restic(&path, &["init", "--repository-version", version]);
        restic(&path, &["backup", source.to_str().unwrap(), "--tag", "x,y"]);
        let repo = open_at(&path);
        assert_eq!(repo.version().to_string(), version);
        let snapshot = repo.snapshots().unwrap().pop().unwrap();
        assert_eq!(snapshot.tags, ["x", "y"]);
        assert_eq!(check_all(&repo).faults, []);
        let options = RestoreOptions {
            base: source.as_os_str().as_bytes().to_vec(),
            verify: true,
            ..RestoreOptions::default()
        };
        let summary = restore_ours(&repo, &snapshot.id, &out, &options);
        assert_eq!(summary.problems, []);
        assert_same_tree(&source, &out);
        // In place: a second time nothing is written, and what was spoiled is mended.
        fs::write(out.join("sub/text"), b"spoiled").unwrap();
        let mut big = fs::read(out.join("sub/big")).unwrap();
        big[5 << 20] ^= 1;
        fs::write(out.join("sub/big"), &big).unwrap();
        fs::remove_dir_all(out.join("sub/deeper")).unwrap();
        fs::write(out.join("sub/deeper"), b"a file in the way").unwrap();
        fs::write(out.join("extra"), b"extra").unwrap();
        let options = RestoreOptions { delete_extra: true, ..options };
        restore_ours(&repo, &snapshot.id, &out, &options);
        assert_same_tree(&source, &out);
        // And our next backup has restic's as its parent.
        let mut options = backup_options();
        options.parent = Some(snapshot.id);
        let report = backup_with(&repo, &source, &options);
        assert_eq!(report.summary.files_changed + report.summary.files_new, 0);
        restic(&path, &["check", "--read-data"]);
    }
}

#[test]
fn parts_of_a_snapshot_come_back() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_tree(&source);
    let repo = init_at(&path);
    let id = backup(&repo, &source).snapshot.id;
    let inside = |name: &str| source.join(name).to_str().unwrap().as_bytes().to_vec();
    let out = tmp.path().join("out");
    let options = RestoreOptions {
        base: inside(""),
        include: vec![inside("sub/deeper"), inside("small")],
        ..RestoreOptions::default()
    };
    assert_eq!(restore_ours(&repo, &id, &out, &options).problems, []);
    let names =
        describe(&out).iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names, ["", "small", "sub", "sub/deeper", "sub/deeper/empty", "sub/deeper/zeros"]);
    // Zeros are a hole.
    use std::os::unix::fs::MetadataExt;
    assert!(fs::metadata(out.join("sub/deeper/zeros")).unwrap().blocks() < 64);

    let mut big = Vec::new();
    repo.dump(&id, &inside("sub/big"), &mut big, &Cancel::default()).unwrap();
    assert!(big == fs::read(source.join("sub/big")).unwrap());
    let mut tar = Vec::new();
    repo.dump_tar(&id, &inside(""), &mut tar, &Cancel::default()).unwrap();
    let (archive, unpacked) = (tmp.path().join("a.tar"), tmp.path().join("unpacked"));
    fs::write(&archive, tar).unwrap();
    fs::create_dir(&unpacked).unwrap();
    let done = std::process::Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&unpacked)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(
        fs::read(source.join("sub/text")).unwrap(),
        fs::read(unpacked.join("sub/text")).unwrap()
    );
    // But for hard links, which come out as files of their own, and what tar itself leaves.
    let strip = |root| {
        describe(root)
            .into_iter()
            .skip(1)
            .map(|l| l.split(" linked ").next().unwrap().to_owned())
            .filter(|l| !l.contains("mtime -"))
            .collect::<Vec<_>>()
    };
    let (a, b) = (strip(&source), strip(&unpacked));
    let different: Vec<_> = a.iter().filter(|l| !b.contains(l)).collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn fixed_pieces_store_little_of_a_changed_database() {
    use mainstay_repository::storage::MemoryStorage;
    use std::os::unix::fs::FileExt;
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("db"), noise(8 << 20, 1)).unwrap();
    let repo = init(std::sync::Arc::new(MemoryStorage::default()));
    let mut options = backup_options();
    options.chunking = model::ports::mover::Chunking::Fixed { size_bytes: 32 << 10 };
    let first = backup_with(&repo, &source, &options);
    assert_eq!(first.summary.written.data_blobs, 256);
    let file = fs::File::options().write(true).open(source.join("db")).unwrap();
    for page in [3u64, 400, 1000] {
        file.write_all_at(&noise(8192, page), page * 8192).unwrap();
    }
    // The size that the parent was made with stays, though this source would begin with 16 KiB.
    options.chunking = model::ports::mover::Chunking::FixedBySize;
    options.parent = Some(first.snapshot.id);
    let second = backup_with(&repo, &source, &options);
    assert_eq!(second.summary.written.data_blobs, 3);
    assert_eq!(second.summary.files_changed, 1);
}
