//! `mainstay tool sqlite`: facts of a database, a consistent copy of one in use, and its way back.

mod copy;
mod facts;
mod files;
mod record;
mod recovery;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::error::PortError;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::usage;
use crate::fault;
use files::Files;

/// How long somebody else's lock is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Arguments after the verb.
struct Arguments {
    token: Option<String>,
    scratch: Option<PathBuf>,
    path: Option<PathBuf>,
}

impl Arguments {
    fn parse(args: &[String]) -> Result<Self, PortError> {
        let mut parsed = Self { token: None, scratch: None, path: None };
        let mut rest = args.iter();
        let mut options = true;
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--" if options => options = false,
                "--token" if options => parsed.token = rest.next().cloned(),
                "--scratch" if options => parsed.scratch = rest.next().map(PathBuf::from),
                other if options && other.starts_with('-') => {
                    return Err(usage(&format!("unknown option `{other}`")));
                }
                other if parsed.path.is_none() => parsed.path = Some(PathBuf::from(other)),
                other => return Err(usage(&format!("unexpected argument `{other}`"))),
            }
        }
        Ok(parsed)
    }

    fn path(&self) -> Result<&Path, PortError> {
        match &self.path {
            Some(path) if path.is_absolute() => Ok(path),
            _ => Err(usage("the absolute path of the database is missing")),
        }
    }

    fn scratch(&self) -> Result<&Path, PortError> {
        self.scratch.as_deref().ok_or_else(|| usage("`--scratch DIR` is missing"))
    }

    fn files(&self) -> Result<Files, PortError> {
        let token = self.token.as_deref().ok_or_else(|| usage("`--token T` is missing"))?;
        Files::of(self.path()?, token)
    }
}

/// Runs one verb.
pub(super) fn run(
    args: &[String],
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
) -> Result<(), PortError> {
    let Some((verb, rest)) = args.split_first() else {
        return Err(usage("mainstay tool sqlite VERB …"));
    };
    let args = Arguments::parse(rest)?;
    match verb.as_str() {
        "probe" => answer(stdout, &facts::probe(args.path()?)?),
        "hold" => copy::hold(args.path()?, args.scratch()?, stdin, stdout),
        "cat" => copy::cat(args.scratch()?, stdout),
        "state" => answer(stdout, &recovery::state(&args.files()?)?),
        "prepare" => recovery::prepare(&args.files()?),
        "load" => recovery::load(&args.files()?, stdin),
        "verify" => answer(stdout, &recovery::verify(&args.files()?)?),
        "swap" => answer(stdout, &recovery::swap(&args.files()?)?),
        "commit" => recovery::commit(&args.files()?),
        "rollback" => recovery::rollback(&args.files()?),
        "discard" => recovery::discard(&args.files()?),
        other => Err(usage(&format!("unknown verb `{other}`"))),
    }
}

/// Prints one line of JSON.
fn answer(stdout: &mut dyn Write, value: &serde_json::Value) -> Result<(), PortError> {
    writeln!(stdout, "{value}").and_then(|()| stdout.flush()).map_err(unwritten)
}

fn unwritten(error: io::Error) -> PortError {
    fault::io("cannot write the answer", error)
}

/// Opens a database for reading, in a way that can also recover what a crashed writer left.
fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    // Without `SQLITE_OPEN_URI`: a path is a path.
    let base = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let opened = Connection::open_with_flags(path, base | OpenFlags::SQLITE_OPEN_READ_WRITE);
    let connection = match opened {
        Err(error) if !is_damage(&error) => {
            Connection::open_with_flags(path, base | OpenFlags::SQLITE_OPEN_READ_ONLY)?
        }
        result => result?,
    };
    connection.busy_timeout(BUSY)?;
    // The file comes from elsewhere: nothing in its schema may do more than hold data.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Says whether an error means that the bytes are no sound database.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Returns the error of a failed operation on a database.
fn failed(doing: &str, path: &Path, error: rusqlite::Error) -> PortError {
    let message = format!("cannot {doing} {}", path.display());
    let fault = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PortError::waiting("DatabaseLocked", message)
        }
        Some(ErrorCode::DiskFull) => PortError::transient("DiskFull", message),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            PortError::terminal("DatabaseDamaged", message)
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            PortError::terminal("PermissionDenied", message)
        }
        _ => PortError::transient("DatabaseFailed", message),
    };
    fault.with_source(error)
}
