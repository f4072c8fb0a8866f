//! A proxy before an HTTP service that does to requests what networks and busy servers do: answers
//! errors, cuts connections half-way, waits, repeats listings that are out of date. And one that
//! only adds delay to each answer, for measurements.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest head of a request or answer in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is done to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// This status and nothing else; the service is not asked. With `Retry-After` in seconds.
    Answer(u16, Option<u64>),
    /// The service does it, and its answer is lost.
    LoseAnswer,
    /// The connection ends when so many bytes of the request's body have come.
    CutUpload(usize),
    /// The connection ends when so many bytes of the answer's body were sent.
    CutDownload(usize),
    /// The answer comes later.
    Delay(Duration),
    /// A listing is answered as it was answered the first time.
    Stale,
}

/// A request as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which one it is, from 0.
    pub number: usize,
    /// `GET`, `PUT`, …
    pub method: String,
    /// Its path with query.
    pub path: String,
    /// Its body's size in bytes.
    pub size: usize,
}

/// Decides what is done to a request.
pub type Plan = dyn Fn(&Seen) -> Fault + Send + Sync;

struct Shared {
    upstream: String,
    plan: Box<Plan>,
    count: AtomicUsize,
    faults: AtomicUsize,
    /// First answers by path.
    first: Mutex<BTreeMap<String, Vec<u8>>>,
}

/// A running proxy. It ends with the process.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one before a service's address.
    pub fn start(upstream: String, plan: impl Fn(&Seen) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            upstream,
            plan: Box::new(plan),
            count: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            first: Mutex::default(),
        });
        let own = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = own.clone();
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { port, shared }
    }

    /// The URL at which it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Forgets the answers that stale listings repeat: the next ones are kept in their place.
    pub fn forget(&self) {
        self.shared.first.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many requests came, and how many of them met a fault.
    pub fn counts(&self) -> (usize, usize) {
        (self.shared.count.load(Ordering::SeqCst), self.shared.faults.load(Ordering::SeqCst))
    }
}

/// Starts a proxy that connects whoever asks for any host (`CONNECT`) with one address, and returns
/// its URL: names that no name server knows lead to a service on loopback. It ends with the
/// process.
pub fn tunnel(upstream: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = upstream.clone();
            std::thread::spawn(move || drop(connect(client, &upstream)));
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn connect(mut client: TcpStream, upstream: &str) -> io::Result<()> {
    let Some((_, early)) = read_head(&mut client)? else { return Ok(()) };
    let mut server = TcpStream::connect(upstream)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    server.write_all(&early)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let done = io::copy(&mut from, &mut to);
        drop(to.shutdown(Shutdown::Write));
        done
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Reads up to the empty line that ends a head; returns the head and what came after it.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), rest)));
        }
        let count = stream.read(&mut part)?;
        if count == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..count]);
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        while let Some((head, mut body)) = read_head(&mut client)? {
            let mut words = head.split(' ');
            let seen = Seen {
                number: self.count.fetch_add(1, Ordering::SeqCst),
                method: words.next().unwrap_or_default().to_owned(),
                path: words.next().unwrap_or_default().to_owned(),
                size: header(&head, "content-length").and_then(|n| n.parse().ok()).unwrap_or(0),
            };
            let fault = (self.plan)(&seen);
            if fault != Fault::Pass {
                self.faults.fetch_add(1, Ordering::SeqCst);
            }
            let wanted = match fault {
                Fault::CutUpload(bytes) => seen.size.min(bytes),
                _ => seen.size,
            };
            let mut part = [0; 64 << 10];
            while body.len() < wanted {
                let count = client.read(&mut part)?;
                if count == 0 {
                    return Ok(());
                }
                body.extend_from_slice(&part[..count]);
            }
            if !self.answer(&mut client, &seen, &head, &body, &fault)? {
                return client.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Answers one request; returns whether the connection goes on.
    fn answer(
        &self,
        client: &mut TcpStream,
        seen: &Seen,
        head: &str,
        body: &[u8],
        fault: &Fault,
    ) -> io::Result<bool> {
        match fault {
            Fault::Answer(status, retry_after) => {
                let wait = retry_after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
                let answer = format!("HTTP/1.1 {status} Fault\r\n{wait}Content-Length: 0\r\n\r\n");
                client.write_all(answer.as_bytes())?;
                return Ok(true);
            }
            Fault::CutUpload(_) => return Ok(false),
            _ => {}
        }
        let mut answer = self.ask(head, body)?;
        match fault {
            Fault::LoseAnswer => return Ok(false),
            Fault::Delay(duration) => std::thread::park_timeout(*duration),
            Fault::CutDownload(bytes) => {
                let start = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0) + 4;
                answer.truncate(start + bytes);
            }
            _ => {}
        }
        if seen.method == "GET" {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            let known = first.entry(seen.path.clone()).or_insert_with(|| answer.clone());
            if *fault == Fault::Stale {
                answer.clone_from(known);
            }
        }
        client.write_all(&answer)?;
        // The service was told to end its connection, and so is the client.
        Ok(false)
    }

    /// Asks the service and returns its whole answer.
    fn ask(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(&self.upstream)?;
        let mut lines = head.trim_end().lines();
        let mut request = format!("{}\r\n", lines.next().unwrap_or_default());
        for line in lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("Connection: close\r\n\r\n");
        upstream.write_all(request.as_bytes())?;
        upstream.write_all(body)?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// A proxy of bytes that lets each answer come later by the same time: distance. It ends with the
/// process.
pub struct Distance {
    port: u16,
    answers: Arc<AtomicUsize>,
}

impl Distance {
    /// Puts a distance before a service's address.
    pub fn start(upstream: String, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answers = Arc::<AtomicUsize>::default();
        let far = Far { delay, answers: answers.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                // Small packets must not wait for one another, or the distance is another.
                let (a, b) = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(()), Ok(())) = (a, b) else { continue };
                let asked = Arc::new(AtomicBool::new(false));
                relay(&client, &server, asked.clone(), None);
                relay(&server, &client, asked, Some(far.clone()));
            }
        });
        Self { port, answers }
    }

    /// How many requests were answered so far.
    pub fn requests(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// The URL at which it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// How far it is, and how often somebody went there.
#[derive(Clone)]
struct Far {
    delay: Duration,
    answers: Arc<AtomicUsize>,
}

/// Copies bytes one way. Answers wait once after each question.
fn relay(from: &TcpStream, to: &TcpStream, asked: Arc<AtomicBool>, far: Option<Far>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    std::thread::spawn(move || {
        let mut part = vec![0; 256 << 10];
        while let Ok(count @ 1..) = from.read(&mut part) {
            match &far {
                None => asked.store(true, Ordering::SeqCst),
                Some(far) if asked.swap(false, Ordering::SeqCst) => {
                    far.answers.fetch_add(1, Ordering::SeqCst);
                    let until = std::time::Instant::now() + far.delay;
                    while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
                        std::thread::park_timeout(left);
                    }
                }
                Some(_) => {}
            }
            if to.write_all(&part[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}
