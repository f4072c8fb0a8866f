//! The demo's PostgreSQL: a throwaway cluster of an installed server, reached by a socket in the
//! demo's folder only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::CliError;

/// Rows before the first backup.
const ROWS_FIRST: u32 = 5000;
/// Rows before the second.
const ROWS_SECOND: u32 = 7000;

/// A running cluster.
pub struct Cluster {
    bin: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    /// What it calls itself.
    pub version: String,
    as_user: Option<&'static str>,
}

impl Cluster {
    /// Starts one in a folder.
    pub fn start(folder: &Path) -> Result<Self, CliError> {
        let bin = find_server()?;
        fs::create_dir(folder)?;
        let root = rustix::process::geteuid().is_root();
        // A server refuses to run as root; Debian's package brings this user.
        let as_user = root.then_some("postgres");
        if root {
            // Socket paths are limited to 107 bytes and every parent must be open to that user.
            let status = Command::new("chown").arg("postgres:").arg(folder).status()?;
            if !status.success() {
                return Err(CliError::new("the folder could not be given to user `postgres`"));
            }
        }
        let socket = PathBuf::from(format!("/tmp/mainstay-demo-{}", std::process::id()));
        let mut cluster =
            Self { data: folder.join("data"), socket, version: String::new(), bin, as_user };
        cluster.bring_up()?;
        Ok(cluster)
    }

    fn bring_up(&mut self) -> Result<(), CliError> {
        fs::create_dir_all(&self.socket)?;
        if self.as_user.is_some() {
            Command::new("chown").arg("postgres:").arg(&self.socket).status()?;
        }
        let data = self.data.display().to_string();
        self.tool("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync"])?;
        let options = format!("-k {} -c listen_addresses='' -c fsync=off", self.socket.display());
        let log = format!("{data}.log");
        self.tool("pg_ctl", &["-D", &data, "-w", "-l", &log, "-o", &options, "start"])?;
        self.sql("postgres", "CREATE DATABASE customers")?;
        self.sql(
            "customers",
            "CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL)",
        )?;
        self.insert(ROWS_FIRST)?;
        let version = self.sql("postgres", "SHOW server_version")?;
        self.version = format!("PostgreSQL {}", version.trim());
        Ok(())
    }

    fn tool(&self, name: &str, words: &[&str]) -> Result<Output, CliError> {
        let program = self.bin.join(name);
        let mut command = match self.as_user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        let output = command.args(words).current_dir("/").stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(CliError::new(format!("{name} ended with {}: {}", output.status, said.trim())))
    }

    fn sql(&self, database: &str, text: &str) -> Result<String, CliError> {
        let socket = self.socket.display().to_string();
        let words = ["-XAtq", "-h", &socket, "-U", "postgres", "-d", database, "-c", text];
        let output = self.tool("psql", &words)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn insert(&self, up_to: u32) -> Result<(), CliError> {
        let text = format!(
            "INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series((SELECT \
             coalesce(max(id), 0) + 1 FROM customers), {up_to}) n"
        );
        self.sql("customers", &text).map(drop)
    }

    /// Adds the database to the policies.
    pub fn write_documents(&self, config: &Path) -> Result<(), CliError> {
        let file = config.join("mainstay.yaml");
        let text = fs::read_to_string(&file)?;
        let resource = format!(
            "    - name: customers\n      type: postgres\n      target: host/here\n      with: {{ \
             database: customers, host: {}, user: postgres }}\n",
            self.socket.display()
        );
        let anchor = "---\napiVersion: mainstay.dev/v1\nkind: Backup";
        if !text.contains(anchor) {
            return Err(CliError::internal("the quickstart has no Backup document"));
        }
        fs::write(file, text.replace(anchor, &format!("{resource}{anchor}")))?;
        Ok(())
    }

    /// Checks that the first rows are there.
    pub fn remember_old(&self) -> Result<(), CliError> {
        let rows = self.sql("customers", "SELECT count(*) FROM customers")?;
        if rows.trim() == ROWS_FIRST.to_string() {
            return Ok(());
        }
        Err(CliError::new("the demo's PostgreSQL database is not as it was made"))
    }

    /// Adds rows.
    pub fn grow(&self) -> Result<(), CliError> {
        self.insert(ROWS_SECOND)
    }

    /// Drops the database.
    pub fn destroy(&self) -> Result<(), CliError> {
        self.sql("postgres", "DROP DATABASE customers").map(drop)
    }

    /// Proves that all rows are back.
    pub fn prove(&self) -> Result<String, CliError> {
        let wrong = self
            .sql("customers", "SELECT count(*) FROM customers WHERE name <> 'customer ' || id")?;
        let rows = self.sql("customers", "SELECT count(*) FROM customers")?;
        if wrong.trim() != "0" || rows.trim() != ROWS_SECOND.to_string() {
            return Err(CliError::new(format!("{} rows came back", rows.trim())));
        }
        Ok(format!("{ROWS_SECOND} rows, each compared"))
    }

    /// Stops the server.
    pub fn stop(self) {
        let data = self.data.display().to_string();
        drop(self.tool("pg_ctl", &["-D", &data, "-m", "fast", "stop"]));
        drop(fs::remove_dir_all(&self.socket));
    }
}

/// Returns the newest installed server's programs.
fn find_server() -> Result<PathBuf, CliError> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").is_file().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin).ok_or_else(|| {
        CliError::new("no PostgreSQL server is installed")
            .hint("on Debian: apt-get install postgresql; or leave --postgres out")
    })
}
