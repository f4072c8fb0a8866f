//! Turns a template's rendered command into one that can run: fills holes, resolves secrets, makes
//! scratch folders. Called by command agents and hooks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::agent::{Agent, Arg, Command, Piece};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::secrets::{SecretValue, Secrets};
use tempfile::TempDir;

use super::short_token;
use crate::fault;
use crate::transport::{Failed, Invocation, Transport};

/// How scratch folders are named: this, the process id, a random part.
const SCRATCH_PREFIX: &str = "mainstay-scratch-";

/// What execution fills in.
#[derive(Clone, Default)]
pub(super) struct Holes {
    /// The short form of the recovery's token.
    pub(super) token: Option<String>,
    /// A private folder; removed when the last holder is gone.
    pub(super) scratch: Option<Arc<TempDir>>,
    /// What the session said.
    pub(super) facts: BTreeMap<String, String>,
}

impl Holes {
    /// What the commands under a token know.
    pub(super) fn of(invoker: &Invoker, token: &str) -> Result<Self, PortError> {
        let scratch = Some(invoker.scratch()?);
        Ok(Self { token: Some(short_token(token)), scratch, ..Self::default() })
    }
}

/// Runs commands of agents on one target.
#[derive(Clone)]
pub(super) struct Invoker {
    pub(super) transport: Arc<dyn Transport>,
    secrets: Arc<dyn Secrets>,
    scratch: PathBuf,
}

impl Invoker {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        secrets: Arc<dyn Secrets>,
        scratch: PathBuf,
    ) -> Self {
        Self { transport, secrets, scratch }
    }

    /// Makes a private folder that is removed with its last holder.
    pub(super) fn scratch(&self) -> Result<Arc<TempDir>, PortError> {
        let failed = |e| fault::path("make a scratch folder in", &self.scratch, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.scratch).map_err(failed)?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{SCRATCH_PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.scratch)
            .map_err(failed)?;
        Ok(Arc::new(folder))
    }

    /// Fills a command in. `default` is its time limit where the template names none.
    pub(super) fn fill(
        &self,
        agent: &Agent,
        command: &Command,
        holes: &Holes,
        default: Duration,
    ) -> Result<Invocation, PortError> {
        let mut secrets = Vec::new();
        let mut argv = Vec::with_capacity(command.argv.len());
        for argument in &command.argv {
            if argument.0.iter().any(|piece| matches!(piece, Piece::Secret(_))) {
                return Err(PortError::terminal(
                    "SecretInArgument",
                    format!("the type `{}` puts a secret into an argument", agent.template),
                )
                .with_hint("hand it over in the environment or on standard input"));
            }
            let bytes = self.join(argument, holes, &mut secrets)?;
            // Pieces are texts, and a path that is no UTF-8 is refused when the folder is made.
            argv.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let mut env = BTreeMap::new();
        for (name, value) in &agent.env {
            let value = self.join(value, holes, &mut secrets)?;
            if !value.is_empty() {
                env.insert(name.clone(), value);
            }
        }
        let input = match &command.input {
            Some(input) => self.join(input, holes, &mut secrets)?,
            None => Vec::new(),
        };
        let timeout = match command.timeout_s {
            0 => default,
            seconds => Duration::from_secs(seconds),
        };
        Ok(Invocation { argv, env, input, timeout, secrets, rules: agent.errors.clone().into() })
    }

    /// Runs commands one after the other; returns what the last one answered.
    pub(super) fn run(
        &self,
        agent: &Agent,
        commands: &[Command],
        holes: &Holes,
        default: Duration,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, Failed> {
        let mut answer = Vec::new();
        for command in commands {
            let invocation = self.fill(agent, command, holes, default)?;
            answer = self.transport.run(&invocation, cancel)?;
        }
        Ok(answer)
    }

    fn join(
        &self,
        argument: &Arg,
        holes: &Holes,
        secrets: &mut Vec<SecretValue>,
    ) -> Result<Vec<u8>, PortError> {
        let mut joined = Vec::new();
        for piece in &argument.0 {
            match piece {
                Piece::Text(text) => joined.extend_from_slice(text.as_bytes()),
                Piece::Hole(name) => joined.extend_from_slice(hole(name, holes)?.as_bytes()),
                Piece::Secret(reference) => {
                    let value = self.secrets.resolve(reference)?;
                    joined.extend_from_slice(value.expose());
                    secrets.push(value);
                }
            }
        }
        Ok(joined)
    }
}

fn hole(name: &str, holes: &Holes) -> Result<String, PortError> {
    let value = match name {
        "token" => holes.token.clone(),
        "scratch" => holes.scratch.as_ref().and_then(|s| s.path().to_str().map(str::to_owned)),
        _ => name.strip_prefix("facts.").and_then(|fact| holes.facts.get(fact).cloned()),
    };
    value.ok_or_else(|| {
        PortError::terminal("UnknownHole", format!("nothing fills `{{{{ {name} }}}}` here"))
            .with_hint("use what this step knows: a token in recoveries, facts after a session")
    })
}

/// Removes scratch folders whose process is gone, so that a crash leaves no copies behind.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(SCRATCH_PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|process| process.parse::<u32>().ok());
        if let Some(process) = process
            && !Path::new("/proc").join(process.to_string()).exists()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "a scratch folder stays");
        }
    }
}
