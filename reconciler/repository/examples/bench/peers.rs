//! The others' commands: restic, the judge and yardstick, and kopia where `$KOPIA` names it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Cost, measure};
use crate::ours::PASSWORD;

fn restic_command(repo: &Path) -> Command {
    let binary = std::env::var_os("RESTIC").map_or_else(|| PathBuf::from("restic"), PathBuf::from);
    let mut command = Command::new(binary);
    command.args(["-q", "-r"]).arg(repo);
    command.arg("--cache-dir").arg(repo.with_extension("cache"));
    command.env("RESTIC_PASSWORD", PASSWORD).env("RESTIC_FROM_PASSWORD", PASSWORD);
    command
}

/// Runs restic on a repository.
pub fn restic(repo: &Path, args: &[&str]) -> Cost {
    measure(restic_command(repo).args(args))
}

/// Opens a repository with its whole index and asks for a blob that is not there.
pub fn restic_index(repo: &Path) -> Cost {
    let unknown = "0123456789abcdef".repeat(4);
    crate::measure::measure_failing(restic_command(repo).args(["cat", "blob", &unknown]), 1)
}

/// Returns the cost of scrypt that restic chose on this machine: N, r and p.
pub fn restic_kdf(repo: &Path) -> [String; 3] {
    let key = std::fs::read_dir(repo.join("keys")).unwrap().next().unwrap().unwrap().path();
    let key: serde_json::Value = serde_json::from_slice(&std::fs::read(key).unwrap()).unwrap();
    ["N", "r", "p"].map(|name| key[name].to_string())
}

/// kopia's program, where it takes part.
pub fn kopia_binary() -> Option<PathBuf> {
    std::env::var_os("KOPIA").filter(|k| !k.is_empty()).map(PathBuf::from)
}

fn kopia_command(binary: &Path, repo: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config-file").arg(repo.with_extension("config"));
    command.arg("--log-dir").arg(repo.with_extension("log"));
    command.args(["--no-progress", "--log-level=error"]);
    command.env("KOPIA_PASSWORD", PASSWORD).env("KOPIA_CHECK_FOR_UPDATES", "false");
    command
}

/// Makes a kopia repository that compresses as fast as restic's and ours do.
pub fn kopia_init(binary: &Path, repo: &Path) {
    std::fs::create_dir_all(repo).unwrap();
    let cache = repo.with_extension("cache");
    let mut command = kopia_command(binary, repo);
    command.args(["repository", "create", "filesystem", "--path"]).arg(repo);
    measure(command.arg("--cache-directory").arg(cache));
    let policy = ["policy", "set", "--global", "--compression=zstd-fastest"];
    measure(kopia_command(binary, repo).args(policy));
}

/// Runs kopia on a repository.
pub fn kopia(binary: &Path, repo: &Path, args: &[&str]) -> Cost {
    measure(kopia_command(binary, repo).args(args))
}

/// Returns a program's version: the first word of what it says that begins with a digit.
pub fn version(binary: &Path, argument: &str) -> String {
    let said = Command::new(binary).arg(argument).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    said.split_whitespace().find(number).unwrap_or("unknown").to_owned()
}

/// Returns restic's program.
pub fn restic_binary() -> PathBuf {
    std::env::var_os("RESTIC").map_or_else(|| PathBuf::from("restic"), PathBuf::from)
}
