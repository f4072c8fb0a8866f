//! The type `sqlite` on real databases: probes, copies of one in use, and the suite of recoveries.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::cancel::Cancel;
use model::desired::Hooks;
use model::observed::Observation;
use model::ports::Boxed;
use model::ports::agents::{Agents as _, Beside};
use model::receipt::Marker;
use rusqlite::Connection;
use support::{fleet, read, render, resource, streams, write};
use tempfile::TempDir;
use testkit::conformance::agents::{Subject, conformance};

struct World {
    temp: TempDir,
    path: PathBuf,
}

impl World {
    fn new(name: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data").join(name);
        fs::create_dir(temp.path().join("data")).unwrap();
        Self { temp, path }
    }

    fn agent(&self) -> model::agent::Agent {
        render("sqlite", &serde_json::json!({ "path": self.path }).to_string())
    }

    fn scratch(&self) -> PathBuf {
        self.temp.path().join("scratch")
    }

    async fn probe(&self) -> Observation {
        let resource = resource(self.agent());
        fleet(&self.scratch(), &[]).probe(&resource, &Cancel::default()).await
    }

    async fn marker(&self) -> Marker {
        match self.probe().await {
            Observation::Known { marker, damaged: None, .. } => marker,
            other => panic!("{other:?}"),
        }
    }

    /// Backs it up: the marker and the bytes of its stream.
    async fn backup(&self) -> (Marker, Vec<u8>) {
        let (resource, cancel) = (resource(self.agent()), Cancel::default());
        let mut opened =
            fleet(&self.scratch(), &[]).open(&resource, &Hooks::default(), &cancel).await.unwrap();
        let mut streams = streams(&mut opened);
        assert_eq!(streams[0].name, "database.sqlite");
        let bytes = read(streams.remove(0));
        opened.close.close(false).await.unwrap();
        (opened.marker, bytes)
    }
}

fn make(path: &Path, journal: &str, what: &str) {
    let database = Connection::open(path).unwrap();
    database
        .execute_batch(&format!(
            "PRAGMA journal_mode = {journal};
             CREATE TABLE content (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
             CREATE TABLE \"odd \"\" name\" (a, b, PRIMARY KEY (a)) WITHOUT ROWID;
             CREATE INDEX by_what ON content (what);
             CREATE VIRTUAL TABLE search USING fts5(words);
             INSERT INTO search VALUES ('some words');
             INSERT INTO \"odd \"\" name\" VALUES (1, x'00ff'), (2, 1.5), (3, NULL);"
        ))
        .unwrap();
    for n in 0..200 {
        database.execute("INSERT INTO content (what) VALUES (?1)", [format!("{n}")]).unwrap();
    }
    database.execute("INSERT INTO content (what) VALUES (?1)", [what]).unwrap();
}

fn last(path: &Path) -> Option<String> {
    path.exists().then(|| {
        let database = Connection::open(path).unwrap();
        let query = "SELECT what FROM content ORDER BY id DESC LIMIT 1";
        database.query_row(query, [], |row| row.get(0)).unwrap()
    })
}

#[tokio::test]
async fn a_probe_tells_what_is_there() {
    let world = World::new("a.db");
    assert!(matches!(world.probe().await, Observation::Absent { .. }));
    fs::write(&world.path, "this is no database at all, but long enough for a header").unwrap();
    assert!(matches!(world.probe().await, Observation::Known { damaged: Some(_), .. }));
    fs::remove_file(&world.path).unwrap();
    make(&world.path, "delete", "x");
    let marker = world.marker().await;
    assert_eq!(marker.identity, None);
    assert_eq!(marker.counters["sequence:content"], 201);
    assert!(marker.counters.contains_key("changes"));
    assert_eq!(marker.counts["rows:content"], 201);
    assert_eq!(marker.counts["rows:odd \" name"], 3);
    let mut bytes = fs::read(&world.path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0x55);
    fs::write(&world.path, bytes).unwrap();
    assert!(matches!(world.probe().await, Observation::Known { damaged: Some(_), .. }));
}

#[tokio::test]
async fn the_digest_follows_the_content_and_nothing_else() {
    let world = World::new("a.db");
    make(&world.path, "wal", "x");
    let first = world.marker().await;
    assert!(!first.counters.contains_key("changes"), "no position in WAL mode");
    let database = Connection::open(&world.path).unwrap();
    database.execute_batch("VACUUM; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    assert_eq!(world.marker().await.digest, first.digest, "pages moved, content did not");
    database.execute_batch("UPDATE content SET what = 'y' WHERE id = 7").unwrap();
    assert_ne!(world.marker().await.digest, first.digest);
    database.execute_batch("UPDATE content SET what = '6' WHERE id = 7").unwrap();
    assert_eq!(world.marker().await.digest, first.digest, "the same content again");
}

#[tokio::test]
async fn a_copy_is_whole_while_a_writer_is_at_work() {
    for journal in ["wal", "delete"] {
        let world = World::new("a.db");
        make(&world.path, journal, "x");
        let (path, stop) = (world.path.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut database = Connection::open(path).unwrap();
            database.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let both = database.transaction().unwrap();
                both.execute("INSERT INTO content (what) VALUES ('pair')", []).unwrap();
                both.execute("INSERT INTO content (what) VALUES ('pair')", []).unwrap();
                both.commit().unwrap();
            }
        });
        let (marker, bytes) = world.backup().await;
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let copy = world.temp.path().join("copy.db");
        fs::write(&copy, &bytes).unwrap();
        let database = Connection::open(&copy).unwrap();
        let rows: u64 =
            database.query_row("SELECT count(*) FROM content", [], |row| row.get(0)).unwrap();
        assert_eq!(rows % 2, 1, "no half of a transaction");
        assert_eq!(marker.counts["rows:content"], rows, "the facts are those of the copy");
        let after = world.marker().await;
        assert!(after.counters["sequence:content"] >= marker.counters["sequence:content"]);
        if let Some(changes) = marker.counters.get("changes") {
            assert!(after.counters["changes"] >= *changes);
        }
        assert_eq!(fs::read_dir(world.scratch()).unwrap().count(), 0, "no copy stays");
    }
}

#[tokio::test]
async fn an_unchanged_database_has_the_marker_of_its_backup() {
    for journal in ["wal", "delete"] {
        let world = World::new("a.db");
        make(&world.path, journal, "x");
        let (marker, _) = world.backup().await;
        assert_eq!(world.marker().await, marker, "{journal}");
    }
}

/// A database whose last row says what it is.
struct Database {
    world: World,
    journal: &'static str,
    restored: Vec<u8>,
}

impl Database {
    async fn new(name: &str, journal: &'static str) -> Self {
        let other = World::new("other.db");
        make(&other.path, journal, "restored");
        let (_, restored) = other.backup().await;
        Self { world: World::new(name), journal, restored }
    }
}

impl Subject for Database {
    fn agent(&self) -> model::agent::Agent {
        self.world.agent()
    }
    fn reset(&self) -> Boxed<'_, ()> {
        let folder = self.world.path.parent().unwrap();
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).unwrap();
        make(&self.world.path, self.journal, "original");
        Box::pin(std::future::ready(()))
    }
    fn lose(&self) -> Boxed<'_, ()> {
        fs::remove_dir_all(self.world.path.parent().unwrap()).unwrap();
        Box::pin(std::future::ready(()))
    }
    fn load(&self, beside: Beside) -> Boxed<'_, ()> {
        let Beside::Streams(mut sinks) = beside else { panic!("streams") };
        write(sinks.remove(0).sink, &self.restored);
        Box::pin(std::future::ready(()))
    }
    fn read(&self) -> Boxed<'_, Option<String>> {
        Box::pin(std::future::ready(last(&self.world.path)))
    }
}

#[tokio::test]
async fn recoveries_of_databases_conform() {
    for (name, journal) in [("plain.db", "wal"), ("-odd '$(x) \" ü.db", "delete")] {
        let subject = Database::new(name, journal).await;
        let scratch = subject.world.scratch();
        conformance(&|| Box::new(fleet(&scratch, &[])), &subject).await;
        let folder = subject.world.path.parent().unwrap();
        let left: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().contains("mainstay"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Restores `bytes` beside a database and swaps it in.
async fn bring_back(world: &World, bytes: &[u8], token: &str) -> (Marker, Option<String>) {
    let (fleet, agent) = (fleet(&world.scratch(), &[]), world.agent());
    let (target, cancel) = ("host/here".parse().unwrap(), Cancel::default());
    let beside = fleet.prepare(&target, &agent, token, &cancel).await.unwrap();
    let Beside::Streams(mut sinks) = beside else { panic!("streams") };
    write(sinks.remove(0).sink, bytes);
    let marker = fleet.inspect(&target, &agent, token, &cancel).await.unwrap();
    (marker, fleet.swap(&target, &agent, token, &cancel).await.unwrap())
}

#[tokio::test]
async fn a_program_that_has_it_open_sees_the_restored_rows() {
    for journal in ["wal", "delete"] {
        let world = World::new("a.db");
        make(&world.path, journal, "good");
        let (taken, bytes) = world.backup().await;
        let open = Connection::open(&world.path).unwrap();
        open.execute("INSERT INTO content (what) VALUES ('bad')", []).unwrap();
        let (marker, kept) = bring_back(&world, &bytes, "t").await;
        assert_eq!((marker.digest, marker.counts), (taken.digest, taken.counts));
        let seen: String = open
            .query_row("SELECT what FROM content ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seen, "good", "{journal}");
        assert_eq!(last(Path::new(&kept.unwrap())).as_deref(), Some("bad"));
    }
}

#[tokio::test]
async fn a_damaged_database_is_replaced_with_its_stale_log() {
    let world = World::new("a.db");
    make(&world.path, "wal", "good");
    let (_, bytes) = world.backup().await;
    fs::write(&world.path, vec![0x55; 20_000]).unwrap();
    let log = world.path.with_file_name("a.db-wal");
    fs::write(&log, "stale").unwrap();
    let (_, kept) = bring_back(&world, &bytes, "t").await;
    assert_eq!(last(&world.path).as_deref(), Some("good"));
    let kept = kept.unwrap();
    assert_eq!(fs::read(&kept).unwrap(), vec![0x55; 20_000]);
    assert_eq!(fs::read(format!("{kept}-wal")).unwrap(), b"stale");
}

#[tokio::test]
async fn a_locked_database_waits() {
    let world = World::new("a.db");
    make(&world.path, "delete", "good");
    let (_, bytes) = world.backup().await;
    let (fleet, agent) = (fleet(&world.scratch(), &[]), world.agent());
    let (target, cancel) = ("host/here".parse().unwrap(), Cancel::default());
    let beside = fleet.prepare(&target, &agent, "t", &cancel).await.unwrap();
    let Beside::Streams(mut sinks) = beside else { panic!("streams") };
    write(sinks.remove(0).sink, &bytes);
    let open = Connection::open(&world.path).unwrap();
    open.execute_batch("BEGIN IMMEDIATE; INSERT INTO content (what) VALUES ('mine')").unwrap();
    let error = fleet.swap(&target, &agent, "t", &cancel).await.unwrap_err();
    assert_eq!(error.class, model::error::ErrorClass::Waiting, "{}", error.chain());
    open.execute_batch("COMMIT").unwrap();
    fleet.swap(&target, &agent, "t", &cancel).await.unwrap();
    assert_eq!(last(&world.path).as_deref(), Some("good"));
}
