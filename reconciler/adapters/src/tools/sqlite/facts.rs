//! What is known of a database: a digest of its logical content, rows by table, sequences. Equal
//! content gives an equal digest whatever the pages look like: after a copy, a VACUUM, in WAL mode.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use model::error::PortError;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use super::{failed, is_damage, open};
use crate::fault;

/// Tables whose rows are counted by name; the digest covers all.
const TABLES_COUNTED_MAX: usize = 1000;

/// First bytes of every database file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What the file's header says, read before SQLite opens the file: closing a second descriptor of
/// an open database would drop its locks.
pub(super) struct Header {
    /// Writes go to a write-ahead log.
    pub(super) wal: bool,
    /// Grows with each transaction of a rollback journal; stands still in WAL mode.
    pub(super) changes: u32,
}

/// What was found at a path.
pub(super) enum Found {
    /// A file whose header could be read; `None` when it is empty, which SQLite takes for a new
    /// one.
    File(Option<Header>),
    /// Something that is no database file.
    Other(String),
    /// Nothing.
    Absent,
}

/// Looks at a path without opening a database.
pub(super) fn find(path: &Path) -> Result<Found, PortError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(fault::path("look at", path, error)),
    };
    if !metadata.is_file() {
        return Ok(Found::Other(format!("{} is no regular file", path.display())));
    }
    if metadata.len() == 0 {
        return Ok(Found::File(None));
    }
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) if header.starts_with(MAGIC) => Ok(Found::File(Some(Header {
            wal: header[18] == 2,
            changes: u32::from_be_bytes([header[24], header[25], header[26], header[27]]),
        }))),
        Ok(()) => Ok(Found::Other(format!("{} is no SQLite database", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Found::Other(format!("{} is shorter than a header", path.display())))
        }
        Err(error) => Err(fault::path("read", path, error)),
    }
}

/// Looks at a database in use and returns its facts.
pub(super) fn probe(path: &Path) -> Result<Value, PortError> {
    let header = match find(path)? {
        Found::File(header) => header,
        Found::Other(detail) => return Ok(damaged(&detail)),
        Found::Absent => return Ok(absent(path)),
    };
    let looked = open(path).and_then(|connection| {
        connection.execute_batch("PRAGMA query_only = ON; BEGIN")?;
        match verdict(&connection, "quick_check")? {
            Some(trouble) => Ok(damaged(&trouble)),
            None => Content::read(&connection).map(|content| content.facts(header.as_ref())),
        }
    });
    match looked {
        Err(error) if is_damage(&error) => Ok(damaged(&error.to_string())),
        result => result.map_err(|e| failed("read", path, e)),
    }
}

pub(super) fn absent(path: &Path) -> Value {
    json!({"state": "absent", "detail": format!("{} does not exist", path.display())})
}

pub(super) fn damaged(detail: &str) -> Value {
    json!({"state": "damaged", "detail": detail})
}

/// Runs SQLite's own check; `None` means sound.
pub(super) fn verdict(
    connection: &Connection,
    check: &str,
) -> Result<Option<String>, rusqlite::Error> {
    let found: String =
        connection.query_row(&format!("PRAGMA {check}(1)"), [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

/// The logical content of a database.
pub(super) struct Content {
    pub(super) digest: String,
    rows: BTreeMap<String, u64>,
    sequences: BTreeMap<String, u64>,
    tables: u64,
    bytes: u64,
}

impl Content {
    /// Reads all of it; the caller holds one read transaction.
    pub(super) fn read(connection: &Connection) -> Result<Self, rusqlite::Error> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"sqlite content 1");
        hash_schema(connection, &mut hasher)?;
        let mut content = Self {
            digest: String::new(),
            rows: BTreeMap::new(),
            sequences: BTreeMap::new(),
            tables: 0,
            bytes: size(connection)?,
        };
        // A virtual table's content lies in its shadow tables; statistics are no content.
        let mut query = connection.prepare(
            "SELECT name FROM pragma_table_list
             WHERE schema = 'main' AND type IN ('table', 'shadow')
               AND name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' AND name <> 'sqlite_schema'
             ORDER BY name",
        )?;
        let tables: Vec<String> =
            query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for table in tables {
            let rows = hash_table(connection, &table, &mut hasher)?;
            if table == "sqlite_sequence" {
                continue;
            }
            content.tables += 1;
            if content.rows.len() < TABLES_COUNTED_MAX {
                content.rows.insert(format!("rows:{table}"), rows);
            }
        }
        content.sequences = sequences(connection)?;
        content.digest = hasher.finalize().to_hex().to_string();
        Ok(content)
    }

    /// Returns it as facts; the header is that of the database in use, `None` of a mere copy.
    pub(super) fn facts(&self, header: Option<&Header>) -> Value {
        let mut counters = self.sequences.clone();
        if let Some(header) = header
            && !header.wal
        {
            counters.insert("changes".to_owned(), u64::from(header.changes));
        }
        json!({
            "state": "present",
            "counters": counters,
            "digest": self.digest,
            "counts": self.rows,
            "bytes": self.bytes,
            "entries": self.tables,
        })
    }
}

fn size(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let number = |pragma: &str| -> Result<u64, rusqlite::Error> {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, u64>(0))
    };
    Ok(number("page_count")?.saturating_mul(number("page_size")?))
}

fn hash_schema(
    connection: &Connection,
    hasher: &mut blake3::Hasher,
) -> Result<(), rusqlite::Error> {
    let mut query = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\'
         ORDER BY type, name",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            hash_value(row.get_ref(column)?, hasher);
        }
    }
    Ok(())
}

/// Hashes the rows of a table in the order of their keys and returns how many there are.
fn hash_table(
    connection: &Connection,
    table: &str,
    hasher: &mut blake3::Hasher,
) -> Result<u64, rusqlite::Error> {
    hash_value(ValueRef::Text(table.as_bytes()), hasher);
    // An index could give another order than the table itself.
    let name = table.replace('"', "\"\"");
    let mut query = connection.prepare(&format!("SELECT * FROM main.\"{name}\" NOT INDEXED"))?;
    let columns = query.column_count();
    let mut rows = query.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        hasher.update(b"R");
        for column in 0..columns {
            hash_value(row.get_ref(column)?, hasher);
        }
        count += 1;
    }
    Ok(count)
}

fn hash_value(value: ValueRef<'_>, hasher: &mut blake3::Hasher) {
    let mut sized = |tag: &[u8], bytes: &[u8]| {
        hasher.update(tag);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Null => sized(b"n", b""),
        ValueRef::Integer(number) => sized(b"i", &number.to_le_bytes()),
        ValueRef::Real(number) => sized(b"r", &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => sized(b"t", text),
        ValueRef::Blob(blob) => sized(b"b", blob),
    }
}

fn sequences(connection: &Connection) -> Result<BTreeMap<String, u64>, rusqlite::Error> {
    let there: bool = connection.query_row(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'sqlite_sequence'",
        [],
        |row| row.get(0),
    )?;
    let mut found = BTreeMap::new();
    if !there {
        return Ok(found);
    }
    let mut query = connection.prepare(
        "SELECT name, seq FROM sqlite_sequence WHERE typeof(seq) = 'integer' AND seq >= 0 LIMIT ?1",
    )?;
    let mut rows = query.query([TABLES_COUNTED_MAX as i64])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        found.insert(format!("sequence:{name}"), row.get(1)?);
    }
    Ok(found)
}
