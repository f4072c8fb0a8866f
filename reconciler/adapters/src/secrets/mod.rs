//! Secrets behind the port: age-encrypted files of the config repository, files, environment, in
//! this order. Values leave this module only inside a `SecretValue`, never in an error or a log.

mod scrub;
mod sealed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use model::agent::SecretRef;
use model::error::PortError;
use model::ports::secrets::{SecretValue, Secrets};
use model::ports::source::ConfigTree;

pub use self::scrub::Scrubber;
use crate::fault;

/// The folder of the config repository that holds `NAME.age`.
pub const TREE_FOLDER: &str = "secrets";

/// What variables are named: `MAINSTAY_SECRET_DB_PASSWORD` for `db-password`.
pub const VARIABLE_PREFIX: &str = "MAINSTAY_SECRET_";

/// The largest secret in bytes: keys and certificates fit, a file named by mistake does not.
pub const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Permission bits that let others read or write a secret's file.
const MODE_OF_OTHERS: u32 = 0o077;

/// All places that secrets come from.
#[derive(Default)]
pub struct Chain {
    sealed: RwLock<BTreeMap<String, Vec<u8>>>,
    identity: Option<PathBuf>,
    folders: Vec<PathBuf>,
    variables: BTreeMap<String, Vec<u8>>,
}

impl Chain {
    /// Returns a chain that knows no place.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file with the age identity (x25519) that opens the config repository's secrets.
    #[must_use]
    pub fn with_identity(mut self, file: impl Into<PathBuf>) -> Self {
        self.identity = Some(file.into());
        self
    }

    /// Adds a folder that holds one file per secret, named as the secret.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Adds the environment; only variables that begin with [`VARIABLE_PREFIX`] are taken.
    #[must_use]
    pub fn with_environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        self.variables.extend(variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(VARIABLE_PREFIX).then(|| (name, value.into_vec()))
        }));
        self
    }

    /// Takes the encrypted files of a commit in the place of those of the commit before.
    pub fn use_tree(&self, tree: &ConfigTree) {
        let files = tree.files.iter().filter_map(|(path, content)| {
            let name = path.strip_prefix(TREE_FOLDER)?.strip_prefix('/')?.strip_suffix(".age")?;
            Some((name.to_owned(), content.clone()))
        });
        *self.sealed.write().unwrap_or_else(PoisonError::into_inner) = files.collect();
    }

    /// Says where a secret lies, in words for people; `None` where it cannot be found. Nothing is
    /// opened: an encrypted file counts, whether its identity is at hand or not.
    pub fn whereabouts(&self, secret: &SecretRef) -> Option<String> {
        let name = checked(secret).ok()?;
        let sealed = self.sealed.read().unwrap_or_else(PoisonError::into_inner);
        if sealed.contains_key(name) {
            let by = "opened by its age identity";
            return Some(format!("{TREE_FOLDER}/{name}.age in the config repository, {by}"));
        }
        if let Some(path) = self.folders.iter().map(|f| f.join(name)).find(|path| path.is_file()) {
            return Some(format!("the file {}", path.display()));
        }
        let variable = variable(name);
        self.variables.contains_key(&variable).then(|| format!("the variable {variable}"))
    }

    fn in_tree(&self, name: &str, looked: &mut Vec<String>) -> Result<Option<Vec<u8>>, PortError> {
        let place = format!("{TREE_FOLDER}/{name}.age in the config repository");
        let sealed = self.sealed.read().unwrap_or_else(PoisonError::into_inner);
        let Some(content) = sealed.get(name) else {
            looked.push(place);
            return Ok(None);
        };
        let Some(identity) = &self.identity else {
            return Err(PortError::terminal(
                "NoIdentity",
                format!("the secret `{name}` is encrypted, and no age identity is configured"),
            )
            .with_hint("name the identity file that opens it"));
        };
        sealed::open(name, content, identity).map(Some)
    }

    fn in_folders(
        &self,
        name: &str,
        looked: &mut Vec<String>,
    ) -> Result<Option<Vec<u8>>, PortError> {
        for folder in &self.folders {
            let path = folder.join(name);
            match File::open(&path) {
                Ok(file) => return read(name, &path, file).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    looked.push(format!("the file {}", path.display()));
                }
                Err(error) => return Err(fault::path("open the secret's file", &path, error)),
            }
        }
        Ok(None)
    }
}

impl Secrets for Chain {
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError> {
        let name = checked(secret)?;
        let mut looked = Vec::new();
        if let Some(value) = self.in_tree(name, &mut looked)? {
            return Ok(SecretValue::new(value));
        }
        if let Some(value) = self.in_folders(name, &mut looked)? {
            return Ok(SecretValue::new(value));
        }
        let variable = variable(name);
        if let Some(value) = self.variables.get(&variable) {
            return Ok(SecretValue::new(value.clone()));
        }
        looked.push(format!("the variable {variable}"));
        Err(PortError::terminal(
            "SecretNotFound",
            format!("the secret `{name}` was not found; looked at {}", looked.join(", ")),
        )
        .with_hint("put the value in one of these places"))
    }
}

/// Returns the variable's name of a secret.
fn variable(name: &str) -> String {
    let upper = name.chars().map(|c| match c {
        '-' | '.' => '_',
        c => c.to_ascii_uppercase(),
    });
    VARIABLE_PREFIX.chars().chain(upper).collect()
}

/// Returns the name if it can be a file's name everywhere: it comes from a document.
fn checked(secret: &SecretRef) -> Result<&str, PortError> {
    let name = secret.0.as_str();
    let fine = name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    if fine && !name.is_empty() && !name.starts_with('.') && name.len() <= 128 {
        return Ok(name);
    }
    Err(PortError::terminal(
        "BadSecretName",
        format!("`{}` cannot name a secret", name.escape_debug()),
    )
    .with_hint("use 1 to 128 letters, digits, `-`, `_` and `.`, beginning with no `.`"))
}

/// Reads a secret's file; one line break at its end is not part of the value.
fn read(name: &str, path: &Path, mut file: File) -> Result<Vec<u8>, PortError> {
    let metadata = file.metadata().map_err(|e| fault::path("look at", path, e))?;
    if !metadata.is_file() {
        return Err(PortError::terminal(
            "BadSecretFile",
            format!("{} is no regular file", path.display()),
        ));
    }
    warn_when_open_to_others(name, path, &metadata);
    let mut value = Vec::new();
    (&mut file)
        .take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut value)
        .map_err(|e| fault::path("read", path, e))?;
    if value.len() as u64 > SECRET_BYTES_MAX {
        return Err(PortError::terminal(
            "BadSecretFile",
            format!("{} is larger than {SECRET_BYTES_MAX} bytes", path.display()),
        ));
    }
    Ok(without_line_break(value))
}

fn warn_when_open_to_others(name: &str, path: &Path, metadata: &Metadata) {
    if metadata.mode() & MODE_OF_OTHERS != 0 {
        tracing::warn!(
            secret = name,
            path = %path.display(),
            mode = format_args!("{:o}", metadata.mode() & 0o7777),
            "the secret's file is open to other users; chmod 600 closes it"
        );
    }
}

/// Takes one line break off the end, as editors and `echo` leave it.
fn without_line_break(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}
