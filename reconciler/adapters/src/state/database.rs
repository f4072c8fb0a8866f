//! The SQLite file of a state: small records and the epoch. Called by the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::error::PortError;
use model::ports::state::Change;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};

/// Version of the tables, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 1;

/// How long another process of ours may hold the file: its transactions are a few rows.
const BUSY: Duration = Duration::from_secs(10);

/// Why a database could not be opened.
pub(super) enum Unopened {
    /// Its bytes are damaged: it can be replaced by a fresh one.
    Damaged(String),
    /// Anything else.
    Failed(PortError),
}

/// An open database.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, makes it if it is not there, and checks it.
    pub(super) fn open(path: &Path) -> Result<Self, Unopened> {
        let sort = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Unopened::Damaged(error.to_string())
            }
            _ => Unopened::Failed(failed(path, error)),
        };
        let connection = Connection::open(path).map_err(sort)?;
        connection.busy_timeout(BUSY).map_err(sort)?;
        let version = prepare(&connection).map_err(sort)?;
        if version > SCHEMA_VERSION {
            return Err(Unopened::Failed(
                PortError::terminal(
                    "StateNewer",
                    format!("{} was written by a newer version", path.display()),
                )
                .with_hint("use that version, or move the state away: it is rebuilt"),
            ));
        }
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sort)?;
        if verdict != "ok" {
            return Err(Unopened::Damaged(verdict));
        }
        Ok(Self { connection, path: path.to_owned() })
    }

    pub(super) fn list(&self, kind: &str) -> Result<BTreeMap<String, Vec<u8>>, PortError> {
        let all = || -> rusqlite::Result<_> {
            let mut query = self
                .connection
                .prepare_cached("SELECT key, value FROM records WHERE kind = ?1 ORDER BY key")?;
            query.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        all().map_err(|e| failed(&self.path, e))
    }

    pub(super) fn write(&mut self, changes: &[Change]) -> Result<(), PortError> {
        let mut all = || -> rusqlite::Result<()> {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for change in changes {
                match &change.value {
                    Some(value) => transaction.execute(
                        "INSERT INTO records (kind, key, value) VALUES (?1, ?2, ?3)
                         ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                        params![change.kind, change.key, value],
                    )?,
                    None => transaction.execute(
                        "DELETE FROM records WHERE kind = ?1 AND key = ?2",
                        params![change.kind, change.key],
                    )?,
                };
            }
            transaction.commit()
        };
        all().map_err(|e| failed(&self.path, e))
    }

    /// Applies a rule to the epoch; returns what it is then, durably.
    pub(super) fn change_epoch(&mut self, rule: impl Fn(u64) -> u64) -> Result<u64, PortError> {
        let mut all = || -> rusqlite::Result<u64> {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let before: Option<i64> = transaction
                .query_row("SELECT value FROM numbers WHERE name = 'epoch'", [], |row| row.get(0))
                .optional()?;
            // Stored as SQLite's signed integer; an epoch counts starts and never comes near 2^63.
            let after = rule(before.unwrap_or(0).cast_unsigned());
            transaction.execute(
                "INSERT INTO numbers (name, value) VALUES ('epoch', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [after.cast_signed()],
            )?;
            transaction.commit()?;
            Ok(after)
        };
        all().map_err(|e| failed(&self.path, e))
    }
}

/// Sets durability and makes the tables; returns the version that the file had or got.
fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != 0 {
        return Ok(version);
    }
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS records (
             kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key)
         ) WITHOUT ROWID, STRICT;
         CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL)
             WITHOUT ROWID, STRICT;
         PRAGMA user_version = {SCHEMA_VERSION};
         COMMIT;"
    ))?;
    Ok(SCHEMA_VERSION)
}

fn failed(path: &Path, error: rusqlite::Error) -> PortError {
    let message = format!("the state {} cannot be used", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            PortError::transient("DiskFull", message).with_hint("free space there")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PortError::transient("StateBusy", message)
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            PortError::terminal("StateDamaged", message)
                .with_hint("start again: a damaged state is put aside and rebuilt")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            PortError::terminal("StateNotWritable", message)
                .with_hint("check owner and mode of the folder")
        }
        _ => PortError::transient("StateFailed", message),
    }
    .with_source(error)
}
