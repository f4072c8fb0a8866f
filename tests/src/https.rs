//! A git host over HTTPS of the test's own: TLS and one password in front of git's own
//! `http-backend`, on a loopback port. Small on purpose: a web server of the system would bring a
//! service that starts by itself on the machine it is installed on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::ledger;

/// The largest request of a fetch; what git sends to ask for a few commits is far below.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A running host, stopped when dropped.
pub struct GitHost {
    folder: TempDir,
    port: u16,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

struct Site {
    root: PathBuf,
    token: String,
    refused: Arc<AtomicUsize>,
}

impl GitHost {
    /// Serves the repositories below `root` to whoever knows `token`, under a certificate for
    /// `localhost` that nobody trusts who was not given [`GitHost::authority`].
    ///
    /// # Panics
    ///
    /// When git is not installed or the port cannot be had.
    pub fn start(root: &Path, token: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("githost-").tempdir().expect("a folder");
        make_certificate(folder.path());
        let certificate = CertificateDer::from_pem_file(folder.path().join("authority.pem"));
        let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem"));
        let (certificate, key) = (certificate.expect("a certificate"), key.expect("a key"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the certificate fits its key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(AtomicUsize::new(0));
        let site =
            Site { root: root.to_owned(), token: token.to_owned(), refused: refused.clone() };
        let (asked, config) = (stop.clone(), Arc::new(config));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if asked.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // A client that breaks off is the client's affair.
                drop(site.answer(stream, config.clone()));
            }
        });
        ledger("git http-backend", "git of this machine, over TLS");
        Self { folder, port, stop, refused, thread: Some(thread) }
    }

    /// The URL of a repository below the root.
    pub fn url(&self, repository: &str) -> String {
        format!("https://localhost:{}/{repository}", self.port)
    }

    /// The certificate to trust, a PEM file.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// How many requests came with a wrong password, or none.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for GitHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Writes `authority.pem`, a certificate for `localhost` that signs itself, and its `key.pem`.
fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "authority.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl is needed: apt-get install openssl");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

struct Request {
    method: String,
    target: String,
    kind: String,
    encoding: String,
    password: Option<String>,
    body: Vec<u8>,
}

impl Site {
    fn answer(&self, stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let request = read_request(&mut BufReader::new(&mut stream))?;
        if request.password.as_deref() == Some(self.token.as_str()) {
            stream.write_all(&self.backend(&request)?)?;
        } else {
            self.refused.fetch_add(1, Ordering::SeqCst);
            stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            )?;
        }
        stream.conn.send_close_notify();
        stream.flush()
    }

    /// Runs git's CGI program (RFC 3875) and makes a response of what it says.
    fn backend(&self, request: &Request) -> std::io::Result<Vec<u8>> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", &request.kind)
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", &request.encoding)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().expect("a pipe").write_all(&request.body)?;
        let said = child.wait_with_output()?.stdout;
        let blank = said.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(said.len());
        let (head, body) = said.split_at(blank);
        let head = String::from_utf8_lossy(head);
        let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
        let body = body.get(4..).unwrap_or_default();
        let mut response = format!(
            "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        response.extend_from_slice(body);
        Ok(response)
    }
}

fn read_request(stream: &mut impl BufRead) -> std::io::Result<Request> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        kind: String::new(),
        encoding: String::new(),
        password: None,
        body: Vec::new(),
    };
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "content-type" => request.kind = value,
            "content-encoding" => request.encoding = value,
            "authorization" => request.password = password(&value),
            _ => {}
        }
    }
    if chunked {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            take(stream, size, &mut request.body)?;
            stream.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else {
        take(stream, length, &mut request.body)?;
    }
    Ok(request)
}

fn take(stream: &mut impl BufRead, bytes: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    assert!(bytes + body.len() <= REQUEST_BYTES_MAX, "a request of {bytes} bytes");
    let begin = body.len();
    body.resize(begin + bytes, 0);
    stream.read_exact(&mut body[begin..])
}

/// The password of `Basic` credentials (RFC 7617).
fn password(value: &str) -> Option<String> {
    let encoded = value.strip_prefix("Basic ")?;
    let plain = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    plain.split_once(':').map(|(_, password)| password.to_owned())
}
