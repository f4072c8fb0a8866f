//! One operation of the engine as a process of its own, for tests that stop and kill processes.
//!
//! `actor REPO OPERATION …`. `ACTOR_CLOCK` names a file with seconds that are added to the time,
//! `ACTOR_WAIT` gives the seconds to wait for locks, `ACTOR_CACHE` a folder for copies,
//! `ACTOR_PEAK` a file for the peak memory in KiB. Ends with 1 and the reason word on standard
//! error when the operation fails.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)] // A tool of tests.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainstay_repository::crypto::Kdf;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::{
    BackupOptions, BackupSummary, CacheFolder, CheckOptions, Depth, Finishing, Options, Owner,
    PruneMark, PruneOptions, Repository, RestoreOptions, Rewrite, Stream,
};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{StreamSource, WalkRequest};
use model::progress::Silent;
use mover::{LocalSource, LocalTarget};

const PASSWORD: &str = "correct horse";

fn now() -> Timestamp {
    let ahead = std::env::var_os("ACTOR_CLOCK").map_or(0, |file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    });
    Timestamp::now() + SignedDuration::from_secs(ahead)
}

fn options() -> Options {
    let run = format!("actor-{}", std::process::id());
    let mut options = Options::new(Owner::current(run), Arc::new(now));
    options.kdf = Kdf { log_n: 8, r: 8, p: 1 };
    let wait = std::env::var("ACTOR_WAIT").ok().and_then(|w| w.parse().ok()).unwrap_or(0);
    options.lock_wait = Duration::from_secs(wait);
    options.cache = std::env::var_os("ACTOR_CACHE").map(CacheFolder::new);
    options
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [repo, operation, rest @ ..] = args.as_slice() else {
        eprintln!("usage: actor REPO OPERATION …");
        std::process::exit(64);
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let done = run(Path::new(repo), operation, &rest);
    if let Some(file) = std::env::var_os("ACTOR_PEAK") {
        std::fs::write(file, peak_kib().to_string()).unwrap();
    }
    if let Err(e) = done {
        eprintln!("{}: {}", e.reason, e.chain());
        std::process::exit(1);
    }
}

/// The most memory that this process ever had, as the kernel counts it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn open(path: &Path) -> Result<Repository, PortError> {
    Repository::open(Arc::new(LocalStorage::new(path)), PASSWORD.as_bytes(), options())
}

fn run(path: &Path, operation: &str, rest: &[&str]) -> Result<(), PortError> {
    let cancel = Cancel::default();
    if operation == "init" {
        let storage = Arc::new(LocalStorage::new(path));
        return Repository::init(storage, PASSWORD.as_bytes(), options()).map(|_| ());
    }
    let repo = open(path)?;
    match (operation, rest) {
        ("backup", [source]) => backup(&repo, Path::new(source)),
        ("stream", []) => stream(&repo),
        ("loop", [source, stop]) => {
            while !Path::new(stop).exists() {
                backup(&repo, Path::new(source))?;
            }
            Ok(())
        }
        ("forget", [keep]) => {
            let keep: usize = keep.parse().unwrap();
            let all = repo.snapshots()?;
            let ids: Vec<_> = all.iter().rev().skip(keep).map(|s| s.id).collect();
            repo.forget(&ids, &cancel).map(|_| ())
        }
        ("prune", [grace_s]) => {
            let options = PruneOptions {
                grace: SignedDuration::from_secs(grace_s.parse().unwrap()),
                waste_percent_max: 0,
                ..PruneOptions::default()
            };
            repo.prune(&PruneMark::default(), &options, &Silent, &cancel).map(|_| ())
        }
        ("check", []) => check(&repo),
        ("copy", [to]) => {
            let ids: Vec<_> = repo.snapshots()?.iter().map(|s| s.id).collect();
            repo.copy(&ids, &open(Path::new(to))?, &Silent, &cancel).map(|_| ())
        }
        ("tag", [tag]) => {
            let Some(newest) = repo.snapshots()?.pop() else { return Ok(()) };
            let change = Rewrite { tags: Some(vec![(*tag).to_owned()]), ..Rewrite::default() };
            repo.rewrite(&newest.id, &change, &cancel).map(|_| ())
        }
        ("rebuild", []) => repo.rebuild_index(true, &Silent, &cancel).map(|_| ()),
        ("key", [password]) => repo.add_key(password.as_bytes()).map(|_| ()),
        ("restore", [to]) => restore(&repo, Path::new(to)),
        ("unlock", []) => repo.unlock(false).map(|_| ()),
        _ => Err(PortError::terminal("Usage", format!("unknown operation {operation} {rest:?}"))),
    }
}

fn nothing(_: &BackupSummary) -> Result<Finishing, PortError> {
    Ok(Finishing::default())
}

fn backup(repo: &Repository, source: &Path) -> Result<(), PortError> {
    let root = source.as_os_str().as_bytes().to_vec();
    let request = WalkRequest { roots: vec![root], ..Default::default() };
    let mut options = BackupOptions::new("actor", now());
    options.parent = repo.snapshots()?.last().map(|s| s.id);
    let (mover, cancel) = (LocalSource::default(), Cancel::default());
    let report = repo.backup_tree(&mover, &request, &options, nothing, &Silent, &cancel)?;
    match report.summary.problems.first() {
        Some(problem) => Err(PortError::terminal("Partial", problem.message.clone())),
        None => Ok(()),
    }
}

/// Standard input, announced once it is asked for.
struct Input(bool);

impl StreamSource for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !std::mem::replace(&mut self.0, true) {
            println!("reading");
        }
        std::io::stdin().read(buffer)
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        Ok(())
    }
}

fn stream(repo: &Repository) -> Result<(), PortError> {
    let source = Box::new(Input(false));
    let streams = vec![Stream { name: "stdin".to_owned(), size_hint: 0, source }];
    let options = BackupOptions::new("actor", now());
    repo.backup_streams(streams, &options, nothing, &Silent, &Cancel::default()).map(|_| ())
}

fn check(repo: &Repository) -> Result<(), PortError> {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    let report = repo.check(&options, &Silent, &Cancel::default())?;
    match report.faults.first() {
        Some(fault) => Err(PortError::terminal("Damaged", fault.message.clone())),
        None => Ok(()),
    }
}

fn restore(repo: &Repository, to: &Path) -> Result<(), PortError> {
    let Some(newest) = repo.snapshots()?.pop() else { return Ok(()) };
    let target = LocalTarget::open(to)?;
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let summary = repo.restore(&newest.id, &target, &options, &Silent, &Cancel::default())?;
    match summary.problems.first() {
        Some(problem) => Err(PortError::terminal("Partial", problem.message.clone())),
        None => Ok(()),
    }
}
