//! The type `postgres` on a real server that the test starts: PostgreSQL 15 or later must be
//! installed (Debian: postgresql-15).
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mainstay_adapters::agents::Fleet;
use model::cancel::Cancel;
use model::desired::Hooks;
use model::error::{ErrorClass, PortError};
use model::observed::Observation;
use model::ports::Boxed;
use model::ports::agents::{Agents as _, Beside};
use model::receipt::Marker;
use support::{fleet, read, render, resource, streams, write};
use tempfile::TempDir;
use testkit::conformance::agents::{Subject, conformance};

/// Where the data stands among the streams.
const DUMP: usize = 1;

const PASSWORD: &str = "p@ss 'word' \\ ü";

/// A server of the test's own, reached through a socket in its folder.
struct Server {
    temp: TempDir,
    bin: PathBuf,
}

fn programs() -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|found| found.map(|e| e.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    versions.retain(|bin: &PathBuf| bin.join("initdb").exists());
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed: apt-get install postgresql-15")
}

/// Runs a command as the user `postgres`, because a server refuses to run as root.
fn as_postgres(program: &Path, args: &[&str]) {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    let output = command.args(args).current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", program.display());
}

impl Server {
    fn start() -> Self {
        let (temp, bin) = (tempfile::tempdir().unwrap(), programs());
        let home = temp.path().join("pg");
        fs::create_dir(&home).unwrap();
        let word = home.join("password");
        fs::write(&word, PASSWORD).unwrap();
        if rustix::process::geteuid().is_root() {
            let given = Command::new("chown").args(["-R", "postgres"]).arg(&home).status().unwrap();
            assert!(given.success());
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let server = Self { temp, bin };
        let (data, word) = (server.data(), format!("--pwfile={}", word.display()));
        let auth = "--auth=scram-sha-256";
        let encoding = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"];
        as_postgres(
            &server.bin.join("initdb"),
            &[&["-D", &data, "-U", "postgres", auth, &word], &encoding[..]].concat(),
        );
        server.up();
        server
    }

    fn data(&self) -> String {
        self.temp.path().join("pg/data").display().to_string()
    }

    fn socket(&self) -> String {
        self.temp.path().join("pg").display().to_string()
    }

    fn up(&self) {
        let log = self.temp.path().join("pg/log").display().to_string();
        let options = format!("-k {} -c listen_addresses='' -c fsync=off", self.socket());
        let args = ["start", "-w", "-D", &self.data(), "-l", &log, "-o", &options];
        as_postgres(&self.bin.join("pg_ctl"), &args);
    }

    fn down(&self) {
        as_postgres(&self.bin.join("pg_ctl"), &["stop", "-D", &self.data(), "-m", "immediate"]);
    }

    /// Runs SQL in a database; returns what it printed.
    fn sql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-c", sql])
            .env("PGHOST", self.socket())
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database)
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn agent(&self, database: &str, more: serde_json::Value) -> model::agent::Agent {
        let mut with = serde_json::json!({
            "database": database,
            "host": self.socket(),
            "user": "postgres",
            "password": { "secret": "pg" },
        });
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        render("postgres", &with.to_string())
    }

    fn fleet(&self) -> Fleet {
        fleet(&self.temp.path().join("scratch"), &[("pg", PASSWORD)])
    }

    async fn probe(&self, database: &str) -> Observation {
        let resource = resource(self.agent(database, serde_json::json!({})));
        self.fleet().probe(&resource, &Cancel::default()).await
    }

    async fn backup(&self, database: &str) -> Result<(Marker, Vec<Vec<u8>>), PortError> {
        let (resource, cancel) =
            (resource(self.agent(database, serde_json::json!({}))), Cancel::default());
        let mut opened = self.fleet().open(&resource, &Hooks::default(), &cancel).await?;
        let all = streams(&mut opened).into_iter().map(read).collect();
        opened.close.close(false).await?;
        Ok((opened.marker, all))
    }

    fn make(&self, database: &str, what: &str) {
        let name = database.replace('"', "\"\"");
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"));
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.sql(
            database,
            &format!(
                "CREATE SCHEMA \"Odd \"\"schema\";
                 CREATE TABLE \"Odd \"\"schema\".\"t'1\" (a int);
                 INSERT INTO \"Odd \"\"schema\".\"t'1\" SELECT generate_series(1, 1000);
                 CREATE TABLE what (what text); INSERT INTO what VALUES ('{what}')"
            ),
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = ["stop", "-D", &self.data(), "-m", "immediate"];
        let _ = std::panic::catch_unwind(|| as_postgres(&self.bin.join("pg_ctl"), &stop));
    }
}

fn reason(observation: &Observation) -> &str {
    match observation {
        Observation::Unknown { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_probe_and_a_backup_tell_what_is_there_and_what_is_wrong() {
    let server = Server::start();
    assert!(matches!(server.probe("shop").await, Observation::Absent { .. }));
    assert_eq!(server.backup("shop").await.unwrap_err().reason, "DatabaseNotFound");
    server.make("shop", "x");
    let Observation::Known { marker, bytes, entries, damaged: None, .. } =
        server.probe("shop").await
    else {
        panic!("not known")
    };
    assert!(marker.identity.as_ref().unwrap().ends_with("/shop"));
    assert!(marker.counters["lsn"] > 0 && marker.counters["timeline"] == 1);
    assert_eq!(marker.counts["rows:Odd \"schema.t'1"], 1000);
    assert!(bytes.unwrap() > 1_000_000 && entries == Some(2));

    let (taken, streams) = server.backup("shop").await.unwrap();
    assert_eq!(taken.counts, marker.counts);
    assert_eq!(taken.identity, marker.identity);
    assert!(taken.counters["lsn"] >= marker.counters["lsn"]);
    let text = |n: usize| String::from_utf8_lossy(&streams[n]).into_owned();
    assert!(text(0).contains("CREATE DATABASE :\"db\" TEMPLATE template0 ENCODING 'UTF8'"));
    assert!(streams[DUMP].starts_with(b"PGDMP"));
    assert_eq!(text(2), "ALTER DATABASE :\"db\" OWNER TO postgres;\n");
    assert!(text(3).contains("CREATE ROLE postgres"));

    let wrong = fleet(&server.temp.path().join("scratch"), &[("pg", "guess-me-not")]);
    let agent = resource(server.agent("shop", serde_json::json!({})));
    let seen = wrong.probe(&agent, &Cancel::default()).await;
    assert_eq!(reason(&seen), "WrongPassword");
    assert!(!format!("{seen:?}").contains("guess-me-not"));
    server.sql("postgres", "CREATE ROLE weak LOGIN PASSWORD 'weak'");
    let weak = resource(server.agent("shop", serde_json::json!({ "user": "weak" })));
    let poor = fleet(&server.temp.path().join("scratch"), &[("pg", "weak")]);
    assert_eq!(reason(&poor.probe(&weak, &Cancel::default()).await), "MissingRights");
    server.down();
    assert_eq!(reason(&server.probe("shop").await), "ServerDown");
    let error = server.backup("shop").await.unwrap_err();
    assert_eq!((error.class, error.reason), (ErrorClass::Transient, "ServerDown"));
    server.up();
}

#[tokio::test]
async fn a_backup_holds_one_moment_and_a_server_that_dies_fails_it() {
    let server = Server::start();
    server.make("shop", "x");
    let (agent, cancel) =
        (resource(server.agent("shop", serde_json::json!({}))), Cancel::default());
    let hooks = Hooks::default();
    let mut opened = server.fleet().open(&agent, &hooks, &cancel).await.unwrap();
    server.sql("shop", "DELETE FROM \"Odd \"\"schema\".\"t'1\"");
    let dump = read(streams(&mut opened).remove(DUMP));
    opened.close.close(false).await.unwrap();
    let text = String::from_utf8_lossy(&dump);
    assert!(text.contains("1000\n"), "rows that were deleted after the snapshot are in");

    let mut opened = server.fleet().open(&agent, &hooks, &cancel).await.unwrap();
    let mut stream = streams(&mut opened).remove(DUMP);
    server.down();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count) = stream.source.read(&mut buffer) {
        if count == 0 {
            break;
        }
    }
    assert_eq!(stream.source.finish().unwrap_err().reason, "ServerDown");
    let _ = opened.close.close(true).await;
    server.up();
}

/// A database whose one row says what it is.
struct Database<'a> {
    server: &'a Server,
    name: &'static str,
    restored: Mutex<Vec<u8>>,
}

impl Database<'_> {
    fn exists(&self) -> bool {
        let name = self.name.replace('\'', "''");
        let query = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        self.server.sql("postgres", &query) == "1"
    }
}

impl Subject for Database<'_> {
    fn agent(&self) -> model::agent::Agent {
        self.server.agent(self.name, serde_json::json!({}))
    }
    fn reset(&self) -> Boxed<'_, ()> {
        self.server.make(self.name, "original");
        Box::pin(std::future::ready(()))
    }
    fn lose(&self) -> Boxed<'_, ()> {
        let name = self.name.replace('"', "\"\"");
        self.server.sql("postgres", &format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
        Box::pin(std::future::ready(()))
    }
    fn load(&self, beside: Beside) -> Boxed<'_, ()> {
        let Beside::Streams(mut sinks) = beside else { panic!("streams") };
        write(sinks.remove(DUMP).sink, &self.restored.lock().unwrap());
        Box::pin(std::future::ready(()))
    }
    fn read(&self) -> Boxed<'_, Option<String>> {
        let what = || self.server.sql(self.name, "SELECT what FROM what");
        Box::pin(std::future::ready(self.exists().then(what)))
    }
}

#[tokio::test]
async fn recoveries_of_databases_conform() {
    let server = Server::start();
    for name in ["shop", "Odd \"name' $(x) ü"] {
        server.make(name, "restored");
        let (taken, mut streams) = server.backup(name).await.unwrap();
        let restored = Mutex::new(streams.remove(DUMP));
        let subject = Database { server: &server, name, restored };
        conformance(&|| Box::new(server.fleet()), &subject).await;
        let Observation::Known { marker, .. } = server.probe(name).await else { panic!() };
        assert_eq!(marker.counts, taken.counts, "what came back counts as what was stored");
        assert_eq!(marker.identity, taken.identity);
        let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%mainstay%'";
        assert_eq!(server.sql("postgres", left), "0");
    }
}
