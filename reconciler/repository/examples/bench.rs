//! Compares this engine with restic on data that it makes itself, and prints a Markdown table.
//!
//! `bench run DIR [SCALE]` needs restic in `$RESTIC` or on `PATH`; SCALE 1 is the full size (tree
//! of 2 GB and 50,000 files, 1 GiB random, 100,000 small files, 1 GiB database). Each step of ours
//! runs as a process of its own (`bench backup …`), key derivation and all, as restic's does.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)] // A tool for people.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::{
    BackupOptions, CheckOptions, Depth, Finishing, Options, Owner, PruneMark, PruneOptions,
    Repository, RestoreOptions,
};
use model::cancel::Cancel;
use model::ports::mover::{Chunking, WalkRequest};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};

const PASSWORD: &str = "bench";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", dir] => run(Path::new(dir), 1.0),
        ["run", dir, scale] => run(Path::new(dir), scale.parse().unwrap()),
        ["init", repo, passes] => {
            // The same cost of opening as restic chose for itself on this machine.
            let mut options = options();
            options.kdf.p = passes.parse().unwrap();
            drop(Repository::init(storage(repo), PASSWORD.as_bytes(), options).unwrap());
        }
        ["backup", repo, source, chunking] => backup(&open(repo), Path::new(source), chunking),
        ["restore", repo, out] => restore(&open(repo), Path::new(out)),
        ["check", repo] => check(&open(repo)),
        ["prune", repo] => prune(&open(repo)),
        _ => eprintln!("usage: bench run DIR [SCALE]"),
    }
}

fn storage(repo: &str) -> Arc<LocalStorage> {
    Arc::new(LocalStorage::new(repo))
}

fn options() -> Options {
    Options::new(Owner::current("bench"), Arc::new(Timestamp::now))
}

fn open(repo: &str) -> Repository {
    Repository::open(storage(repo), PASSWORD.as_bytes(), options()).unwrap()
}

fn backup(repo: &Repository, source: &Path, chunking: &str) {
    let mut options = BackupOptions::new("bench", Timestamp::now());
    options.parent = repo.snapshots().unwrap().last().map(|s| s.id);
    if chunking == "fixed" {
        options.chunking = Chunking::FixedBySize;
    }
    let request = WalkRequest {
        roots: vec![Path::as_os_str(source).as_bytes().to_vec()],
        ..WalkRequest::default()
    };
    let finishing = |_: &_| Ok(Finishing::default());
    let report = repo
        .backup_tree(
            &LocalSource::default(),
            &request,
            &options,
            finishing,
            &Silent,
            &Cancel::default(),
        )
        .unwrap();
    assert!(report.summary.problems.is_empty());
}

fn restore(repo: &Repository, out: &Path) {
    let id = repo.snapshots().unwrap().last().unwrap().id;
    let target = LocalTarget::open(out).unwrap();
    let summary = repo
        .restore(&id, &target, &RestoreOptions::default(), &Silent, &Cancel::default())
        .unwrap();
    assert!(summary.problems.is_empty(), "{:?}", summary.problems);
}

fn check(repo: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 0 };
    assert!(repo.check(&options, &Silent, &Cancel::default()).unwrap().is_whole());
}

fn prune(repo: &Repository) {
    let options = PruneOptions { grace: jiff::SignedDuration::ZERO, ..PruneOptions::default() };
    let mut ids: Vec<_> = repo.snapshots().unwrap().into_iter().map(|s| s.id).collect();
    ids.pop();
    repo.forget(&ids, &Cancel::default()).unwrap();
    repo.prune(&PruneMark::default(), &options, &Silent, &Cancel::default()).unwrap();
}

/// Wall time and peak memory of a command.
fn measure(command: &mut Command) -> (Duration, u64) {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("VmHWM"));
        let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
        peak = peak.max(kib);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}");
            return (started.elapsed(), peak / 1024);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn ours(args: &[&str]) -> (Duration, u64) {
    measure(Command::new(std::env::current_exe().unwrap()).args(args))
}

fn restic(repo: &Path, args: &[&str]) -> (Duration, u64) {
    let binary = std::env::var_os("RESTIC").map_or_else(|| PathBuf::from("restic"), PathBuf::from);
    let cache = repo.with_extension("cache");
    measure(
        Command::new(binary)
            .args(["-q", "-r"])
            .arg(repo)
            .arg("--cache-dir")
            .arg(cache)
            .args(args)
            .env("RESTIC_PASSWORD", PASSWORD),
    )
}

fn run(dir: &Path, scale: f64) {
    let _ = fs::remove_dir_all(dir);
    println!("| data | step | restic s (MB) | ours s (MB) | ratio |");
    println!("|---|---|---|---|---|");
    for (name, make) in SETS {
        let source = dir.join("source");
        fs::create_dir_all(&source).unwrap();
        make(&source, scale);
        one_set(dir, name, &source, scale);
        fs::remove_dir_all(dir).unwrap();
    }
}

fn folder_bytes(path: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(path).unwrap() {
        let meta = entry.as_ref().unwrap().metadata().unwrap();
        let below = if meta.is_dir() { folder_bytes(&entry.unwrap().path()) } else { 0 };
        total += below + if meta.is_file() { meta.len() } else { 0 };
    }
    total
}

fn one_set(dir: &Path, name: &str, source: &Path, scale: f64) {
    let (theirs, mine) = (dir.join("restic"), dir.join("ours"));
    let (mine_text, source_text) = (mine.to_str().unwrap(), source.to_str().unwrap());
    let chunking = if name == "database" { "fixed" } else { "content" };
    restic(&theirs, &["init"]);
    let key = fs::read_dir(theirs.join("keys")).unwrap().next().unwrap().unwrap().path();
    let key: serde_json::Value = serde_json::from_slice(&fs::read(key).unwrap()).unwrap();
    ours(&["init", mine_text, &key["p"].to_string()]);
    let row = |step: &str, (a, am): (Duration, u64), (b, bm): (Duration, u64)| {
        let (a, b) = (a.as_secs_f64(), b.as_secs_f64());
        println!("| {name} | {step} | {a:.2} ({am}) | {b:.2} ({bm}) | {:.1} |", a / b);
    };
    let both = |step: &str| {
        let a = restic(&theirs, &["backup", source_text]);
        let b = ours(&["backup", mine_text, source_text, chunking]);
        row(step, a, b);
    };
    both("first");
    let (a0, b0) = (folder_bytes(&theirs), folder_bytes(&mine));
    both("unchanged");
    change(source, name, scale);
    both("2 % changed");
    let (a1, b1) = (folder_bytes(&theirs), folder_bytes(&mine));
    println!(
        "| {name} | MB stored, then added | {}, {} | {}, {} | |",
        a0 >> 20,
        (a1 - a0) >> 20,
        b0 >> 20,
        (b1 - b0) >> 20
    );
    let (out_a, out_b) = (dir.join("out-a"), dir.join("out-b"));
    let a = restic(&theirs, &["restore", "latest", "--target", out_a.to_str().unwrap()]);
    fs::remove_dir_all(&out_a).unwrap();
    let b = ours(&["restore", mine_text, out_b.to_str().unwrap()]);
    row("restore", a, b);
    fs::remove_dir_all(&out_b).unwrap();
    row("check all", restic(&theirs, &["check", "--read-data"]), ours(&["check", mine_text]));
    row(
        "forget, prune",
        restic(&theirs, &["forget", "--keep-last", "1", "--prune", "--group-by", ""]),
        ours(&["prune", mine_text]),
    );
}

type Make = fn(&Path, f64);
const SETS: [(&str, Make); 4] = [
    ("tree", make_tree),
    ("random", make_random),
    ("small files", make_small),
    ("database", make_database),
];

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(length);
        out
    }

    /// Bytes that compress about threefold, as programs and texts do.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 64);
        while out.len() < length {
            let n = self.next();
            if n.is_multiple_of(3) {
                out.extend_from_slice(&n.to_le_bytes());
            } else {
                const WORDS: [&[u8]; 8] = [
                    b"static inline int ",
                    b"return NULL;\n    ",
                    b"the quick brown fox ",
                    b"\x7fELF\0\0\0\0\x01\0\0\0",
                    b"</div><div class=\"",
                    b"0123456789abcdef",
                    b"configuration_",
                    b"\0\0\0\0\0\0\0\0",
                ];
                out.extend_from_slice(WORDS[(n >> 8) as usize % WORDS.len()]);
            }
        }
        out.truncate(length);
        out
    }
}

fn make_tree(root: &Path, scale: f64) {
    let mut noise = Noise(7);
    for i in 0..(50_000.0 * scale) as usize {
        let dir = root.join(format!("{}/{}", i / 2000, i / 50));
        fs::create_dir_all(&dir).unwrap();
        // Mostly small, some large: a mean of about 40 KB.
        let size = match noise.next() % 100 {
            0 => 1_500_000,
            1..10 => 200_000,
            _ => (noise.next() % 12_000) as usize,
        };
        let data = if i % 4 == 0 { noise.bytes(size) } else { noise.text(size) };
        fs::write(dir.join(format!("file-{i}")), data).unwrap();
    }
}

fn make_random(root: &Path, scale: f64) {
    fs::write(root.join("random"), Noise(11).bytes((scale * (1u64 << 30) as f64) as usize))
        .unwrap();
}

fn make_small(root: &Path, scale: f64) {
    let mut noise = Noise(13);
    for i in 0..(100_000.0 * scale) as usize {
        let dir = root.join(format!("{}", i / 500));
        fs::create_dir_all(&dir).unwrap();
        let size = 1024 + (noise.next() % 7168) as usize;
        let data = if i % 2 == 0 { noise.bytes(size) } else { noise.text(size) };
        fs::write(dir.join(format!("file-{i}")), data).unwrap();
    }
}

fn make_database(root: &Path, scale: f64) {
    let mut noise = Noise(17);
    let pages = (scale * (1u64 << 17) as f64) as usize;
    let mut data = Vec::with_capacity(pages * 8192);
    for _ in 0..pages {
        let filled = 4096 + (noise.next() % 4096) as usize;
        data.extend(noise.text(filled));
        data.resize(data.len().next_multiple_of(8192), 0);
    }
    fs::write(root.join("database"), data).unwrap();
}

/// Changes two percent: of files in trees, of places in large files.
fn change(root: &Path, name: &str, scale: f64) {
    use std::os::unix::fs::FileExt;
    let mut noise = Noise(23);
    match name {
        "random" => {
            let file = fs::File::options().write(true).open(root.join("random")).unwrap();
            let size = (scale * (1u64 << 30) as f64) as u64;
            for i in 0..20 {
                let data = noise.bytes((size / 1000) as usize);
                file.write_all_at(&data, size / 20 * i).unwrap();
            }
        }
        "database" => {
            let file = fs::File::options().write(true).open(root.join("database")).unwrap();
            let pages = (scale * (1u64 << 17) as f64) as u64;
            for _ in 0..pages / 50 {
                let page = noise.next() % pages;
                let data = noise.text(4096);
                file.write_all_at(&data, page * 8192).unwrap();
            }
        }
        _ => {
            let mut todo = vec![root.to_path_buf()];
            let mut number = 0;
            while let Some(path) = todo.pop() {
                if path.is_dir() {
                    todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                    continue;
                }
                number += 1;
                if number % 50 == 0 {
                    let file = fs::File::options().write(true).open(&path).unwrap();
                    file.write_all_at(&noise.bytes(16), 0).unwrap();
                }
            }
        }
    }
}
