//! Copies on this machine spare requests to storage that is far away, and never stand in for it.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::actor::{self, actor};
use common::*;
use mainstay_repository::storage::LocalStorage;
use mainstay_repository::storage::decorators::{Hooked, Operation};
use mainstay_repository::{
    CacheFolder, CheckOptions, Depth, Id, Options, Repository, RestoreOptions, SnapshotRepair,
};
use model::cancel::Cancel;
use model::ports::storage::FileKind;
use model::progress::Silent;
use mover::LocalTarget;

/// Requests by what is asked for.
type Counts = Arc<Mutex<BTreeMap<(Operation, &'static str), usize>>>;

/// Opens a repository as another process would, and counts its requests.
fn opened(path: &Path, cache: Option<&Path>) -> (Repository, Counts) {
    let counts = Counts::default();
    let count = Arc::clone(&counts);
    let storage = Hooked::new(Arc::new(LocalStorage::new(path)), move |operation, kind, _, act| {
        *count.lock().unwrap().entry((operation, kind.folder())).or_default() += 1;
        act()
    });
    let options = Options { cache: cache.map(CacheFolder::new), ..options() };
    (Repository::open(Arc::new(storage), PASSWORD.as_bytes(), options).unwrap(), counts)
}

fn loads(counts: &Counts) -> BTreeMap<&'static str, usize> {
    let counts = counts.lock().unwrap();
    let loads = counts
        .iter()
        .filter(|((operation, _), _)| matches!(operation, Operation::Load | Operation::LoadRange));
    let mut by_kind = BTreeMap::new();
    for ((_, kind), count) in loads {
        *by_kind.entry(*kind).or_default() += count;
    }
    by_kind
}

/// Backs up as the engine does: compared with the newest snapshot.
fn backup_again(repository: &Repository, source: &Path) {
    let mut options = backup_options();
    options.parent = repository.snapshots().unwrap().last().map(|snapshot| snapshot.id);
    backup_with(repository, source, &options);
}

fn make_source(root: &Path) {
    for folder in 0..20 {
        let folder = root.join(format!("d{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..5 {
            fs::write(folder.join(format!("f{file}")), format!("{folder:?} {file}")).unwrap();
        }
    }
}

/// Places of a test: files to back up, an empty repository, and where copies may lie.
struct Places {
    tmp: tempfile::TempDir,
    source: PathBuf,
    path: PathBuf,
    cache: PathBuf,
}

fn places() -> Places {
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let (source, path, cache) = (at("src"), at("repo"), at("cache"));
    make_source(&source);
    drop(init_at(&path));
    Places { tmp, source, path, cache }
}

#[test]
fn an_unchanged_backup_fetches_nothing_again() {
    let Places { tmp: _tmp, source, path, cache } = places();
    for round in 0..3 {
        // What this process writes, the next one has.
        backup_again(&opened(&path, Some(&cache)).0, &source);
        fs::write(source.join("d7/changing"), format!("{round}")).unwrap();
    }
    backup_again(&opened(&path, Some(&cache)).0, &source);
    let fetched = |cache| {
        let (repository, counts) = opened(&path, cache);
        counts.lock().unwrap().clear();
        backup_again(&repository, &source);
        assert!(repository.locks().unwrap().is_empty());
        loads(&counts)
    };
    let without = fetched(None);
    assert!(without["data"] > 0 && without["index"] > 0 && without["snapshots"] > 0, "{without:?}");
    let with = fetched(Some(&cache));
    for kind in ["data", "index", "snapshots"] {
        // The one point that the backup without copies has just made.
        let news = usize::from(kind == "snapshots");
        assert!(*with.get(kind).unwrap_or(&0) <= news, "{kind}: {with:?}, without {without:?}");
    }
    // What others have written is fetched once, and then is there.
    restic(&path, &["backup", source.to_str().unwrap()]);
    let (repository, counts) = opened(&path, Some(&cache));
    let snapshots = repository.snapshots().unwrap().len();
    assert_eq!(loads(&counts)["snapshots"], 1, "restic's");
    let (repository, counts) = opened(&path, Some(&cache));
    assert_eq!(repository.snapshots().unwrap().len(), snapshots);
    assert_eq!(loads(&counts).get("snapshots"), None);
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn what_is_stored_is_looked_at_and_not_its_copy() {
    let Places { tmp: _tmp, source, path, cache } = places();
    let (first, _) = opened(&path, Some(&cache));
    let (old, new) = (backup(&first, &source).snapshot.id, backup(&first, &source).snapshot.id);
    drop(first);
    // Gone here is gone, whatever lies in the cache.
    let (repository, _) = opened(&path, Some(&cache));
    repository.snapshots().unwrap();
    restic(&path, &["forget", &old.hex()]);
    let (repository, _) = opened(&path, Some(&cache));
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    assert_eq!(repository.snapshot(&old).unwrap_err().reason, "NotFound");
    assert_eq!(repository.snapshot(&new).unwrap().id, new);

    // Every stored byte of trees, indexes and snapshots changes; the copies are whole.
    let whole = CheckOptions { depth: Depth::Structure, snapshots: Vec::new(), threads: 1 };
    let check = |repository: &Repository| {
        repository.check(&whole, &Silent, &Cancel::default()).map(|report| report.faults.len())
    };
    assert_eq!(check(&repository).unwrap(), 0);
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot] {
        let folder = path.join(kind.folder());
        let out = std::process::Command::new("find").arg(&folder).args(["-type", "f"]).output();
        let files = String::from_utf8(out.unwrap().stdout).unwrap();
        let kept: Vec<(&str, Vec<u8>)> =
            files.lines().map(|file| (file, fs::read(file).unwrap())).collect();
        for (file, bytes) in &kept {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            drop(fs::remove_file(file));
            fs::write(file, bytes).unwrap();
        }
        let (repository, _) = opened(&path, Some(&cache));
        let found = check(&repository);
        assert!(found.as_ref().map_or(true, |faults| *faults > 0), "{kind:?}: {found:?}");
        if kind == FileKind::Pack {
            let mend = SnapshotRepair { forget: false, dry_run: true };
            let mended = repository
                .repair_snapshots(&[], &mend, &|r, _| r.clone(), &Silent, &Cancel::default())
                .unwrap();
            assert_eq!(mended.len(), 1, "its trees are lost where it lies");
        }
        for (file, bytes) in &kept {
            drop(fs::remove_file(file));
            fs::write(file, bytes).unwrap();
        }
    }
    assert_eq!(check(&opened(&path, Some(&cache)).0).unwrap(), 0);
}

#[test]
fn a_restore_proves_what_is_stored() {
    let tmp = tempfile::tempdir().unwrap();
    let (source, path) = (tmp.path().join("src"), tmp.path().join("repo"));
    let cache = tmp.path().join("cache");
    // Nothing but trees is stored of these.
    fs::create_dir(&source).unwrap();
    fs::write(source.join("empty"), "").unwrap();
    drop(init_at(&path));
    let id = backup(&opened(&path, Some(&cache)).0, &source).snapshot.id;
    let attempt = |to: &str| {
        let (repository, _) = opened(&path, Some(&cache));
        let mut file = Vec::new();
        let listed = repository.ls(&id, &Cancel::default(), &mut |path, _| {
            if path.ends_with(b"/empty") {
                file = path.to_vec();
            }
            Ok(true)
        });
        listed.unwrap();
        let dumped = repository.dump(&id, &file, &mut Vec::new(), &Cancel::default());
        let archived = repository.dump_tar(&id, b"/", &mut Vec::new(), &Cancel::default());
        let to = tmp.path().join(to);
        fs::create_dir(&to).unwrap();
        let target = LocalTarget::open(&to).unwrap();
        let options = RestoreOptions::default();
        let restored = repository.restore(&id, &target, &options, &Silent, &Cancel::default());
        let restored = restored.is_ok_and(|summary| summary.problems.is_empty());
        (dumped.is_ok(), archived.is_ok(), restored)
    };
    assert_eq!(attempt("whole"), (true, true, true));
    fs::remove_dir_all(path.join("data")).unwrap();
    assert_eq!(attempt("lost"), (false, false, false), "copies here are no proof");
}

#[test]
fn checks_of_a_long_run_fetch_the_index_once() {
    let Places { tmp: _tmp, source, path, cache } = places();
    backup(&open_at(&path), &source);
    let (repository, counts) = opened(&path, Some(&cache));
    let whole = CheckOptions { depth: Depth::Structure, snapshots: Vec::new(), threads: 1 };
    for _ in 0..3 {
        assert_eq!(repository.check(&whole, &Silent, &Cancel::default()).unwrap().faults, []);
    }
    assert_eq!(loads(&counts)["index"], 1);
}

#[test]
fn backups_and_restores_of_a_long_run_share_one_index() {
    let Places { tmp: _tmp, source, path, cache } = places();
    backup(&opened(&path, Some(&cache)).0, &source);
    let (repository, counts) = opened(&path, Some(&cache));
    let indexes = || loads(&counts).get("index").copied().unwrap_or(0);
    let whole = CheckOptions { depth: Depth::Structure, snapshots: Vec::new(), threads: 1 };
    let check = || repository.check(&whole, &Silent, &Cancel::default());
    let names = || -> Vec<_> {
        fs::read_dir(path.join("index")).unwrap().map(|e| e.unwrap().path()).collect()
    };
    backup_again(&repository, &source);
    assert_eq!(indexes(), 0, "there is a copy");
    for round in 1..4 {
        fs::write(source.join("d7/changing"), format!("{round}")).unwrap();
        backup_again(&repository, &source);
        assert_eq!(check().unwrap().faults, []);
        // What this process had a copy of, or wrote itself, is looked at once where it is stored.
        for _ in 0..2 {
            assert_eq!(indexes(), names().len());
            assert_eq!(check().unwrap().faults, []);
        }
        assert!(repository.shares_index_for_test().unwrap(), "in memory twice");
    }
    // One that goes bad before this process saw it there does not pass.
    fs::write(source.join("d7/changing"), "4").unwrap();
    let before = names();
    backup_again(&repository, &source);
    let new = names().into_iter().find(|name| !before.contains(name)).unwrap();
    let mut bytes = fs::read(&new).unwrap();
    bytes[40] ^= 1;
    drop(fs::remove_file(&new));
    fs::write(&new, bytes).unwrap();
    assert_eq!(check().unwrap_err().reason, "Damaged");
}

/// Returns the copies under a finished name, and how many half-written ones lie beside them.
fn copies(cache: &Path) -> (Vec<PathBuf>, usize) {
    let (mut whole, mut parts, mut todo) = (Vec::new(), 0, vec![cache.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match (path.is_dir(), Id::parse(name)) {
                (true, _) => todo.push(path),
                (false, Some(_)) => whole.push(path),
                (false, None) => parts += usize::from(name != "CACHEDIR.TAG"),
            }
        }
    }
    (whole, parts)
}

/// Returns how many finished copies are not what their names say.
fn unlike_their_names(copies: &[PathBuf]) -> usize {
    let spoiled = |copy: &&PathBuf| {
        let name = copy.file_name().unwrap().to_str().unwrap();
        Id::of(&fs::read(copy).unwrap()).hex() != name
    };
    copies.iter().filter(spoiled).count()
}

/// The kernel ends a process at an exact byte of a copy that it writes.
#[test]
fn half_a_copy_is_none() {
    let Places { tmp: _tmp, source, path, cache } = places();
    backup(&open_at(&path), &source);
    // The index has more bytes, the lock that is written before has fewer.
    let mut command = Command::new("prlimit");
    command.args(["--fsize=700", "--core=0"]).arg(actor::program()).arg(&path);
    let status = command.args(["backup", source.to_str().unwrap()]).env("ACTOR_CACHE", &cache);
    let status = status.stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(rustix::process::Signal::XFSZ.as_raw()));
    let (whole, parts) = copies(&cache);
    assert_eq!((unlike_their_names(&whole), parts), (0, 1), "{whole:?}");
    backup_again(&opened(&path, Some(&cache)).0, &source);
    let (whole, parts) = copies(&cache);
    assert!(whole.len() > 2 && parts == 1, "{whole:?}");
}

/// Processes of their own share a folder of copies; each round one of them dies at some moment, and
/// in some rounds the folder with it.
#[test]
fn processes_share_copies_and_may_be_killed() {
    const ROUNDS: u64 = 30;
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let (path, cache, out) = (at("repo"), at("cache"), at("out"));
    let sources = [at("one"), at("two")];
    sources.iter().for_each(|source| make_source(source));
    drop(init_at(&path));
    let start = |words: &[&str]| {
        let mut command = actor(&path, words);
        command.env("ACTOR_CACHE", &cache).env("ACTOR_WAIT", "60");
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let texts = sources.each_ref().map(|source| source.to_str().unwrap());
    let mut killed = 0;
    for round in 0..ROUNDS {
        for (n, source) in sources.iter().enumerate() {
            fs::write(source.join("d7/changing"), format!("{n} {round}")).unwrap();
        }
        let other: &[&str] = match round % 3 {
            0 => &["restore", out.to_str().unwrap()],
            1 => &["check"],
            _ => &["backup", texts[1]],
        };
        let (mut one, two) = (start(&["backup", texts[0]]), start(other));
        // Some ten milliseconds are a life here; which moment does not matter, but they differ.
        let moment = Duration::from_micros(round.wrapping_mul(7_919) % 40_000);
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(moment);
        one.kill().unwrap();
        killed += u64::from(one.wait().unwrap().code().is_none());
        let output = two.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{other:?} in round {round}: {said}");
        let (whole, _) = if cache.exists() { copies(&cache) } else { Default::default() };
        assert_eq!(unlike_their_names(&whole), 0, "in round {round}");
        if round % 10 == 9 {
            drop(fs::remove_dir_all(&cache));
        }
    }
    assert!(killed > ROUNDS / 4, "{killed} processes lived long enough to be killed");
    // A process that was killed between its index and its snapshot has stored trees that the first
    // backup needs neither to write nor to read, so only the second one fetches them.
    for _ in 0..2 {
        backup_again(&opened(&path, Some(&cache)).0, &sources[0]);
    }
    let (repository, counts) = opened(&path, Some(&cache));
    counts.lock().unwrap().clear();
    backup_again(&repository, &sources[0]);
    assert_eq!(loads(&counts).get("data"), None, "the copies are of use all the same");
    repository.unlock(false).unwrap();
    restic(&path, &["check", "--read-data"]);
}

#[test]
fn a_cache_that_is_spoiled_full_or_forbidden_costs_nothing() {
    let Places { tmp, source, path, cache } = places();
    let spoil = |cache: &Path| {
        let out = std::process::Command::new("find").arg(cache).args(["-type", "f"]).output();
        let files = String::from_utf8(out.unwrap().stdout).unwrap();
        for (n, file) in files.lines().filter(|file| !file.ends_with(".TAG")).enumerate() {
            let whole = fs::read(file).unwrap();
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 1;
            let (half, twice) = (whole[..whole.len() / 2].to_vec(), whole.repeat(2));
            let spoiled = &[half, flipped, Vec::new(), twice][n % 4];
            fs::write(file, spoiled).unwrap();
        }
        files.lines().count()
    };
    for round in 0..4 {
        fs::write(source.join("d7/changing"), format!("{round}")).unwrap();
        backup_again(&opened(&path, Some(&cache)).0, &source);
        assert!(spoil(&cache) > 3);
        let (repository, _) = opened(&path, Some(&cache));
        assert_eq!(repository.snapshots().unwrap().len(), round + 1);
    }
    // A disk that fills up under the copies, and a place where nothing can be made.
    let small = Small::mount(tmp.path().join("small"), "64k");
    for place in [small.0.join("cache"), "/proc/cache".into()] {
        for round in 4..7 {
            fs::write(source.join("d7/changing"), format!("{round} {}", place.display())).unwrap();
            backup_again(&opened(&path, Some(&place)).0, &source);
        }
        assert!(opened(&path, Some(&place)).0.snapshots().unwrap().len() > 6);
    }
    restic(&path, &["check", "--read-data"]);
}
