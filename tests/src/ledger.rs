//! The ledger: which real systems took part in a run of the tests. `tests/run` prints it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Names the file that the ledger is kept in; without it nothing is kept.
pub const LEDGER_VARIABLE: &str = "MAINSTAY_TEST_LEDGER";

/// Writes down that a test used `system` for real. `version` is what the running system says of
/// itself, not what was asked for.
///
/// # Panics
///
/// When the ledger is wanted and cannot be written: a run that says less than it did is wrong.
pub fn ledger(system: &str, version: &str) {
    // This crate's own unit tests look at the tools, not at the product.
    if cfg!(test) {
        return;
    }
    let Some(path) = std::env::var_os(LEDGER_VARIABLE) else { return };
    append(Path::new(&path), &entry(system, version))
        .unwrap_or_else(|error| panic!("{LEDGER_VARIABLE}={}: {error}", path.display()));
}

/// One write of one line: with O_APPEND, tests in many processes do not mix their lines.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(line.as_bytes())
}

/// One line: system, tab, version. Neither may bring a tab or a line end of its own.
fn entry(system: &str, version: &str) -> String {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}\t{}\n", plain(system), plain(version))
}

#[cfg(test)]
mod tests {
    use super::{append, entry};

    #[test]
    fn an_entry_is_one_line_of_two_fields() {
        assert_eq!(entry("restic", "0.19.1"), "restic\t0.19.1\n");
        assert_eq!(entry("a\tb", "1\n2\n"), "a b\t1 2\n");
    }

    #[test]
    fn entries_add_up() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("ledger");
        for version in ["1", "2"] {
            append(&path, &entry("git", version)).expect("written");
        }
        assert_eq!(std::fs::read_to_string(path).expect("there"), "git\t1\ngit\t2\n");
        assert!(append(folder.path(), "a folder is no file").is_err());
    }
}
