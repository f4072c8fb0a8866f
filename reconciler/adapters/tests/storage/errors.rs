//! Each mistake that people make with a storage service is named, with how to mend it, and without
//! a credential in what is said.

use model::error::ErrorClass::{self, Terminal, Transient};
use model::ports::storage::FileKind;
use model::remote::S3;

use super::*;

/// Makes a key and a certificate that signs itself; returns their files.
pub fn certificate(folder: &Path, names: &str) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key"), path("certificate"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-keyout", &key, "-out", &certificate, "-days", "2", "-subj", "/CN=t"])
        .args(["-addext", &format!("subjectAltName={names}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .expect("openssl is needed by this test; tests/run gets it");
    assert!(made.status.success());
    (key, certificate)
}

/// Checks the error of a first look at a place.
#[track_caller]
fn says(service: Service, class: ErrorClass, reason: &str) -> String {
    let error = bare(service).list(FileKind::Key, &mut |_| Ok(())).unwrap_err();
    let said = format!("{} | {}", error.chain(), error.hint.as_deref().unwrap_or_default());
    assert_eq!((error.class, error.reason), (class, reason), "{said}");
    assert!(error.hint.is_some(), "{said}");
    for kept in [SECRET, "wrong-wrong-wrong", AZURITE.1] {
        assert!(!said.contains(kept), "{said}");
        assert!(!format!("{error:?}").contains(kept), "{error:?}");
    }
    said
}

/// A refused look at a config is no missing one, and nothing is made there.
#[track_caller]
fn refused(service: Service) {
    let storage = bare(service);
    let reasons = ["WrongCredentials", "PermissionDenied", "NoSuchBucket"];
    let looks = [
        storage.stat(FileKind::Config, "").map(|_| ()),
        storage.load(FileKind::Config, "", 1 << 20).map(|_| ()),
        storage.list(FileKind::Config, &mut |_| Ok(())),
        storage.list(FileKind::Snapshot, &mut |_| Ok(())),
        Repository::open(storage.clone(), PASSWORD.as_bytes(), options()).map(|_| ()),
        Repository::init(storage.clone(), PASSWORD.as_bytes(), options()).map(|_| ()),
    ];
    for (at, look) in looks.into_iter().enumerate() {
        let error = look.unwrap_err();
        assert!(reasons.contains(&error.reason), "look {at}: {} {}", error.reason, error.chain());
    }
}

#[test]
fn who_is_refused_by_minio_finds_no_empty_bucket() {
    let server = Server::minio();
    server.make_bucket("backups", false);
    let right = s3(&server.url());
    refused(Service::S3(S3 { secret_key: secret("wrong"), ..right.clone() }));
    refused(Service::S3(S3 { access_key: secret("wrong"), ..right.clone() }));
    refused(Service::S3(S3 { bucket: "other".to_owned(), ..right }));
}

#[test]
fn mistakes_with_azure_are_named() {
    let server = Server::azurite(&[]);
    let right = azure(&server.url());
    says(Service::Azure(right.clone()), Terminal, "NoSuchBucket");
    refused(Service::Azure(right.clone()));
    server.make_container(&server.url(), "backups", &[]);
    says(
        Service::Azure(Azure { key: secret("other"), ..right.clone() }),
        Terminal,
        "WrongCredentials",
    );
    refused(Service::Azure(Azure { key: secret("other"), ..right.clone() }));
    let unusable = Azure { key: secret("wrong"), ..right };
    let error = storage::service(&remote(Service::Azure(unusable)), &known()).err().unwrap();
    assert_eq!(error.reason, "WrongCredentials");
}

#[test]
fn a_key_of_google_that_is_none_is_named() {
    let unusable =
        Gcs { service_account: secret("wrong"), access_token: None, ..gcs("http://127.0.0.1:9") };
    let error = storage::service(&remote(Service::Gcs(unusable)), &known()).err().unwrap();
    assert_eq!(error.reason, "WrongCredentials");
    assert!(!format!("{error:?}").contains("wrong-wrong-wrong"), "{error:?}");
    says(Service::Gcs(gcs("http://127.0.0.1:9")), Transient, "Unreachable");
}

#[test]
fn mistakes_with_s3_are_named() {
    let server = versitygw();
    let right = s3(&server.url());
    let with = |change: fn(&mut S3)| {
        let mut s3 = right.clone();
        change(&mut s3);
        Service::S3(s3)
    };
    let said = says(with(|s3| s3.bucket = "other".to_owned()), Terminal, "NoSuchBucket");
    assert!(said.contains("cannot list keys in s3:http://127.0.0.1"), "{said}");
    says(with(|s3| s3.secret_key = secret("wrong")), Terminal, "WrongCredentials");
    says(with(|s3| s3.access_key = secret("wrong")), Terminal, "WrongCredentials");
    says(with(|s3| s3.endpoint = Some("http://127.0.0.1:9".to_owned())), Transient, "Unreachable");
    let nowhere = Some("http://nowhere.invalid".to_owned());
    let mut s3 = right.clone();
    s3.endpoint = nowhere;
    says(Service::S3(s3), Transient, "HostUnknown");
    let mut s3 = right.clone();
    s3.endpoint = Some(server.url().replace("http://", "https://"));
    let error = bare(Service::S3(s3)).list(FileKind::Key, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error.reason, "NotHttp" | "TlsFailed"), "{}", error.chain());
    // A look at one file has an answer without a body: who is refused learns not that it is empty.
    for wrong in [
        with(|s3| s3.secret_key = secret("wrong")),
        with(|s3| s3.access_key = secret("wrong")),
        with(|s3| s3.bucket = "other".to_owned()),
    ] {
        refused(wrong);
    }
    let missing = S3 { secret_key: secret("nobody"), ..right };
    let error = storage::service(&remote(Service::S3(missing)), &known()).err().unwrap();
    assert_eq!(error.reason, "SecretMissing");
}

#[test]
fn mistakes_with_rest_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    // `tester:not-a-secret-in-tests` as SHA-1, which rest-server takes.
    std::fs::write(&users, "tester:{SHA}FJm51CSEC/6w7x5MfA6vjYHaWaU=\n").unwrap();
    let server = Server::rest(&["--htpasswd-file", users.to_str().unwrap()]);
    let mut rest = rest(format!("{}/r", server.url()));
    says(Service::Rest(rest.clone()), Terminal, "WrongCredentials");
    rest.user = Some(USER.to_owned());
    rest.password = secret("wrong");
    says(Service::Rest(rest.clone()), Terminal, "WrongCredentials");
    rest.password = secret("secret");
    bare(Service::Rest(rest)).create().unwrap();
}

#[test]
fn certificates_are_checked_and_ones_own_can_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = certificate(folder.path(), "IP:127.0.0.1");
    let server =
        Server::rest(&["--no-auth", "--tls", "--tls-cert", &certificate, "--tls-key", &key]);
    let mut rest = rest(format!("https://{}/r", server.address()));
    says(Service::Rest(rest.clone()), Terminal, "TlsFailed");
    rest.ca_file = Some(certificate);
    bare(Service::Rest(rest.clone())).create().unwrap();
    rest.ca_file = Some(key);
    let error = storage::service(&remote(Service::Rest(rest)), &known()).err().unwrap();
    assert_eq!(error.reason, "BadCertificate", "{}", error.chain());
}

#[test]
fn mistakes_with_ssh_are_named() {
    let sshd = Sshd::start();
    let folder = tempfile::tempdir().unwrap();
    let right = sftp(&sshd, folder.path());
    let text = |path: std::path::PathBuf| Some(path.to_str().unwrap().to_owned());
    let wrong = Sftp { known_hosts: text(sshd.known_hosts(false)), ..right.clone() };
    says(Service::Sftp(wrong), Terminal, "HostKeyChanged");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let unknown = Sftp { known_hosts: text(empty), ..right.clone() };
    says(Service::Sftp(unknown), Terminal, "HostKeyUnknown");
    let other = folder.path().join("other_key");
    let mut make = std::process::Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other);
    assert!(make.status().unwrap().success());
    let stranger = Sftp { identity_file: text(other), ..right.clone() };
    says(Service::Sftp(stranger), Terminal, "WrongCredentials");
    says(Service::Sftp(Sftp { port: Some(9), ..right.clone() }), Transient, "Unreachable");
    let nowhere = Sftp { host: "nowhere.invalid".to_owned(), ..right };
    says(Service::Sftp(nowhere), Transient, "HostUnknown");
}
