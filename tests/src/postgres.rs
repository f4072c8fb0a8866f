//! A throwaway PostgreSQL cluster: real programs, a folder of its own, gone when dropped.

use crate::ledger;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// PostgreSQL refuses to run as root; Debian's package brings this user.
const SYSTEM_USER: &str = "postgres";
/// The superuser inside the cluster.
const SUPERUSER: &str = "postgres";
/// Names the socket file only: without an address to listen on, no two clusters can meet.
const PORT: u16 = 5432;
/// A start replays at most what a test wrote; a machine under load takes seconds for it.
const START_S_MAX: u64 = 60;
/// A fast shutdown writes one checkpoint.
const STOP_S_MAX: u64 = 30;
const POLL: Duration = Duration::from_millis(20);

/// A running cluster with its socket in a folder of its own. It listens on no network address
/// unless a setting says so, and lets anyone in who reaches the socket.
pub struct Cluster {
    programs: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    server: Option<Child>,
}

impl Cluster {
    /// Makes and starts a cluster with the standard settings.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start; the message ends with its log.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Cluster::start`], with `settings` as they stand in `postgresql.conf`.
    ///
    /// # Panics
    ///
    /// As [`Cluster::start`].
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("mainstay-pg-").tempdir().expect("temp folder");
        if geteuid().is_root() {
            run(Command::new("chown").arg(SYSTEM_USER).arg(folder.path()));
        }
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        let mut cluster = Self { programs: programs(), folder, settings, server: None };
        let data = cluster.data_dir();
        // Durability against power loss is not what a throwaway is for; --no-sync is 2 s faster.
        run(cluster
            .as_system_user("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--username={SUPERUSER}"))
            .arg("--pgdata")
            .arg(data));
        cluster.resume();
        ledger("PostgreSQL", &cluster.query(SUPERUSER, "show server_version"));
        cluster
    }

    /// Starts the server again after [`Cluster::stop`] or [`Cluster::crash`].
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn resume(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("log");
        let mut command = self.as_system_user("postgres");
        command.arg("-D").arg(self.data_dir()).arg("-k").arg(self.socket_dir());
        command.args(["-p", &PORT.to_string(), "-c", "listen_addresses=", "-c", "fsync=off"]);
        for (name, value) in &self.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        let errors = log.try_clone().expect("a second handle of the log");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.server = Some(command.spawn().expect("setpriv or postgres starts"));
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(START_S_MAX);
        loop {
            let mut probe = self.client("pg_isready");
            if probe.stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
                return;
            }
            let ended = self.server.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let late = Instant::now() > deadline;
            assert!(ended.is_none() && !late, "PostgreSQL did not start:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Runs `sql` in `database` and returns what `psql` prints: rows as lines, columns by `|`.
    ///
    /// # Panics
    ///
    /// When `psql` fails; the message is what it said.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        run(&mut psql).trim_end().to_owned()
    }

    /// One of PostgreSQL's own client programs, told by its environment how to reach the cluster.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", self.socket_dir()).env("PGPORT", PORT.to_string());
        command.env("PGUSER", SUPERUSER).env_remove("PGDATABASE").env_remove("PGPASSWORD");
        command
    }

    /// The folder that holds the socket: the value for `host` in a connection string.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The port in the socket's name, and on each address that the settings make it listen on.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// The folder of the cluster's files.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the server's and the client's programs.
    pub fn programs_dir(&self) -> &Path {
        &self.programs
    }

    /// The server's process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Stops the server as an operator would: sessions are cut, data is complete.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops the server as a crash would: no checkpoint, the next start replays the log.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Sends `signal`, waits, and sends SIGKILL to a server that does not heed it.
    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let pid = Pid::from_child(&server);
        let deadline = Instant::now() + Duration::from_secs(STOP_S_MAX);
        // An error means that it has ended by itself, which `try_wait` then sees.
        let _ = kill_process(pid, signal);
        while matches!(server.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = server.kill();
            }
            std::thread::sleep(POLL);
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// A program of the server, run by the system's user for it when the tests run as root.
    /// `setpriv` becomes the program instead of starting it, so that the child is the server.
    fn as_system_user(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        // The caller's folder may be closed to that user.
        command.current_dir(self.folder.path()).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}

/// The folder of PostgreSQL's programs: `MAINSTAY_TEST_PG_BIN` if set, else the newest of Debian's.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("MAINSTAY_TEST_PG_BIN") {
        return folder.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |folder: std::fs::DirEntry| folder.file_name().to_str()?.parse::<u32>().ok();
    let with_server = |version: &u32| debian_folder(*version).join("initdb").exists();
    let newest = versions.filter_map(number).filter(with_server).max();
    debian_folder(newest.expect("PostgreSQL is needed by this test; tests/run installs it"))
}

fn debian_folder(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

/// Runs to the end and returns standard output; a failure panics with all that was said.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{said}", done.status);
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Cluster;

    #[test]
    fn a_cluster_keeps_its_data_over_stop_and_crash_and_is_gone_when_dropped() {
        let mut cluster = Cluster::start();
        cluster.query("postgres", "create table t as select generate_series(1, 1000) as n");
        cluster.stop();
        assert!(cluster.pid().is_none());
        cluster.resume();
        cluster.query("postgres", "insert into t values (1001)");
        cluster.crash();
        cluster.resume();
        assert_eq!(cluster.query("postgres", "select count(*), max(n) from t"), "1001|1001");
        assert!(cluster.log().contains("recovery"), "the crash was one");

        let folder = cluster.socket_dir().to_owned();
        let pid = cluster.pid().expect("it runs");
        drop(cluster);
        assert!(!folder.exists());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn two_clusters_run_side_by_side_and_take_settings() {
        let one = Cluster::start_with(&[("application_name", "one")]);
        let two = Cluster::start_with(&[("max_connections", "17")]);
        let system = "select system_identifier from pg_control_system()";
        assert_ne!(one.query("postgres", system), two.query("postgres", system));
        assert_eq!(two.query("postgres", "show max_connections"), "17");
    }
}
