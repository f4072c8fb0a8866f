//! Compares this engine with restic on S3 with time added to each request: versitygw on this
//! machine, at a distance. `tests/bench --latency` runs it.
//!
//! Each step is a process of its own, opening and key derivation and all, with its copies on this
//! machine as they are by default; both programs come through the same relay.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)] // A tool for people.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_adapters::storage;
use mainstay_adapters::storage::named::{self, FromEnvironment};
use mainstay_tests::proxy::Distance;
use mainstay_tests::services::{SECRET, Service, USER};
use model::cancel::Cancel;
use model::digest::Digest;
use model::ports::mover::WalkRequest;
use model::ports::storage::{FileKind, Storage};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};
use repository::{BackupOptions, CacheFolder, Options, Owner, Repository, RestoreOptions};

const USAGE: &str = "\
usage: latency run DIR [DELAY_MS [FILES [LARGE_MB [ROUNDS]]]]
       latency keys COUNT";
const PASSWORD: &str = "bench";
/// In the place of the folder for copies: none are kept.
const NO_CACHE: &str = "none";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn open_storage(place: &str) -> Arc<dyn Storage> {
    let spec = named::parse(place, &variable, |path| Ok(path.to_owned())).unwrap();
    storage::open(&spec, false, &FromEnvironment(variable)).unwrap()
}

fn options(cache: &str) -> Options {
    let mut options = Options::new(Owner::current("bench"), Arc::new(Timestamp::now));
    options.cache = (cache != NO_CACHE).then(|| CacheFolder::new(cache));
    options
}

/// Runs one step of ours in this process.
fn step(words: &[&str]) {
    let (what, place, cache, path) = (words[0], words[1], words[2], Path::new(words[3]));
    let storage = open_storage(place);
    let cancel = Cancel::default();
    if what == "init" {
        Repository::init(storage, PASSWORD.as_bytes(), options(cache)).unwrap();
        return;
    }
    let repository = Repository::open(storage, PASSWORD.as_bytes(), options(cache)).unwrap();
    let newest = || repository.snapshots().unwrap().last().map(|snapshot| snapshot.id);
    if what == "restore" {
        fs::create_dir_all(path).unwrap();
        let target = LocalTarget::open(path).unwrap();
        let options = RestoreOptions::default();
        let done = repository.restore(&newest().unwrap(), &target, &options, &Silent, &cancel);
        assert!(done.unwrap().problems.is_empty());
        return;
    }
    let mut options = BackupOptions::new("bench", Timestamp::now());
    options.parent = newest();
    let roots = vec![path.as_os_str().as_bytes().to_vec()];
    let request = WalkRequest { roots, ..WalkRequest::default() };
    let finishing = |_: &_| Ok(repository::Finishing::default());
    let source = LocalSource::default();
    let made = repository.backup_tree(&source, &request, &options, finishing, &Silent, &cancel);
    assert!(made.unwrap().summary.problems.is_empty());
}

fn seconds(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    begun.elapsed().as_secs_f64()
}

fn noise(path: &Path, bytes: usize, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    fs::write(path, data).unwrap();
}

/// A tree of small files, and one large.
fn make(root: &Path, files: usize, large_mb: usize) {
    for n in 0..files {
        let folder = root.join(format!("d{}", n / 50));
        fs::create_dir_all(&folder).unwrap();
        noise(&folder.join(format!("f{n}")), 1000 + n % 11_000, n as u64);
    }
    noise(&root.join("large"), large_mb << 20, 7);
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// What the runs of one program took: seconds, and requests of the last.
#[derive(Default)]
struct Took {
    seconds: Vec<f64>,
    requests: usize,
}

impl Took {
    fn note(&mut self, (seconds, requests): (f64, usize)) {
        self.seconds.push(seconds);
        self.requests = requests;
    }
}

fn run(dir: &Path, delay_ms: u64, files: usize, large_mb: usize, rounds: usize) {
    let server = Service::versitygw();
    server.make_bucket("bench", false);
    let distance = Distance::start(server.address(), Duration::from_millis(delay_ms));
    let source = dir.join("source");
    fs::create_dir_all(&source).unwrap();
    make(&source, files, large_mb);
    let mut table: Vec<(String, Took, Took)> = Vec::new();
    let timed = |command: &mut Command| {
        let before = distance.requests();
        let command = command.env("AWS_ACCESS_KEY_ID", USER).env("AWS_SECRET_ACCESS_KEY", SECRET);
        (seconds(command), distance.requests() - before)
    };
    for round in 0..rounds {
        let base = format!("s3:{}/bench/{round}", distance.url());
        let (theirs, ours) = (format!("{base}/restic"), format!("{base}/ours"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let restic = |words: &[&str]| {
            let mut command = Command::new(mainstay_tests::restic().path);
            command.args(["-r", &theirs]).args(words).env("RESTIC_PASSWORD", PASSWORD);
            command.env("RESTIC_CACHE_DIR", dir.join(format!("restic-cache-{round}")));
            timed(&mut command)
        };
        let kept = text(&dir.join(format!("cache-{round}")));
        let with = |cache: &str, what: &str, path: &Path| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            timed(command.args(["ours", what, &ours, cache, &text(path)]))
        };
        let us = |what: &str, path: &Path| with(&kept, what, path);
        let mut note = |what: &str, restic: (f64, usize), ours: (f64, usize)| {
            eprintln!("{what}: restic {restic:.2?}, this engine {ours:.2?} (seconds, requests)");
            let at = table.iter().position(|(known, ..)| known == what).unwrap_or_else(|| {
                table.push((what.to_owned(), Took::default(), Took::default()));
                table.len() - 1
            });
            table[at].1.note(restic);
            table[at].2.note(ours);
        };
        note("init", restic(&["init"]), us("init", dir));
        let backup = ["backup", &text(&source)];
        note("first backup", restic(&backup), us("backup", &source));
        note("unchanged", restic(&backup), us("backup", &source));
        let without = ["--no-cache", "backup", &text(&source)];
        let ours_without = with(NO_CACHE, "backup", &source);
        note("unchanged, no copies kept", restic(&without), ours_without);
        let (a, b) = (dir.join("out-restic"), dir.join("out-ours"));
        let to = ["restore", "latest", "--target", &text(&a)];
        note("restore", restic(&to), us("restore", &b));
        let same = Command::new("diff").args(["-r"]).arg(&a).arg(&b).status().unwrap();
        assert!(same.success(), "both bring back the same");
        for folder in [a, b] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
    println!("| {delay_ms} ms a request | restic: s, requests | this engine | times as fast |");
    println!("|---|---|---|---|");
    for (what, a, b) in table {
        let (restic, ours) = (median(a.seconds), median(b.seconds));
        let (asked, ask, times) = (a.requests, b.requests, restic / ours);
        println!("| {what} | {restic:.2}, {asked} | {ours:.2}, {ask} | {times:.1} |");
    }
}

/// Lists a bucket of so many keys, and says what that takes.
fn keys(count: usize) {
    let server = Service::versitygw();
    server.make_bucket("bench", false);
    let packs = server.data().join("bench/data");
    for shard in 0..256 {
        fs::create_dir_all(packs.join(format!("{shard:02x}"))).unwrap();
    }
    for n in 0..count {
        // As different as the digests that names are.
        let name = Digest::of_bytes("key", &n.to_le_bytes());
        let name = name.as_str();
        fs::write(packs.join(&name[..2]).join(name), "").unwrap();
    }
    let place = format!("s3:{}/bench", server.url());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["list", &place])
        .env("AWS_ACCESS_KEY_ID", USER)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(&format!("{count} keys in ")), "all are listed: {said}");
    print!("{said}");
}

/// The listing itself, in a process whose memory is only its own.
fn list(place: &str) {
    let storage = open_storage(place);
    let (begun, mut count) = (Instant::now(), 0_u64);
    let each = &mut |_| {
        count += 1;
        Ok(())
    };
    storage.list(FileKind::Pack, each).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{count} keys in {:.1} s; {peak}", begun.elapsed().as_secs_f64());
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |at: usize, usual: usize| args.get(at).map_or(usual, |n| n.parse().unwrap());
    match args.as_slice() {
        ["run", dir, ..] => {
            let (delay_ms, files, large_mb) = (number(2, 20), number(3, 10_000), number(4, 256));
            run(Path::new(dir), delay_ms as u64, files, large_mb, number(5, 3));
        }
        ["ours", words @ ..] => step(words),
        ["keys", count] => keys(count.parse().unwrap()),
        ["list", place] => list(place),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(64);
        }
    }
}
