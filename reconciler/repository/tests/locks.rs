//! Locks between real processes: ours, restic's, stopped ones and killed ones.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::actor::{actor, done, run, signal, succeeded};
use common::*;
use jiff::SignedDuration;
use mainstay_repository::storage::{LocalStorage, MemoryStorage};
use mainstay_repository::{Options, Owner, PruneMark, PruneOptions, Repository};
use model::cancel::Cancel;
use model::ports::storage::Storage;
use model::progress::Silent;
use rustix::process::Signal;

struct Place {
    _tmp: tempfile::TempDir,
    repo: PathBuf,
    source: PathBuf,
    clock: PathBuf,
    stop: PathBuf,
}

fn place() -> Place {
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let (repo, source, clock, stop) = (at("repo"), at("src"), at("clock"), at("stop"));
    fs::create_dir(&source).unwrap();
    for i in 0..30 {
        fs::write(source.join(format!("f{i}")), noise(50_000, i)).unwrap();
    }
    drop(init_at(&repo));
    Place { _tmp: tmp, repo, source, clock, stop }
}

fn patient(repo: &Path, args: &[&str]) -> Command {
    let mut command = actor(repo, args);
    command.env("ACTOR_WAIT", "120").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn ended(child: Child, what: &str) {
    succeeded(&child.wait_with_output().unwrap(), &[what]);
}

/// A backup of a pipe that was begun and waits for the rest of its input.
fn open_stream(place: &Place) -> Child {
    let mut writer = actor(&place.repo, &["stream"])
        .env("ACTOR_CLOCK", &place.clock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.as_mut().unwrap().write_all(&noise(3 << 20, 5)).unwrap();
    let mut line = String::new();
    BufReader::new(writer.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "reading\n");
    writer
}

/// What restic says of the repository, and that it holds so many snapshots.
fn assert_whole(repo: &Path, snapshots: usize) {
    restic(repo, &["check", "--read-data"]);
    assert_eq!(open_at(repo).snapshots().unwrap().len(), snapshots);
}

#[test]
fn two_writers_and_a_prune_share_a_repository() {
    let place = place();
    let source = place.source.to_str().unwrap();
    done(&place.repo, &["backup", source]);
    let stop = place.stop.to_str().unwrap();
    // Two that never pause: at each moment at least one of them holds a lock.
    let writers = [0, 1].map(|_| patient(&place.repo, &["loop", source, stop]).spawn().unwrap());
    for round in 0..3u64 {
        fs::write(place.source.join("f1"), noise(60_000, 100 + round)).unwrap();
        ended(patient(&place.repo, &["forget", "2"]).spawn().unwrap(), "forget");
        ended(patient(&place.repo, &["prune", "0"]).spawn().unwrap(), "prune");
    }
    // The other party waits for us by its own means.
    restic(&place.repo, &["--retry-lock", "2m", "backup", source]);
    fs::write(&place.stop, b"").unwrap();
    writers.into_iter().for_each(|w| ended(w, "loop"));
    assert!(open_at(&place.repo).locks().unwrap().is_empty());
    restic(&place.repo, &["check", "--read-data"]);
}

#[test]
fn one_that_waits_gets_its_turn_when_the_other_ends() {
    let place = place();
    let mut writer = open_stream(&place);
    let refused = run(&place.repo, &["prune", "0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("Locked: "));
    let waiting = patient(&place.repo, &["prune", "0"]).spawn().unwrap();
    let repo = open_at(&place.repo);
    while !repo.locks().unwrap().iter().any(|l| l.waits) {
        std::thread::yield_now();
    }
    // restic takes the request for a shared lock: it may read and write, not prune.
    restic(&place.repo, &["backup", place.source.to_str().unwrap()]);
    assert!(!restic_raw(&place.repo, &["prune"]).status.success());
    drop(writer.stdin.take());
    ended(writer, "stream");
    ended(waiting, "prune");
    assert!(repo.locks().unwrap().is_empty());
    assert_whole(&place.repo, 2);
}

#[test]
fn a_suspended_writer_publishes_nothing_once_its_lock_is_stale() {
    for removed in [true, false] {
        let place = place();
        let mut writer = open_stream(&place);
        signal(&writer, Signal::STOP);
        // An hour passes for everybody.
        fs::write(&place.clock, "3600").unwrap();
        if removed {
            // Somebody makes sure that it is gone (it is not), unlocks, and prunes at once.
            let later = actor(&place.repo, &["unlock"]).env("ACTOR_CLOCK", &place.clock).output();
            succeeded(&later.unwrap(), &["unlock"]);
            let prune =
                actor(&place.repo, &["prune", "0"]).env("ACTOR_CLOCK", &place.clock).output();
            succeeded(&prune.unwrap(), &["prune"]);
        } else {
            let prune =
                actor(&place.repo, &["prune", "0"]).env("ACTOR_CLOCK", &place.clock).output();
            let said = String::from_utf8_lossy(&prune.unwrap().stderr).into_owned();
            assert!(said.starts_with("StaleLock: "), "{said}");
            assert!(said.contains(&writer.id().to_string()) && said.contains("36"), "{said}");
        }
        signal(&writer, Signal::CONT);
        drop(writer.stdin.take());
        let output = writer.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("LockLost: "), "removed {removed}: {said}");
        assert_whole(&place.repo, 0);
    }
}

#[test]
fn a_lock_that_somebody_removed_is_noticed_before_anything_is_published() {
    let place = place();
    let mut writer = open_stream(&place);
    restic(&place.repo, &["unlock", "--remove-all"]);
    drop(writer.stdin.take());
    let output = writer.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("LockLost: "));
    assert_whole(&place.repo, 0);
}

#[test]
fn locks_of_killed_processes_of_ours_go_by_themselves() {
    let place = place();
    let writer = open_stream(&place);
    signal(&writer, Signal::KILL);
    drop(writer.wait_with_output().unwrap());
    let repo = open_at(&place.repo);
    let locks = repo.locks().unwrap();
    assert!(locks[0].stale && locks[0].reclaimable, "{locks:?}");
    done(&place.repo, &["prune", "0"]);
    assert!(repo.locks().unwrap().is_empty());
    assert_whole(&place.repo, 0);
}

#[test]
fn restics_locks_are_waited_for() {
    let place = place();
    done(&place.repo, &["backup", place.source.to_str().unwrap()]);
    let mut holder = Command::new(restic_binary())
        .args(["--no-cache", "-r", place.repo.to_str().unwrap(), "backup", "--stdin"])
        .env("RESTIC_PASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let repo = open_at(&place.repo);
    while repo.locks().unwrap().is_empty() {
        std::thread::yield_now();
    }
    let waiting = patient(&place.repo, &["forget", "1"]).spawn().unwrap();
    while !repo.locks().unwrap().iter().any(|l| l.waits) {
        std::thread::yield_now();
    }
    holder.stdin.take().unwrap().write_all(b"content").unwrap();
    assert!(holder.wait().unwrap().success());
    ended(waiting, "forget");
    assert_whole(&place.repo, 2);
}

#[test]
fn a_wait_can_be_cancelled() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let repo = init(Arc::clone(&storage));
    let held = repo.hold_lock_for_test().unwrap();
    let mut patient = options();
    patient.lock_wait = Duration::from_secs(3600);
    let other = Repository::open(storage, PASSWORD.as_bytes(), patient).unwrap();
    let cancel = Cancel::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.forget(&[], &cancel));
        while !repo.locks().unwrap().iter().any(|l| l.waits) {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err().reason, "Cancelled");
    });
    assert_eq!(repo.locks().unwrap().len(), 1);
    drop(held);
}

/// A writer of another make (rustic) uses no locks: it reads the index, writes packs, and much
/// later index and snapshot, whatever happened meanwhile.
#[test]
fn the_grace_period_protects_writers_without_locks() {
    let place = place();
    done(&place.repo, &["backup", place.source.to_str().unwrap()]);
    let repo = open_at(&place.repo);
    let old = repo.snapshots().unwrap()[0].id;
    let other = place.repo.with_file_name("lockless");
    copy_folder(&place.repo, &other);
    // In a copy of the repository, unseen by the prune: a snapshot that uses old and new blobs.
    fs::write(place.source.join("more"), noise(80_000, 900)).unwrap();
    done(&other, &["backup", place.source.to_str().unwrap()]);
    // Its packs are uploaded one after the other while it runs.
    add_files(&other.join("data"), &place.repo.join("data"));
    repo.forget(&[old], &Cancel::default()).unwrap();
    let prune = |mark: &PruneMark, hours| {
        let options = PruneOptions {
            grace: SignedDuration::from_hours(hours),
            waste_percent_max: 0,
            ..PruneOptions::default()
        };
        repo.prune(mark, &options, &Silent, &Cancel::default()).unwrap()
    };
    let marked = prune(&PruneMark::default(), 1);
    assert_eq!(marked.packs_deleted, 0);
    add_files(&other.join("index"), &place.repo.join("index"));
    add_files(&other.join("snapshots"), &place.repo.join("snapshots"));
    // The grace period is over.
    let swept = prune(&marked.mark, 0);
    assert!(swept.packs_deleted == 0 || swept.packs_rescued > 0);
    restic(&place.repo, &["check", "--read-data"]);
    assert!(!repo.snapshots().unwrap().is_empty());
}

fn copy_folder(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Copies the files that are not there yet.
fn add_files(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-an"]).arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

/// As of a version that wrote none, or of a system without `/proc`.
#[test]
fn an_owner_without_instance_is_judged_as_restic_judges() {
    let place = place();
    let mut owner = Owner::current("bare");
    owner.instance = Default::default();
    let bare = Options { owner, ..options() };
    let storage = Arc::new(LocalStorage::new(&place.repo));
    let other = Repository::open(storage, PASSWORD.as_bytes(), bare).unwrap();
    let held = other.hold_lock_for_test().unwrap();
    let seen = &open_at(&place.repo).locks().unwrap()[0];
    assert!(!seen.stale && !seen.reclaimable, "{seen:?}");
    drop(held);
}
