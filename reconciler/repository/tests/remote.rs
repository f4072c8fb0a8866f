//! The engine over a mover at the other end of a byte stream: the same repository as with the local
//! one, judged by restic, and the same tree back.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use common::*;
use mainstay_repository::RestoreOptions;
use model::cancel::Cancel;
use model::progress::Silent;
use mover::wire::{Connection, RemoteSource, RemoteTarget, serve};

/// Passes bytes on until it has passed so many, then ends.
struct Cut<R>(R, u64);

impl<R: Read> Read for Cut<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.1).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.0.read(&mut buffer[..most])?;
        self.1 -= n as u64;
        Ok(n)
    }
}

/// A connection to a mover on a thread, of which so many bytes arrive.
fn connection(bytes: u64) -> Arc<Connection> {
    let (mut from_engine, to_mover) = std::io::pipe().unwrap();
    let (from_mover, to_engine) = std::io::pipe().unwrap();
    std::thread::spawn(move || {
        serve(&mut from_engine, Box::new(to_engine) as Box<dyn Write + Send>)
    });
    Connection::open(Box::new(Cut(from_mover, bytes)), Box::new(to_mover)).unwrap()
}

fn restore(root: &Path, repo: &mainstay_repository::Repository, out: &Path) {
    let snapshot = repo.snapshots().unwrap().pop().unwrap();
    let target = RemoteTarget::open(connection(u64::MAX), out).unwrap();
    let base = root.to_str().unwrap().as_bytes().to_vec();
    let options = RestoreOptions { base, verify: true, ..RestoreOptions::default() };
    let done = repo.restore(&snapshot.id, &target, &options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(done.problems, []);
    assert!(done.files_verified > 5);
}

#[test]
fn a_tree_goes_through_a_connection_and_comes_back() {
    // Trees are compared from the root on, and others change the times of a shared folder.
    let tmp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (root, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_tree(&root);
    let repo = init_at(&path);
    let source = RemoteSource::new(connection(u64::MAX));
    let mut options = backup_options();
    let back_up = |options: &_| {
        repo.backup_tree(&source, &request(&root), options, no_extras, &Silent, &Cancel::default())
            .unwrap_or_else(|e| panic!("backup: {}", e.chain()))
    };
    let remote = back_up(&options);
    assert_eq!(remote.summary.problems, []);
    // The local mover finds nothing that the remote one did not.
    options.parent = Some(remote.snapshot.id);
    let local = backup_with(&repo, &root, &options);
    assert_eq!((local.summary.files_new, local.summary.files_changed), (0, 0));
    assert_eq!(local.summary.written.data_blobs, 0);
    assert_eq!(local.snapshot.tree, remote.snapshot.tree);
    // Nor does the remote one when content, not times, must tell.
    options.parent = None;
    let again = back_up(&options);
    assert_eq!(again.snapshot.tree, remote.snapshot.tree);
    assert_eq!(again.summary.written.data_blobs, 0);
    restic(&path, &["check", "--read-data"]);
    let out = tmp.path().join("out");
    restore(&root, &repo, &out);
    assert_same_tree(&root, &out);
    // In place: what differs is mended, and nothing else is sent.
    fs::write(out.join("sub/big"), "damaged").unwrap();
    fs::remove_file(out.join("small")).unwrap();
    restore(&root, &repo, &out);
    assert_same_tree(&root, &out);
}

#[test]
fn a_connection_that_breaks_anywhere_leaves_no_snapshot() {
    let tmp = tempfile::tempdir().unwrap();
    let (root, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    make_tree(&root);
    let repo = init_at(&path);
    let mut broke = 0;
    // The tree has some 13 MB; from the greeting on, each part of the talk is met.
    let mut bytes = 16;
    loop {
        let source = RemoteSource::new(connection(bytes));
        let done = repo.backup_tree(
            &source,
            &request(&root),
            &backup_options(),
            no_extras,
            &Silent,
            &Cancel::default(),
        );
        match done {
            Ok(report) => {
                assert_eq!(report.summary.problems, []);
                break;
            }
            Err(e) => {
                assert_eq!(e.reason, "MoverGone", "after {bytes} bytes: {}", e.chain());
                assert_eq!(repo.snapshots().unwrap().len(), 0, "after {bytes} bytes");
                broke += 1;
            }
        }
        bytes = bytes * 3 / 2 + 1;
    }
    assert!(broke > 20, "{broke}");
    restic(&path, &["check", "--read-data"]);
    let out = tmp.path().join("out");
    restore(&root, &repo, &out);
    assert_same_tree(&root, &out);
}
