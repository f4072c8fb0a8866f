//! Every storage service on real servers: the conformance suite of the port, restic as judge both
//! ways, faults on the way, and what is said of each mistake.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod conform;
mod errors;
mod faults;
mod judge;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_adapters::storage;
use mainstay_tests::services::{AZURITE, SECRET, Service as Server, USER};
use mainstay_tests::ssh::Sshd;
use model::agent::SecretRef;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::WalkRequest;
use model::ports::secrets::{SecretValue, Secrets};
use model::ports::storage::Storage;
use model::progress::Silent;
use model::remote::{Azure, BucketStyle, Gcs, Remote, Rest, S3, Service, Sftp, StorageLimits};
use mover::LocalSource;
use repository::crypto::Kdf;
use repository::storage::decorators::Pacing;
use repository::{BackupOptions, BackupReport, Finishing, Options, Owner, Repository};

const PASSWORD: &str = "correct horse";

/// Secrets that a test knows.
struct Known(BTreeMap<&'static str, String>);

impl Secrets for Known {
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError> {
        match self.0.get(secret.0.as_str()) {
            Some(value) => Ok(SecretValue::new(value.clone().into_bytes())),
            None => Err(PortError::terminal("SecretMissing", secret.0.clone())),
        }
    }
}

fn known() -> Known {
    // A line break at the end is the editor's.
    let pairs = [
        ("user", USER.to_owned()),
        ("secret", format!("{SECRET}\n")),
        ("wrong", "wrong-wrong-wrong".to_owned()),
        ("other", "b3RoZXItb3RoZXItb3RoZXI=".to_owned()),
        ("azurite", AZURITE.1.to_owned()),
    ];
    Known(pairs.into())
}

fn secret(name: &str) -> Option<SecretRef> {
    Some(SecretRef(name.to_owned()))
}

fn remote(service: Service) -> Remote {
    Remote { service, limits: StorageLimits::default() }
}

/// A bucket `backups` at a URL.
fn s3(url: &str) -> S3 {
    S3 {
        endpoint: Some(url.to_owned()),
        region: None,
        bucket: "backups".to_owned(),
        prefix: "a/b".to_owned(),
        style: BucketStyle::Path,
        access_key: secret("user"),
        secret_key: secret("secret"),
        session_token: None,
        storage_class: None,
        object_lock: None,
        ca_file: None,
    }
}

fn gcs(url: &str) -> Gcs {
    Gcs {
        endpoint: Some(url.to_owned()),
        bucket: "backups".to_owned(),
        prefix: "a/b".to_owned(),
        service_account: None,
        access_token: secret("secret"),
        ca_file: None,
    }
}

fn azure(url: &str) -> Azure {
    Azure {
        endpoint: Some(format!("{url}/{}", AZURITE.0)),
        account: AZURITE.0.to_owned(),
        container: "backups".to_owned(),
        prefix: "a/b".to_owned(),
        key: secret("azurite"),
        sas: None,
        ca_file: None,
    }
}

fn sftp(sshd: &Sshd, path: &Path) -> Sftp {
    Sftp {
        host: "127.0.0.1".to_owned(),
        port: Some(sshd.port()),
        user: None,
        path: path.to_str().unwrap().to_owned(),
        identity_file: Some(sshd.user_key().to_str().unwrap().to_owned()),
        known_hosts: Some(sshd.known_hosts(true).to_str().unwrap().to_owned()),
        config_file: None,
    }
}

fn rest(url: String) -> Rest {
    Rest { url, user: None, password: None, ca_file: None }
}

/// Opens a service without retries: each request shows what it is.
fn bare(service: Service) -> Arc<dyn Storage> {
    storage::service(&remote(service), &known()).unwrap()
}

/// Pauses that take no time.
struct Fast;

impl Pacing for Fast {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn wait(&self, _: Duration) {}
    fn random(&self) -> f64 {
        0.5
    }
}

/// Opens a service as it is used, with pauses that take no time.
fn whole(service: Service) -> Arc<dyn Storage> {
    storage::decorated(bare(service), &StorageLimits::default(), Arc::new(Fast))
}

/// versitygw with the bucket `backups`.
fn versitygw() -> Server {
    let server = Server::versitygw();
    server.make_bucket("backups", false);
    server
}

fn options() -> Options {
    let mut options = Options::new(Owner::current("test-run"), Arc::new(Timestamp::now));
    // Deriving a key shall not take the tests' time.
    options.kdf = Kdf { log_n: 8, r: 8, p: 1 };
    options
}

fn open(storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage, PASSWORD.as_bytes(), options()).unwrap()
}

fn try_backup(repository: &Repository, root: &Path) -> Result<BackupReport, PortError> {
    use std::os::unix::ffi::OsStrExt as _;
    let roots = vec![root.as_os_str().as_bytes().to_vec()];
    let request = WalkRequest { roots, ..WalkRequest::default() };
    let options = BackupOptions::new("host-a", Timestamp::now());
    let finishing = |_: &repository::BackupSummary| Ok(Finishing::default());
    let source = LocalSource::default();
    let cancel = Cancel::default();
    repository.backup_tree(&source, &request, &options, finishing, &Silent, &cancel)
}

/// Bytes that do not compress, the same for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Runs restic on a repository; fails unless it succeeds.
#[track_caller]
fn restic(repository: &str, words: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = mainstay_tests::restic().command();
    command.args(["--no-cache", "-r", repository]).args(words);
    command.env("RESTIC_PASSWORD", PASSWORD).envs(env.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic -r {repository} {words:?}:\n{said}\n{error}");
    said
}
