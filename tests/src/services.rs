//! Storage services of the test's own on loopback ports, each with a folder of its own: S3
//! (versitygw and MinIO), restic's REST server, and the emulators of Azure's and Google's.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::ledger;
use crate::tools::{cache, pinned};

/// The name of the key of every service here.
pub const USER: &str = "tester";
/// Its secret.
pub const SECRET: &str = "not-a-secret-in-tests";
/// The account of Azure's emulator and its key, which its makers publish.
pub const AZURITE: (&str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
);

/// A running service, stopped when dropped.
pub struct Service {
    folder: TempDir,
    port: u16,
    child: Child,
}

/// A port that was free a moment ago; few services can choose one and tell.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("an address").port()
}

/// Runs a program with an input and returns what it prints; it must succeed.
#[track_caller]
fn text(command: &mut Command, input: &[u8]) -> String {
    let mut run = || -> std::io::Result<std::process::Output> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        child.wait_with_output()
    };
    let output = run().expect("curl and openssl are needed by this test; tests/run gets them");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Where `tests/run` has built a program.
fn built(name: &str) -> (PathBuf, String) {
    let version = pinned(name);
    let path = cache().join(format!("{name}-{version}")).join(name);
    assert!(path.exists(), "{} is needed by this test; tests/run gets it", path.display());
    (path, version)
}

impl Service {
    fn start(name: &str, words: impl Fn(&Path, u16) -> Command, version: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().expect("a folder");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        let port = free_port();
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = words(&folder.path().join("data"), port)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is needed by this test: {error}"));
        let mut service = Self { folder, port, child };
        service.wait(name);
        ledger(name, version);
        service
    }

    fn wait(&mut self, name: &str) {
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{name} ended: {}", self.log());
            assert!(begun.elapsed().as_secs() < 60, "{name} does not answer: {}", self.log());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    /// Returns what it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, such as `127.0.0.1:4711`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL, `http://` or, where it was started so, `https://`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The folder in which it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// versitygw on a folder; a bucket is a folder in it.
    pub fn versitygw() -> Self {
        let (program, version) = built("versitygw");
        let words = |data: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.args(["--access", USER, "--secret", SECRET, "--quiet"]);
            command.args(["--port", &format!("127.0.0.1:{port}")]);
            command.arg("posix").arg(data);
            command
        };
        Self::start("versitygw", words, &version)
    }

    /// MinIO, which takes buckets in the path and as `BUCKET.minio.test`.
    pub fn minio() -> Self {
        let (program, version) = built("minio");
        let words = |data: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]);
            command.args(["--console-address", "127.0.0.1:0"]).arg(data);
            command.env("MINIO_ROOT_USER", USER).env("MINIO_ROOT_PASSWORD", SECRET);
            command.env("MINIO_DOMAIN", "minio.test").env("MINIO_UPDATE", "off");
            command.env("HOME", data);
            command
        };
        Self::start("minio", words, &version)
    }

    /// Makes a bucket of an S3 service, with object lock if wished.
    #[track_caller]
    pub fn make_bucket(&self, name: &str, object_lock: bool) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--request", "PUT"]);
        command.args(["--aws-sigv4", "aws:amz:us-east-1:s3"]);
        // Its user and password are of this test alone.
        command.args(["--user", &format!("{USER}:{SECRET}")]);
        // The digest of no body: curl signs it, and some services want it said.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        command.args(["--header", &format!("x-amz-content-sha256: {nothing}")]);
        if object_lock {
            command.args(["--header", "x-amz-bucket-object-lock-enabled: true"]);
        }
        command.arg(format!("{}/{name}", self.url()));
        let begun = std::time::Instant::now();
        loop {
            let output = command.output().expect("curl is needed by this test; tests/run gets it");
            if output.status.success() {
                return;
            }
            // A server that answers may still be starting.
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(begun.elapsed().as_secs() < 30, "no bucket: {said}\n{}", self.log());
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    }

    /// restic's REST server; with words such as `--append-only`.
    pub fn rest(more: &[&str]) -> Self {
        let (program, version) = built("rest-server");
        let words = |data: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.arg("--path").arg(data).args(["--listen", &format!("127.0.0.1:{port}")]);
            command.args(more);
            command
        };
        Self::start("rest-server", words, &version)
    }

    /// The emulator of Google Cloud Storage; it takes any token for the right one.
    pub fn gcs() -> Self {
        let (program, version) = built("fake-gcs-server");
        let words = |_: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.args(["-scheme", "http", "-backend", "memory", "-log-level", "warn"]);
            command.args(["-host", "127.0.0.1", "-port", &port.to_string()]);
            command.args(["-public-host", &format!("127.0.0.1:{port}")]);
            command.args(["-external-url", &format!("http://127.0.0.1:{port}")]);
            command
        };
        Self::start("fake-gcs-server", words, &version)
    }

    /// Makes a bucket of the emulator of Google's.
    #[track_caller]
    pub fn make_gcs_bucket(&self, name: &str) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body"]);
        command.args(["--header", "content-type: application/json"]);
        command.args(["--data", &format!("{{\"name\": \"{name}\"}}")]);
        let url = format!("{}/storage/v1/b?project=tests", self.url());
        let output = command.arg(url).output();
        let output = output.expect("curl is needed by this test; tests/run gets it");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "no bucket: {said}\n{}", self.log());
    }

    /// Makes a container of the emulator of Azure's, at its URL with or without TLS; with words for
    /// curl such as `--cacert`.
    #[track_caller]
    pub fn make_container(&self, url: &str, name: &str, more: &[&str]) {
        let account = AZURITE.0;
        let mut date = Command::new("date");
        date.args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C");
        let date = text(&mut date, b"");
        let headers = format!("x-ms-date:{}\nx-ms-version:2021-08-06", date.trim());
        // What Azure's signatures cover: the verb, eleven headers that are not sent, those that
        // are, and what is asked of which resource.
        let signed = format!(
            "PUT{}{headers}\n/{account}/{account}/{name}\nrestype:container",
            "\n".repeat(12)
        );
        let key = BASE64.decode(AZURITE.1).expect("a key in base64");
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sign = Command::new("openssl");
        sign.args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{key}")]);
        sign.args(["-r"]);
        let sum = text(&mut sign, signed.as_bytes());
        let sum = sum.split_whitespace().next().unwrap_or_default();
        let byte = |at: usize| u8::from_str_radix(&sum[at..at + 2], 16).expect("hexadecimal");
        let sum: Vec<u8> = (0..sum.len()).step_by(2).map(byte).collect();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--request", "PUT"]).args(more);
        for line in headers.lines() {
            curl.args(["--header", line]);
        }
        let authorization = format!("authorization: SharedKey {account}:{}", BASE64.encode(sum));
        curl.args(["--header", &authorization, "--header", "content-length: 0"]);
        text(curl.arg(format!("{url}/{account}/{name}?restype=container")), b"");
    }

    /// The emulator of Azure Blob Storage, of Azure's makers; with words such as `--cert`.
    pub fn azurite(more: &[&str]) -> Self {
        let version = pinned("azurite");
        let program = cache().join(format!("azurite-{version}/node_modules/.bin/azurite-blob"));
        assert!(program.exists(), "{} is needed; tests/run gets it", program.display());
        let words = |data: &Path, port: u16| {
            let mut command = Command::new(&program);
            command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            command.arg("--location").arg(data).args(more);
            command
        };
        Self::start("azurite", words, &version)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
