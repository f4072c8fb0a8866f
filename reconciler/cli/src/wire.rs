//! Wires adapters into the runtime: the only place where both are named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapters::agents::Fleet;
use adapters::clock::System;
use adapters::engine::Repositories;
use adapters::secrets::Chain;
use adapters::source::{Access, Git, Location};
use adapters::state::{CrashAfter, Folder};
use adapters::transport::Local;
use model::agent::SecretRef;
use model::desired::Desired;
use model::ports::secrets::Secrets;
use model::ports::source::{ConfigTree, Source};
use model::ports::state::State;
use runtime::World;
use runtime::world::{Limits, Remembered};

use crate::args::Global;
use crate::error::CliError;

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// A wired program.
pub struct Wired {
    /// The ports.
    pub world: World,
    /// Where secrets come from.
    pub secrets: Arc<Chain>,
}

/// Returns the built-in templates and policies, by path.
pub fn builtin() -> BTreeMap<String, Vec<u8>> {
    BUILTIN.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Returns the files of the quickstart example, by path below it.
pub fn quickstart() -> BTreeMap<String, Vec<u8>> {
    QUICKSTART.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Returns the name of this machine.
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Returns who runs this, for the journal.
pub fn user() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    name.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn base(variable: &str, below_home: &str) -> Result<PathBuf, CliError> {
    if let Some(path) = std::env::var_os(variable).filter(|p| Path::new(p).is_absolute()) {
        return Ok(PathBuf::from(path));
    }
    match std::env::var_os("HOME") {
        Some(home) => Ok(Path::new(&home).join(below_home)),
        None => Err(CliError::new(format!("neither {variable} nor HOME is set"))
            .hint("set HOME, or give --state and --secrets")),
    }
}

/// Returns where state lies.
pub fn state_folder(global: &Global) -> Result<PathBuf, CliError> {
    match &global.state {
        Some(path) => Ok(std::path::absolute(path)?),
        None => Ok(base("XDG_STATE_HOME", ".local/state")?.join("mainstay")),
    }
}

/// Returns where copies of what lies on storage services are kept.
pub fn cache_folder(state: &Path) -> PathBuf {
    state.join("cache")
}

/// Returns where secrets are looked for.
pub fn secrets(global: &Global) -> Result<Chain, CliError> {
    let config = base("XDG_CONFIG_HOME", ".config").map(|path| path.join("mainstay"));
    let folder = match (&global.secrets, &config) {
        (Some(path), _) => Some(std::path::absolute(path)?),
        (None, Ok(config)) => Some(config.join("secrets")),
        (None, Err(_)) => None,
    };
    let identity = match (&global.age_identity, &config) {
        (Some(path), _) => Some(std::path::absolute(path)?),
        (None, Ok(config)) => Some(config.join("age.key")).filter(|p| p.exists()),
        (None, Err(_)) => None,
    };
    let mut chain = Chain::new().with_environment(std::env::vars_os());
    if let Some(identity) = identity {
        chain = chain.with_identity(identity);
    }
    if let Some(folder) = folder {
        chain = chain.with_folder(folder);
    }
    Ok(chain)
}

/// Returns the location of the config repository: a URL as it is, a folder made absolute.
pub fn location(text: &str) -> Result<Location, CliError> {
    let url = text.contains("://") || (text.contains(':') && !Path::new(text).exists());
    let text = if url { text.to_owned() } else { absolute_text(Path::new(text))? };
    Ok(Location::parse(&text)?)
}

fn absolute_text(path: &Path) -> Result<String, CliError> {
    let absolute =
        path.canonicalize().map_err(|e| CliError::new(format!("{}: {e}", path.display())))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| CliError::new("the config repository's path is not UTF-8"))
}

/// Returns the config repository.
pub fn source(global: &Global, cache: &Path, secrets: Arc<dyn Secrets>) -> Result<Git, CliError> {
    // Both are optional: a public repository needs no token, many keys have no passphrase.
    let given = |name: &str| {
        let secret = SecretRef(name.to_owned());
        secrets.resolve(&secret).is_ok().then_some(secret)
    };
    let access = Access {
        token: given("git-token"),
        key: std::env::var_os("MAINSTAY_GIT_KEY").map(PathBuf::from),
        passphrase: given("git-key-passphrase"),
        known_hosts: std::env::var_os("MAINSTAY_GIT_KNOWN_HOSTS").map(PathBuf::from),
    };
    Ok(Git::new(
        location(&global.config)?,
        global.r#ref.clone(),
        global.subfolder.clone(),
        cache.join("git"),
        access,
        secrets,
    ))
}

/// Reads the configuration as it is, without looking at anything that it speaks of; with the
/// secrets by which what it names can be opened.
pub async fn configuration(global: &Global) -> Result<(Desired, Arc<Chain>), CliError> {
    let chain = Arc::new(secrets(global)?);
    let source = source(global, &state_folder(global)?, chain.clone())?;
    let tree = source.fetch().await?;
    chain.use_tree(&tree);
    match runtime::configuration::load(tree, &builtin()) {
        Ok(loaded) => Ok((loaded.desired, chain)),
        Err((diagnostics, tree)) => Err(runtime::PassError::Invalid { diagnostics, tree }.into()),
    }
}

/// Wires everything for the given options.
pub fn wire(global: &Global) -> Result<Wired, CliError> {
    let state_path = state_folder(global)?;
    let folder: Arc<dyn State> = Arc::new(Folder::open(&state_path)?);
    // For tests of P5: the process kills itself after so many journal records.
    let state: Arc<dyn State> = match std::env::var("MAINSTAY_TEST_CRASH_AFTER") {
        Ok(count) => Arc::new(CrashAfter::new(
            folder,
            count.parse().map_err(|_| CliError::usage("MAINSTAY_TEST_CRASH_AFTER: a number"))?,
        )),
        Err(_) => folder,
    };
    let chain = Arc::new(secrets(global)?);
    let secrets: Arc<dyn Secrets> = chain.clone();
    let source: Arc<dyn Source> = Arc::new(source(global, &state_path, secrets.clone())?);
    let told = chain.clone();
    let known = chain.clone();
    let clock = Arc::new(System);
    let engine = Repositories::new(adapters::engine::Parts {
        secrets: secrets.clone(),
        clock: clock.clone(),
        marks: state_path.join("marks"),
        cache: cache_folder(&state_path),
    });
    let agents = Fleet::new(adapters::agents::Parts {
        local: Arc::new(Local::new(None, std::env::vars_os())?),
        secrets,
        clock: clock.clone(),
        scratch: state_path.join("scratch"),
    });
    let world = World {
        source,
        engine: Arc::new(engine),
        agents: Arc::new(agents),
        state,
        clock,
        builtin: Arc::new(builtin()),
        on_config: Arc::new(move |tree: &ConfigTree| told.use_tree(tree)),
        hostname: hostname(),
        limits: Limits::default(),
        remembered: Remembered::default(),
    };
    Ok(Wired { world, secrets: known })
}
