//! restic judges what this engine writes, and this engine reads what restic writes.

mod common;

use std::fs;

use common::*;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Bytes, StreamSource};
use model::progress::Silent;
use mainstay_repository::{Finishing, Stream};

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
