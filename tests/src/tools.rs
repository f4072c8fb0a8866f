//! Programs of others that the tests run: found, asked for their version, written into the ledger.

use crate::ledger;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is there and has said its version.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Where it lies.
    pub path: PathBuf,
    /// Its version as it says itself.
    pub version: String,
}

impl Tool {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// restic, the judge of every repository that the tests write: `RESTIC` if set, else what
/// `tests/run` has built.
///
/// # Panics
///
/// When it is not there.
pub fn restic() -> Tool {
    let built = || cache().join(format!("restic-{}", pinned_restic())).join("restic");
    let path = std::env::var_os("RESTIC").map_or_else(built, PathBuf::from);
    let said = version_of(&path, "version");
    // "restic 0.19.1 compiled with go1.26.8 on linux/amd64"
    let version = said.split(' ').nth(1).unwrap_or(&said).to_owned();
    ledger("restic", &version);
    Tool { path, version }
}

/// The system's git.
///
/// # Panics
///
/// When it is not there.
pub fn git() -> Tool {
    let path = PathBuf::from("git");
    let said = version_of(&path, "--version");
    let version = said.strip_prefix("git version ").unwrap_or(&said).to_owned();
    ledger("git", &version);
    Tool { path, version }
}

/// SQLite's own shell, to look at databases with other eyes than the product's.
///
/// # Panics
///
/// When it is not there.
pub fn sqlite() -> Tool {
    let path = PathBuf::from("sqlite3");
    let said = version_of(&path, "--version");
    // "3.40.1 2022-12-28 14:03:47 df5c253c…"
    let version = said.split(' ').next().unwrap_or(&said).to_owned();
    ledger("SQLite", &version);
    Tool { path, version }
}

fn version_of(program: &Path, argument: &str) -> String {
    let said = Command::new(program).arg(argument).output().unwrap_or_else(|error| {
        panic!("{} is needed by this test: {error}; tests/run gets it", program.display())
    });
    assert!(said.status.success(), "{} {argument}: {}", program.display(), said.status);
    String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned()
}

/// The folder into which `tests/run` builds.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("mainstay-tests")
}

/// The version of a program that `tests/tools/versions` pins.
pub(crate) fn pinned(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/versions");
    let text = std::fs::read_to_string(&file).expect("the versions of the tools");
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, version) = lines.find(|(tool, _)| *tool == name).expect("a version of the tool");
    version.trim().to_owned()
}

/// The version of restic that `tests/tools/restic/go.mod` pins.
fn pinned_restic() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/restic/go.mod");
    let text = std::fs::read_to_string(&file).expect("go.mod of restic");
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "github.com/restic/restic");
    let version = at.and_then(|at| words.get(at + 1)).expect("go.mod requires restic");
    version.trim_start_matches('v').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{git, pinned, pinned_restic, restic, sqlite};

    #[test]
    fn restic_is_the_pinned_one() {
        let tool = restic();
        let wanted = std::env::var_os("RESTIC").is_none().then(pinned_restic);
        assert_eq!(wanted.unwrap_or_else(|| tool.version.clone()), tool.version);
    }

    #[test]
    fn each_program_says_its_version() {
        for tool in [git(), sqlite(), restic()] {
            let parts: Vec<&str> = tool.version.split('.').collect();
            assert!(parts.len() >= 2 && parts[0].parse::<u32>().is_ok(), "{tool:?}");
        }
    }

    #[test]
    fn a_service_is_built_in_the_version_that_it_is_named_by() {
        let read = |file: &str| {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(file);
            std::fs::read_to_string(file).unwrap()
        };
        for (name, module) in [
            ("rest-server", "github.com/restic/rest-server v"),
            ("versitygw", "github.com/versity/versitygw v"),
            // Without tags of that form: the day of its commit.
            ("minio", "github.com/minio/minio v0.0.0-"),
            ("fake-gcs-server", "github.com/fsouza/fake-gcs-server v"),
        ] {
            let wanted = format!("{module}{}", pinned(name));
            assert!(read(&format!("{name}/go.mod")).contains(&wanted), "{wanted}");
        }
        let wanted = format!("\"azurite\": \"{}\"", pinned("azurite"));
        assert!(read("azurite/package.json").contains(&wanted), "{wanted}");
    }
}
