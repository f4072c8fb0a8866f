//! restic and this engine on the same repository on each real server and each emulator.

use std::fs;

use mainstay_tests::services::AZURITE;
use mover::LocalTarget;
use repository::{CheckOptions, Depth, RestoreOptions};

use super::*;

fn tree(at: &Path) {
    fs::create_dir_all(at.join("sub")).unwrap();
    fs::write(at.join("small"), b"hello").unwrap();
    fs::write(at.join("sub/large"), noise(20 << 20, 1)).unwrap();
    for n in 0..50u64 {
        fs::write(at.join(format!("sub/f{n}")), noise(3000, n + 2)).unwrap();
    }
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let mut command = std::process::Command::new("diff");
    let output = command.args(["-r", "--no-dereference"]).arg(a).arg(b).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn init(storage: Arc<dyn Storage>) -> Repository {
    Repository::init(storage, PASSWORD.as_bytes(), options()).unwrap()
}

fn check_all(repository: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 0 };
    let report = repository.check(&options, &Silent, &Cancel::default()).unwrap();
    assert_eq!(report.faults, []);
}

fn restore(repository: &Repository, id: repository::Id, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let target = LocalTarget::open(into).unwrap();
    let options = RestoreOptions::default();
    let cancel = Cancel::default();
    repository.restore(&id, &target, &options, &Silent, &cancel).unwrap();
}

/// A backup by ours, judged and restored by restic; one by restic, checked and restored by ours.
fn both_ways(storage: &Arc<dyn Storage>, name: &str, env: &[(&str, &str)]) {
    both_ways_with(storage, name, &[], env);
}

/// As [`both_ways`], with options for each command of restic.
fn both_ways_with(storage: &Arc<dyn Storage>, name: &str, options: &[&str], env: &[(&str, &str)]) {
    let restic = |words: &[&str]| drop(restic(name, &[options, words].concat(), env));
    let tmp = tempfile::tempdir().unwrap();
    let (source, out) = (tmp.path().join("src"), tmp.path().join("out"));
    tree(&source);
    let ours = init(storage.clone());
    let report = try_backup(&ours, &source).unwrap();
    assert_eq!(report.summary.problems, []);
    restic(&["check", "--read-data"]);
    restic(&["restore", "latest", "--target", out.to_str().unwrap()]);
    same(&source, &out.join(source.strip_prefix("/").unwrap()));

    fs::write(source.join("more"), noise(1 << 20, 99)).unwrap();
    restic(&["backup", source.to_str().unwrap()]);
    let again = open(storage.clone());
    check_all(&again);
    let mut snapshots = again.snapshots().unwrap();
    snapshots.sort_by_key(|snapshot| snapshot.time);
    assert_eq!(snapshots.len(), 2);
    let into = tmp.path().join("ours");
    restore(&again, snapshots[1].id, &into);
    same(&source, &into.join(source.strip_prefix("/").unwrap()));
    again.forget(&[snapshots[0].id], &Cancel::default()).unwrap();
    restic(&["check"]);
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", USER), ("AWS_SECRET_ACCESS_KEY", SECRET)];

#[test]
fn restic_and_ours_on_versitygw() {
    let server = versitygw();
    let spec = remote(Service::S3(s3(&server.url())));
    let name = spec.location();
    assert_eq!(name, format!("s3:{}/backups/a/b", server.url()));
    both_ways(&whole(spec.service), &name, &KEYS);
}

#[test]
fn restic_and_ours_on_minio() {
    let server = Server::minio();
    server.make_bucket("backups", false);
    let spec = remote(Service::S3(s3(&server.url())));
    let name = spec.location();
    both_ways(&whole(spec.service), &name, &KEYS);
}

#[test]
fn restic_and_ours_on_rest_server() {
    let server = Server::rest(&["--no-auth"]);
    let spec = remote(Service::Rest(rest(format!("{}/prod", server.url()))));
    let name = spec.location();
    both_ways(&whole(spec.service), &name, &[]);
}

#[test]
fn restic_and_ours_over_sftp() {
    let sshd = Sshd::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repo");
    let storage = whole(Service::Sftp(sftp(&sshd, &path)));
    // restic runs ssh with a configuration of the test's own.
    let command = format!(
        "ssh -F /dev/null -p {} -i {} -o UserKnownHostsFile={} 127.0.0.1 -s sftp",
        sshd.port(),
        sshd.user_key().display(),
        sshd.known_hosts(true).display()
    );
    let wrapper = folder.path().join("restic");
    let real = mainstay_tests::restic().path;
    let script = format!("#!/bin/sh\nexec {} -o sftp.command='{command}' \"$@\"\n", real.display());
    fs::write(&wrapper, script).unwrap();
    let run = |words: &[&str]| {
        let name = format!("sftp:127.0.0.1:{}", path.display());
        let output = std::process::Command::new("sh")
            .arg(&wrapper)
            .args(["--no-cache", "-r", &name])
            .args(words)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let source = folder.path().join("src");
    tree(&source);
    let ours = init(storage.clone());
    try_backup(&ours, &source).unwrap();
    run(&["check", "--read-data"]);
    fs::write(source.join("more"), noise(1 << 20, 99)).unwrap();
    run(&["backup", source.to_str().unwrap()]);
    let again = open(storage);
    check_all(&again);
    let newest = again.snapshots().unwrap().into_iter().max_by_key(|s| s.time).unwrap();
    let into = folder.path().join("ours");
    restore(&again, newest.id, &into);
    same(&source, &into.join(source.strip_prefix("/").unwrap()));
}

#[test]
fn restic_and_ours_on_the_emulator_of_google() {
    let server = Server::gcs();
    server.make_gcs_bucket("backups");
    let spec = remote(Service::Gcs(gcs(&server.url())));
    let name = spec.location();
    let url = server.url();
    let env = [("STORAGE_EMULATOR_HOST", url.as_str()), ("GOOGLE_ACCESS_TOKEN", "any")];
    both_ways(&whole(spec.service), &name, &env);
}

/// restic speaks to Azure by TLS and by the account's name in the host's only: a certificate of the
/// test's own, and a proxy in the place of a name server.
#[test]
fn restic_and_ours_on_the_emulator_of_azure() {
    let folder = tempfile::tempdir().unwrap();
    let host = format!("{}.blob.azurite.test", AZURITE.0);
    let names = format!("IP:127.0.0.1,DNS:{host}");
    let (key, certificate) = errors::certificate(folder.path(), &names);
    let server = Server::azurite(&["--cert", &certificate, "--key", &key]);
    let url = format!("https://{}", server.address());
    server.make_container(&url, "backups", &["--cacert", &certificate]);
    let mut azure = azure(&url);
    azure.ca_file = Some(certificate.clone());
    let spec = remote(Service::Azure(azure));
    let name = spec.location();
    let proxy = mainstay_tests::proxy::tunnel(server.address());
    let suffix = format!("azurite.test:{}", server.port());
    let env = [
        ("AZURE_ACCOUNT_NAME", AZURITE.0),
        ("AZURE_ACCOUNT_KEY", AZURITE.1),
        ("AZURE_ENDPOINT_SUFFIX", &suffix),
        ("RESTIC_CACERT", &certificate),
        ("HTTPS_PROXY", &proxy),
    ];
    // restic sends an empty tier unless one is chosen, which the emulator refuses.
    let options = ["-o", "azure.access-tier=Hot"];
    both_ways_with(&whole(spec.service), &name, &options, &env);
}
