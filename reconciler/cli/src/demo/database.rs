//! The demo's SQLite database: orders whose content follows from their number, so that any row can
//! be proven, and a writer that goes on while backups run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::CliError;

/// Rows before the first backup.
const ROWS_FIRST: i64 = 20_000;
/// Time between two orders of the writer.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a busy database is waited for.
const BUSY: Duration = Duration::from_secs(20);

fn lift(error: rusqlite::Error) -> CliError {
    CliError::new(format!("the demo's database: {error}"))
}

fn open(path: &Path) -> Result<Connection, CliError> {
    let connection = Connection::open(path).map_err(lift)?;
    connection.busy_timeout(BUSY).map_err(lift)?;
    Ok(connection)
}

fn customer(id: i64) -> String {
    format!("customer {:04} of street {}", id * 7919 % 5000, id * 31 % 977)
}

fn cents(id: i64) -> i64 {
    id * 137 % 100_000
}

fn insert(connection: &Connection, id: i64) -> rusqlite::Result<usize> {
    connection
        .execute("INSERT INTO orders (customer, cents) VALUES (?1, ?2)", (customer(id), cents(id)))
}

/// Makes the database.
pub fn make(path: &Path) -> Result<(), CliError> {
    let mut connection = open(path)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE orders (
                 id INTEGER PRIMARY KEY AUTOINCREMENT,
                 customer TEXT NOT NULL,
                 cents INTEGER NOT NULL);
             CREATE INDEX orders_customer ON orders (customer);",
        )
        .map_err(lift)?;
    let transaction = connection.transaction().map_err(lift)?;
    for id in 1..=ROWS_FIRST {
        insert(&transaction, id).map_err(lift)?;
    }
    transaction.commit().map_err(lift)
}

/// Writes orders until it is dropped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    newest: Arc<AtomicI64>,
    thread: Option<JoinHandle<rusqlite::Result<()>>>,
}

impl Writer {
    /// Starts writing.
    pub fn start(path: &Path) -> Result<Self, CliError> {
        let stop = Arc::new(AtomicBool::new(false));
        let newest = Arc::new(AtomicI64::new(count(path)?));
        let (flag, shown, path) = (stop.clone(), newest.clone(), path.to_owned());
        let thread = std::thread::spawn(move || write(&path, &flag, &shown));
        Ok(Self { stop, newest, thread: Some(thread) })
    }

    /// Waits until so many more orders were written.
    pub fn wait_for_more(&self, rows: i64) -> Result<(), CliError> {
        let goal = self.newest.load(Ordering::Relaxed) + rows;
        while self.newest.load(Ordering::Relaxed) < goal {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(CliError::new("the demo's writer ended early"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn write(path: &PathBuf, stop: &AtomicBool, newest: &AtomicI64) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    while !stop.load(Ordering::Relaxed) {
        let next = newest.load(Ordering::Relaxed) + 1;
        insert(&connection, next)?;
        newest.store(next, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Returns how many orders there are.
pub fn count(path: &Path) -> Result<i64, CliError> {
    open(path)?.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).map_err(lift)
}

/// Copies the database as it is at one instant.
pub fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    let to = to.display().to_string();
    open(from)?.execute("VACUUM INTO ?1", [to]).map(drop).map_err(lift)
}

/// Puts an old copy in the place of the database, as a restored machine image would.
pub fn put_back_in_time(old: &Path, live: &Path) -> Result<(), CliError> {
    for suffix in ["-wal", "-shm"] {
        let mut name = live.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    std::fs::copy(old, live)?;
    Ok(())
}

/// Proves that every order up to some number is there, with its content, and no other.
pub fn prove(path: &Path, at_least: i64) -> Result<String, CliError> {
    let connection = open(path)?;
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(lift)?;
    if verdict != "ok" {
        return Err(CliError::new(format!("the database is damaged: {verdict}")));
    }
    let mut statement =
        connection.prepare("SELECT id, customer, cents FROM orders ORDER BY id").map_err(lift)?;
    let mut rows = statement.query([]).map_err(lift)?;
    let mut newest = 0;
    while let Some(row) = rows.next().map_err(lift)? {
        let (id, who, what): (i64, String, i64) =
            (row.get(0).map_err(lift)?, row.get(1).map_err(lift)?, row.get(2).map_err(lift)?);
        newest += 1;
        if id != newest || who != customer(id) || what != cents(id) {
            return Err(CliError::new(format!("order {newest} did not come back as it was")));
        }
    }
    if newest < at_least {
        return Err(CliError::new(format!("{newest} orders came back, {at_least} were due")));
    }
    Ok(format!("{newest} orders, each compared; {at_least} were there before the backup began"))
}
