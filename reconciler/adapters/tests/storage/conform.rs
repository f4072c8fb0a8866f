//! The port's conformance suite, and what each service adds to it.

use std::process::Command;

use aws_lc_rs::digest;
use model::ports::storage::{ALREADY_EXISTS, CHECKSUM_MISMATCH, FileKind};
use model::remote::{LockMode, ObjectLock, S3};
use repository::storage::{LocalStorage, conformance};

use super::*;

fn sha256(data: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    sum
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An object above the size from which on it goes in parts.
fn large(storage: &dyn Storage) {
    let data = noise(70 << 20, 5);
    let sum = sha256(&data);
    let name = hex(&sum);
    storage.save(FileKind::Pack, &name, &data, &sum).unwrap();
    let again = storage.save(FileKind::Pack, &name, &data, &sum).unwrap_err();
    assert_eq!(again.reason, ALREADY_EXISTS, "{}", again.chain());
    assert!(storage.load(FileKind::Pack, &name, 70 << 20).unwrap() == data);
    storage.delete(FileKind::Pack, &name).unwrap();
}

/// A byte that changed between the engine's digest and the wire.
fn changed(storage: &dyn Storage) {
    let sum = sha256(b"what was meant");
    let error = storage.save(FileKind::Pack, &hex(&sum), b"what was sent.", &sum).unwrap_err();
    assert_eq!(error.reason, CHECKSUM_MISMATCH, "{}", error.chain());
}

#[test]
fn s3_on_versitygw() {
    let server = versitygw();
    let s3 = S3 { storage_class: Some("STANDARD".to_owned()), ..s3(&server.url()) };
    let storage = bare(Service::S3(s3));
    conformance::run(&*storage).unwrap();
    large(&*storage);
    changed(&*storage);
}

#[test]
fn s3_on_minio() {
    let server = Server::minio();
    server.make_bucket("backups", false);
    let storage = bare(Service::S3(S3 { prefix: String::new(), ..s3(&server.url()) }));
    conformance::run(&*storage).unwrap();
    large(&*storage);
    changed(&*storage);
}

#[test]
fn s3_with_object_lock() {
    let server = Server::minio();
    server.make_bucket("locked", true);
    let lock = ObjectLock { retain: Some((LockMode::Governance, 86_400)), legal_hold: true };
    let s3 = S3 { bucket: "locked".to_owned(), object_lock: Some(lock), ..s3(&server.url()) };
    let storage = bare(Service::S3(s3));
    conformance::run(&*storage).unwrap();
    large(&*storage);
    let told = |path: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{USER}:{SECRET}")])
            .arg(format!("{}/locked/a/b/{path}", server.url()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let sum = sha256(b"x");
    let name = hex(&sum);
    storage.save(FileKind::Index, &name, b"x", &sum).unwrap();
    assert!(told(&format!("index/{name}?retention=")).contains("GOVERNANCE"));
    assert!(told(&format!("index/{name}?legal-hold=")).contains("ON"));
    // A repository's own lock must go again, for good.
    storage.save(FileKind::Lock, &name, b"x", &sum).unwrap();
    assert!(!told(&format!("locks/{name}?retention=")).contains("GOVERNANCE"));
}

#[test]
fn gcs_on_an_emulator() {
    let server = Server::gcs();
    server.make_gcs_bucket("backups");
    let storage = bare(Service::Gcs(gcs(&server.url())));
    conformance::run(&*storage).unwrap();
    large(&*storage);
    changed(&*storage);
}

#[test]
fn azure_on_its_emulator() {
    let server = Server::azurite(&[]);
    let storage = bare(Service::Azure(azure(&server.url())));
    let error = storage.create().unwrap_err();
    assert_eq!(error.reason, "NoSuchBucket", "{}", error.chain());
    server.make_container(&server.url(), "backups", &[]);
    conformance::run(&*storage).unwrap();
    large(&*storage);
    changed(&*storage);
}

#[test]
fn rest_server() {
    let server = Server::rest(&["--no-auth"]);
    let storage = bare(Service::Rest(rest(format!("{}/r", server.url()))));
    conformance::run(&*storage).unwrap();
}

#[test]
fn rest_server_that_only_appends() {
    let server = Server::rest(&["--no-auth", "--append-only"]);
    let storage = bare(Service::Rest(rest(format!("{}/r", server.url()))));
    storage.create().unwrap();
    let sum = sha256(b"x");
    let name = hex(&sum);
    for kind in FileKind::LISTED {
        storage.save(kind, &name, b"x", &sum).unwrap();
        let again = storage.save(kind, &name, b"x", &sum).unwrap_err();
        assert_eq!(again.reason, ALREADY_EXISTS);
        match storage.delete(kind, &name) {
            Ok(()) => assert_eq!(kind, FileKind::Lock),
            Err(error) => assert_eq!(error.reason, "AppendOnly", "{}", error.chain()),
        }
    }
    assert_eq!(storage.stat(FileKind::Pack, &name).unwrap(), 1);
}

#[test]
fn sftp_on_sshd() {
    let sshd = Sshd::start();
    let folder = tempfile::tempdir().unwrap();
    let storage = bare(Service::Sftp(sftp(&sshd, &folder.path().join("a/b"))));
    conformance::run(&*storage).unwrap();
    large(&*storage);
    let left = std::fs::read_dir(folder.path().join("a/b/locks")).unwrap().count();
    assert_eq!(left, 0, "no temporary file stays");
}

/// A file system of one MiB, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "small"]).arg(folder.path());
        assert!(mount.status().unwrap().success(), "mount is needed by this test");
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_disk_is_named_and_damages_nothing() {
    let sshd = Sshd::start();
    for over_ssh in [false, true] {
        let small = Small::mount();
        let path = small.0.path().join("r");
        let storage: Arc<dyn Storage> = match over_ssh {
            true => bare(Service::Sftp(sftp(&sshd, &path))),
            false => Arc::new(LocalStorage::new(&path)),
        };
        storage.create().unwrap();
        let (fits, not) = (noise(400 << 10, 1), noise(2 << 20, 2));
        let name = hex(&sha256(&fits));
        storage.save(FileKind::Pack, &name, &fits, &sha256(&fits)).unwrap();
        let error =
            storage.save(FileKind::Pack, &hex(&sha256(&not)), &not, &sha256(&not)).unwrap_err();
        assert_eq!(error.reason, "DiskFull", "{}", error.chain());
        let mut names = Vec::new();
        let collect = &mut |file: model::ports::storage::Listed| {
            names.push(file.name);
            Ok(())
        };
        storage.list(FileKind::Pack, collect).unwrap();
        assert_eq!(names, std::slice::from_ref(&name));
        assert!(storage.load(FileKind::Pack, &name, 1 << 20).unwrap() == fits);
        // What was begun is taken away: there is room for as much again.
        storage.save(FileKind::Index, &name, &fits, &sha256(&fits)).unwrap();
    }
}
