//! Runs the real binary as a person would type it, in the demo's environment.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::CliError;
use crate::ui::Ui;

/// The demo's environment.
pub struct Shell {
    ui: Ui,
    binary: PathBuf,
    folder: PathBuf,
    variables: Vec<(String, PathBuf)>,
}

impl Shell {
    /// Returns an environment in a folder.
    pub fn new(ui: Ui, folder: &Path, variables: &[(&str, PathBuf)]) -> Result<Self, CliError> {
        let binary = std::env::current_exe()
            .map_err(|e| CliError::new(format!("this program does not know its own path: {e}")))?;
        let variables =
            variables.iter().map(|(name, path)| ((*name).to_owned(), path.clone())).collect();
        Ok(Self { ui, binary, folder: folder.to_owned(), variables })
    }

    /// Shows a command.
    pub fn echo(&self, command: &str) {
        self.ui.out(format!("\n$ {command}"));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        // The demo must not reach into the person's own set-up.
        for name in ["MAINSTAY_REF", "MAINSTAY_SUBFOLDER", "MAINSTAY_AGE_IDENTITY"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, path)| (name, path)));
        command
    }

    /// Runs a command and lets it print; any other code than the expected one is an error.
    pub fn run(&self, words: &[&str], expected: i32) -> Result<(), CliError> {
        self.echo(&format!("mainstay {}", words.join(" ")));
        std::io::stdout().flush()?;
        let status = self.command(words).status()?;
        if status.code() == Some(expected) {
            return Ok(());
        }
        Err(CliError::new(format!(
            "`mainstay {}` ended with {status}, the demo expected {expected}",
            words.join(" ")
        )))
    }

    fn capture(&self, words: &[&str]) -> Result<serde_json::Value, CliError> {
        let output = self.command(words).stderr(Stdio::inherit()).output()?;
        serde_json::from_slice(&output.stdout).map_err(|e| {
            CliError::internal(format!("`mainstay {}` printed no JSON: {e}", words.join(" ")))
        })
    }

    /// Returns the digest that approves the destructive steps of the plan as it stands.
    pub fn destructive_digest(&self) -> Result<String, CliError> {
        let plan = self.capture(&["plan", "--format", "json"])?;
        let digest = plan.pointer("/plan/destructive").and_then(|d| d.as_str());
        digest
            .map(|d| d.chars().take(12).collect())
            .ok_or_else(|| CliError::new("the plan has no destructive steps, though it should"))
    }

    /// Returns bytes of content in all points, and bytes stored for them.
    pub fn sizes(&self) -> Result<(u64, u64), CliError> {
        let points = self.capture(&["snapshots", "--format", "json"])?;
        let content = points
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| p.get("bytes").and_then(serde_json::Value::as_u64))
            .sum();
        Ok((content, folder_bytes(&self.folder.join("backups"))?))
    }
}

fn folder_bytes(folder: &Path) -> Result<u64, CliError> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        total += if kind.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(())
}
