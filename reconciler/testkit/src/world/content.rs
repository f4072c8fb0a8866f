//! What data is in the simulated world: small files by name. Whether something can be brought back
//! is decided by comparing these, never by what a record says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The one stream that a database is dumped as.
pub const DUMP: &str = "dump";

/// Returns a number that tells contents apart (FNV-1a over 64 bits).
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns the digest of files as a receipt carries it.
pub fn digest(files: &Files) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, bytes) in files {
        for part in [name.as_bytes(), &[0], bytes, &[1]] {
            hash = part
                .iter()
                .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        }
    }
    format!("{hash:016x}")
}

/// Returns how many bytes files have.
pub fn size(files: &Files) -> u64 {
    files.values().map(|bytes| bytes.len() as u64).sum()
}

/// Returns rows and their position as the dump of a database.
pub fn dump(rows: &Files, position: u64) -> Vec<u8> {
    let mut text = format!("~{position}\n").into_bytes();
    for (name, value) in rows {
        text.extend(name.as_bytes());
        text.push(b'=');
        text.extend(value);
        text.push(b'\n');
    }
    text
}

/// Reads a dump: rows and position. `None`: it is cut off or no dump.
pub fn load(bytes: &[u8]) -> Option<(Files, u64)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, rest) = text.strip_prefix('~')?.split_once('\n')?;
    let mut rows = Files::new();
    for line in rest.lines() {
        let (name, value) = line.split_once('=')?;
        rows.insert(name.to_owned(), value.as_bytes().to_vec());
    }
    (bytes.last() == Some(&b'\n')).then_some((rows, first.parse().ok()?))
}

/// Files that many hold at once.
pub type Shared = Arc<Files>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_comes_back_and_a_torn_one_does_not() {
        let rows = Files::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"22".to_vec())]);
        let bytes = dump(&rows, 7);
        assert_eq!(load(&bytes), Some((rows.clone(), 7)));
        assert_eq!(load(&bytes[..bytes.len() - 1]), None);
        assert_ne!(digest(&rows), digest(&Files::new()));
    }
}
