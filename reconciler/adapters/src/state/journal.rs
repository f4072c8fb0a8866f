//! The journal of a state: records in segment files, each compressed and checksummed, each durable
//! before `append` returns. Readable after any crash; damage costs the damaged records only.
//!
//! A segment is [`MAGIC`], then records: mark (4 bytes), length of the payload (u32,
//! little-endian), blake3 of sequence (u64, little-endian) and payload (32 bytes), sequence (8
//! bytes), payload (a zstd frame of the record's JSON). The mark makes it possible to find the next
//! record after a damaged one. A segment is named by the sequence number of its first record.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use model::error::PortError;
use model::journal::Record;
use rustix::fs::{FlockOperation, flock};

use crate::fault;

/// First bytes of a segment; the digit is the version of its shape.
const MAGIC: &[u8; 8] = b"mnstjnl1";

/// First bytes of a record.
const MARK: [u8; 4] = [0xd7, b'r', b'e', b'c'];

/// Bytes before a record's payload.
const HEADER_BYTES: usize = 4 + 4 + 32 + 8;

/// A segment that has reached this size is closed: it is read as a whole into memory.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Segments that are kept; the oldest go first. A quarter of a GiB holds millions of records.
const SEGMENTS_MAX: usize = 64;

/// The largest record in bytes before compression: one with a thousand named failures fits.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// zstd's own default: records are small, and durable writes cost more than any level.
const LEVEL: i32 = 3;

/// The first sequence number of all.
const FIRST: u64 = 1;

/// The ending of a segment's name.
const ENDING: &str = ".mjl";

/// A journal open for appending and reading.
pub(super) struct Journal {
    folder: PathBuf,
    lock: File,
    tail: Option<Tail>,
    notes: Vec<String>,
}

/// The segment that is appended to.
struct Tail {
    path: PathBuf,
    file: File,
    length: u64,
    next: u64,
}

/// What a scan of one segment found.
#[derive(Default)]
struct Scan {
    records: Vec<(u64, Vec<u8>)>,
    /// Where the last good record ends.
    good_until: u64,
    /// Bytes in the middle that belong to no good record.
    damaged_bytes: u64,
}

impl Scan {
    /// Returns the sequence number after the last record of this segment.
    fn end(&self, segment: &Path) -> u64 {
        let first = || first_sequence(segment).unwrap_or(FIRST);
        self.records.last().map_or_else(first, |(sequence, _)| sequence + 1)
    }
}

impl Journal {
    /// Opens the journal of a folder, making the folder if needed, and looks at its last segment.
    pub(super) fn open(folder: &Path) -> Result<Self, PortError> {
        fs::create_dir_all(folder).map_err(|e| fault::path("create", folder, e))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| fault::path("open", &path, e))?;
        let mut journal = Self { folder: folder.to_owned(), lock, tail: None, notes: Vec::new() };
        for segment in journal.segments()? {
            let scan = scan(&read_segment(&segment)?);
            if scan.damaged_bytes > 0 {
                journal.notes.push(format!(
                    "{} bytes in the middle of the journal {} are damaged; the records around \
                     them are whole",
                    scan.damaged_bytes,
                    segment.display()
                ));
            }
        }
        Ok(journal)
    }

    /// Returns what was found damaged or was cut.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Appends one record and returns the sequence number it was given.
    pub(super) fn append(&mut self, record: &Record) -> Result<u64, PortError> {
        flock(&self.lock, FlockOperation::LockExclusive)
            .map_err(|e| fault::path("lock", &self.folder, e))?;
        let result = self.append_locked(record);
        if result.is_err() {
            // Whatever was half written is found and cut by the next append.
            self.tail = None;
        }
        let unlocked = flock(&self.lock, FlockOperation::Unlock);
        unlocked.map_err(|e| fault::path("unlock", &self.folder, e)).and(result)
    }

    fn append_locked(&mut self, record: &Record) -> Result<u64, PortError> {
        let mut tail = match self.tail.take() {
            Some(tail) if tail.is_current() && self.is_last(&tail.path)? => tail,
            _ => self.find_tail()?,
        };
        if tail.length >= SEGMENT_BYTES {
            tail = self.new_segment(tail.next)?;
            self.drop_old_segments()?;
        }
        let sequence = tail.next;
        let bytes = encode(&Record { sequence, ..record.clone() })?;
        tail.file
            .write_all_at(&bytes, tail.length)
            .and_then(|()| tail.file.sync_data())
            .map_err(|e| fault::path("append to", &tail.path, e))?;
        tail.length += bytes.len() as u64;
        tail.next += 1;
        self.tail = Some(tail);
        Ok(sequence)
    }

    /// Returns records from a sequence number on, oldest first.
    pub(super) fn read(&self, from: u64, count_max: usize) -> Result<Vec<Record>, PortError> {
        let segments = self.segments()?;
        let mut found = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            let later = segments.get(n + 1).and_then(|s| first_sequence(s));
            if later.is_some_and(|first| first <= from) {
                continue;
            }
            let bytes = match read_segment(segment) {
                Ok(bytes) => bytes,
                // Another process dropped the oldest segment after we listed it.
                Err(error) if error.reason == "NotFound" => continue,
                Err(error) => return Err(error),
            };
            for (sequence, payload) in scan(&bytes).records {
                if found.len() >= count_max {
                    return Ok(found);
                }
                if sequence < from {
                    continue;
                }
                match serde_json::from_slice::<Record>(&payload) {
                    Ok(record) => found.push(record),
                    Err(error) => {
                        tracing::warn!(sequence, %error, "a journal record cannot be read");
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns the sequence number that the next record will have; only the last segment is read.
    pub(super) fn end(&self) -> Result<u64, PortError> {
        match self.segments()?.last() {
            Some(last) => Ok(scan(&read_segment(last)?).end(last)),
            None => Ok(FIRST),
        }
    }

    fn segments(&self) -> Result<Vec<PathBuf>, PortError> {
        let failed = |e| fault::path("list", &self.folder, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if first_sequence(&path).is_some() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn is_last(&self, path: &Path) -> Result<bool, PortError> {
        Ok(self.segments()?.last().is_some_and(|last| last == path))
    }

    /// Opens the last segment for appending and cuts what a crash left at its end.
    fn find_tail(&mut self) -> Result<Tail, PortError> {
        let mut segments = self.segments()?;
        let Some(path) = segments.pop() else {
            return self.new_segment(FIRST);
        };
        let failed = |e| fault::path("open", &path, e);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let bytes = read_segment(&path)?;
        let scan = scan(&bytes);
        let next = scan.end(&path);
        if scan.good_until == 0 {
            // Not even the magic is whole: the crash came while the segment was made.
            drop(file);
            fs::remove_file(&path).map_err(|e| fault::path("remove", &path, e))?;
            return self.new_segment(next);
        }
        let torn = bytes.len() as u64 - scan.good_until;
        if torn > 0 {
            file.set_len(scan.good_until)
                .and_then(|()| file.sync_data())
                .map_err(|e| fault::path("cut", &path, e))?;
            let note = format!("{torn} bytes of an unfinished record were cut from the journal");
            tracing::warn!(path = %path.display(), "{note}");
            self.notes.push(note);
        }
        Ok(Tail { path, file, length: scan.good_until, next })
    }

    fn new_segment(&self, first: u64) -> Result<Tail, PortError> {
        let path = self.folder.join(format!("{first:020}{ENDING}"));
        let make = || -> std::io::Result<File> {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            file.write_all(MAGIC)?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|e| fault::path("create", &path, e))?;
        Ok(Tail { path: path.clone(), file, length: MAGIC.len() as u64, next: first })
    }

    fn drop_old_segments(&mut self) -> Result<(), PortError> {
        let segments = self.segments()?;
        let surplus = segments.len().saturating_sub(SEGMENTS_MAX);
        for path in &segments[..surplus] {
            fs::remove_file(path).map_err(|e| fault::path("remove", path, e))?;
        }
        Ok(())
    }
}

impl Tail {
    /// Returns whether nobody else appended since.
    fn is_current(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.len() == self.length)
    }
}

fn first_sequence(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(ENDING)?.parse().ok()
}

fn read_segment(path: &Path) -> Result<Vec<u8>, PortError> {
    // A segment grows by one record beyond its limit at the most; more is not ours.
    let limit = SEGMENT_BYTES + (2 * RECORD_BYTES_MAX) as u64;
    let mut file = File::open(path).map_err(|e| fault::path("open", path, e))?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(limit).read_to_end(&mut bytes))
        .map_err(|e| fault::path("read", path, e))?;
    Ok(bytes)
}

fn checksum(sequence: u64, payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

fn encode(record: &Record) -> Result<Vec<u8>, PortError> {
    let failed = |message: String| PortError::terminal("JournalRecord", message);
    let json = serde_json::to_vec(record).map_err(|e| failed(format!("not JSON: {e}")))?;
    if json.len() > RECORD_BYTES_MAX {
        return Err(failed(format!("a journal record has more than {RECORD_BYTES_MAX} bytes")));
    }
    let payload =
        zstd::bulk::compress(&json, LEVEL).map_err(|e| failed(format!("not compressed: {e}")))?;
    let length = u32::try_from(payload.len()).map_err(|e| failed(e.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(record.sequence, &payload));
    bytes.extend_from_slice(&record.sequence.to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Reads the record at the begin of `bytes`: sequence, JSON, and how long it is in the segment.
fn decode(bytes: &[u8]) -> Option<(u64, Vec<u8>, usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    if header[..4] != MARK {
        return None;
    }
    let length = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
    let sequence = u64::from_le_bytes(header[40..48].try_into().ok()?);
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
    if checksum(sequence, payload) != header[8..40] {
        return None;
    }
    let json = zstd::bulk::decompress(payload, RECORD_BYTES_MAX).ok()?;
    Some((sequence, json, HEADER_BYTES + length))
}

/// Finds all good records. What lies between two good ones is damage; what lies after the last is
/// a torn end.
fn scan(bytes: &[u8]) -> Scan {
    let mut found = Scan::default();
    if !bytes.starts_with(MAGIC) {
        return found;
    }
    let mut at = MAGIC.len();
    found.good_until = at as u64;
    while at < bytes.len() {
        if let Some((sequence, json, length)) = decode(&bytes[at..]) {
            found.damaged_bytes += at as u64 - found.good_until;
            at += length;
            found.good_until = at as u64;
            found.records.push((sequence, json));
            continue;
        }
        let next = bytes[at + 1..].windows(MARK.len()).position(|w| w == MARK);
        match next {
            Some(skip) => at += 1 + skip,
            None => break,
        }
    }
    found
}
