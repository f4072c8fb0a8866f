//! A person's hand tools: `ls`, `find`, `diff`, `dump`; and how all of them find a repository and a
//! point in it, with the configuration or with nothing but the repository and its password.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use adapters::clock::System;
use adapters::engine::{info_of, is_control};
use adapters::secrets::Chain;
use adapters::storage::named::{self, FromEnvironment};
use model::Timestamp;
use model::agent::SecretRef;
use model::cancel::Cancel;
use model::desired::{FailureDomain, RepositorySpec, StorageSpec};
use model::error::PortError;
use model::id::Address;
use model::observed::SnapshotInfo;
use model::ports::mover::{Entry, EntryKind};
use model::ports::secrets::{SecretValue, Secrets};
use repository::{Change, Id, Repository};
use serde_json::json;

use super::usage;
use crate::args::{DiffArgs, Direct, DumpArgs, FindArgs, Global, LsArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use crate::wire;

/// The name of a secret that `--password-file` gives.
const PASSWORD: &str = "password-file";

/// Repositories that are open, by name.
pub struct Opened {
    /// The repositories.
    pub repositories: BTreeMap<String, Arc<Repository>>,
}

/// What a command is about: an engine, and repositories by name.
pub struct Specs {
    /// The engine.
    pub engine: adapters::engine::Repositories,
    /// The repositories' descriptions.
    pub specs: BTreeMap<String, RepositorySpec>,
}

/// Opens the repositories that a command is about: the one with a password file, the one that is
/// named, or all of the configuration.
pub async fn open(global: &Global, direct: &Direct) -> Result<Opened, CliError> {
    let Specs { engine, specs } = specs(global, direct).await?;
    let mut repositories = BTreeMap::new();
    for (name, spec) in specs {
        repositories.insert(name, engine.open(&spec)?);
    }
    Ok(Opened { repositories })
}

/// Describes the repositories that a command is about, without opening them.
pub async fn specs(global: &Global, direct: &Direct) -> Result<Specs, CliError> {
    if let (Some(path), Some(file)) = (&direct.repository, &direct.password_file) {
        return direct_specs(global, path, file);
    }
    if direct.password_file.is_some() {
        return Err(CliError::usage("--password-file needs --repository PLACE"));
    }
    let (desired, chain) = wire::configuration(global).await.map_err(|error| {
        error.hint("a repository can be opened without it: --repository PLACE --password-file FILE")
    })?;
    let wanted = |name: &str| direct.repository.as_ref().is_none_or(|wanted| wanted == name);
    let specs: BTreeMap<String, RepositorySpec> = desired
        .repositories
        .iter()
        .filter(|(name, _)| wanted(name.as_str()))
        .map(|(name, spec)| (name.to_string(), spec.clone()))
        .collect();
    match &direct.repository {
        Some(name) if specs.is_empty() => {
            Err(CliError::new(format!("the configuration has no repository `{name}`"))
                .hint("for a place without configuration give --password-file as well"))
        }
        _ => Ok(Specs { engine: engine(global, chain)?, specs }),
    }
}

fn engine(
    global: &Global,
    secrets: Arc<dyn Secrets>,
) -> Result<adapters::engine::Repositories, CliError> {
    // The daemon's own folder, so that both go by the same marks.
    let state = wire::state_folder(global)?;
    Ok(adapters::engine::Repositories::new(adapters::engine::Parts {
        secrets,
        clock: Arc::new(System),
        marks: state.join("marks"),
        cache: wire::cache_folder(&state),
    }))
}

/// Secrets of a place without configuration: the password from its file, credentials of a storage
/// service from the variables that restic reads.
struct DirectSecrets {
    file: Chain,
    password: SecretRef,
}

impl Secrets for DirectSecrets {
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError> {
        if *secret == self.password {
            return self.file.resolve(secret);
        }
        FromEnvironment(variable).resolve(secret)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn absolute(path: &str) -> Result<String, PortError> {
    let bad = |why: String| PortError::terminal("BadLocation", why);
    let path = std::path::absolute(path).map_err(|error| bad(format!("{path:?}: {error}")))?;
    let text = path.to_str().ok_or_else(|| bad("the current folder's name is not UTF-8".into()))?;
    Ok(text.to_owned())
}

fn direct_specs(global: &Global, place: &str, file: &Path) -> Result<Specs, CliError> {
    let lift = |e: std::io::Error| CliError::new(format!("{}: {e}", file.display()));
    // The chain takes files from a folder by name: the file's own folder and name serve.
    let file = file.canonicalize().map_err(lift)?;
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
    else {
        return Err(CliError::usage("the password file's name must be UTF-8"));
    };
    let storage = named::parse(place, &variable, absolute)
        .map_err(|error| CliError { exit: Exit::Usage, ..CliError::from(error) })?;
    let password = SecretRef(name.to_owned());
    // Else the password would be sent to the service as its credential.
    if let StorageSpec::Remote(remote) = &storage
        && remote.secrets().contains(&&password)
    {
        return Err(CliError::usage(format!("a password file cannot be named {name}")));
    }
    let place = storage.location();
    let spec = RepositorySpec {
        name: PASSWORD.parse().map_err(usage)?,
        storage,
        password: password.clone(),
        id: None,
        failure_domain: FailureDomain::default(),
        medium: None,
        append_only: false,
        immutable: false,
        offline: false,
    };
    let secrets = DirectSecrets { file: Chain::new().with_folder(folder), password };
    let engine = engine(global, Arc::new(secrets))?;
    Ok(Specs { engine, specs: BTreeMap::from([(place, spec)]) })
}

/// A point and where it lies.
pub struct Found {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The repository's name.
    pub name: String,
    /// What is known of the point.
    pub info: SnapshotInfo,
    /// Its id in the engine's shape.
    pub id: Id,
}

impl Opened {
    /// Returns all points of resources, oldest first; control records are left out.
    pub fn points(&self) -> Result<Vec<Found>, CliError> {
        let mut all = Vec::new();
        for (name, repository) in &self.repositories {
            for snapshot in repository.snapshots()? {
                if is_control(&snapshot) {
                    continue;
                }
                all.push(Found {
                    repository: repository.clone(),
                    name: name.clone(),
                    info: info_of(&snapshot),
                    id: snapshot.id,
                });
            }
        }
        all.sort_by(|a, b| (a.info.time, &a.info.id).cmp(&(b.info.time, &b.info.id)));
        Ok(all)
    }

    /// Finds a point by `latest`, an address (its newest complete point) or an id's beginning.
    pub fn find(&self, what: &str, at: Option<Timestamp>) -> Result<Found, CliError> {
        let mut points = self.points()?;
        points.retain(|p| at.is_none_or(|at| p.info.time <= at));
        let address = what.parse::<Address>().ok();
        let matches = |p: &Found| match &address {
            Some(address) => p.info.address.as_ref() == Some(address),
            None => what == "latest" || (what.len() >= 4 && p.info.id.starts_with(what)),
        };
        points.retain(matches);
        let by_id = address.is_none() && what != "latest";
        let several = points.iter().any(|p| points.first().is_some_and(|f| f.id != p.id));
        if by_id && several {
            return Err(CliError::new(format!("several points begin with `{what}`")));
        }
        let complete = |p: &Found| p.info.receipt.as_ref().is_none_or(|r| r.complete);
        let newest = points.iter().rposition(complete).or(points.len().checked_sub(1));
        newest.map(|at| points.swap_remove(at)).ok_or_else(|| {
            CliError::new(format!("no point of `{what}`")).hint("`mainstay snapshots` lists them")
        })
    }
}

/// Returns bytes of a name as a terminal can show them.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::BlockDevice => 'b',
        EntryKind::CharDevice => 'c',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
    }
}

fn long(path: &[u8], entry: &Entry) -> String {
    let target = if entry.link_target.is_empty() {
        String::new()
    } else {
        format!(" -> {}", shown(&entry.link_target))
    };
    let time = Timestamp::new(entry.mtime.seconds, 0).map_or_else(|_| "-".into(), human::instant);
    format!(
        "{}{:04o} {:>6} {:>6} {:>12} {time} {}{target}",
        letter(entry.kind),
        entry.mode,
        entry.owner.uid,
        entry.owner.gid,
        entry.size,
        shown(path)
    )
}

pub async fn ls(global: &Global, args: &LsArgs, ui: &Ui) -> Result<Exit, CliError> {
    let found = open(global, &args.direct).await?.find(&args.what, None)?;
    let below = args.path.as_deref().unwrap_or("/").trim_end_matches('/').as_bytes().to_vec();
    let mut listed = Vec::new();
    found.repository.ls(&found.id, &Cancel::default(), &mut |path, node| {
        let inside = path.strip_prefix(below.as_slice());
        if inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")) {
            if ui.is_json() {
                let entry = &node.entry;
                listed.push(json!({
                    "path": shown(path), "kind": letter(entry.kind).to_string(),
                    "mode": entry.mode, "size": entry.size, "mtime": entry.mtime.seconds,
                }));
            } else if args.long {
                ui.out(long(path, &node.entry));
            } else {
                ui.out(shown(path));
            }
        }
        Ok(true)
    })?;
    if ui.is_json() {
        ui.json(&listed)?;
    }
    Ok(Exit::Success)
}

pub async fn find(global: &Global, args: &FindArgs, ui: &Ui) -> Result<Exit, CliError> {
    let address: Option<Address> =
        args.address.as_deref().map(str::parse).transpose().map_err(usage)?;
    let opened = open(global, &args.direct).await?;
    let mut hits = Vec::new();
    for point in opened.points()? {
        if address.is_some() && point.info.address != address {
            continue;
        }
        let patterns = [args.pattern.clone()];
        point.repository.find(
            &[point.id],
            &patterns,
            &Cancel::default(),
            &mut |_, path, node| {
                hits.push(json!({
                    "snapshot": point.info.id, "time": point.info.time.to_string(),
                    "path": shown(path), "size": node.entry.size,
                }));
                if !ui.is_json() {
                    let when = human::instant(point.info.time);
                    let size = human::bytes(node.entry.size);
                    ui.out(format!("{} {when} {size:>10} {}", point.info.id.short(), shown(path)));
                }
                Ok(())
            },
        )?;
    }
    if ui.is_json() {
        ui.json(&hits)?;
    } else if hits.is_empty() {
        ui.say(format!("`{}` is in no point", args.pattern));
    }
    Ok(if hits.is_empty() { Exit::Error } else { Exit::Success })
}

pub async fn diff(global: &Global, args: &DiffArgs, ui: &Ui) -> Result<Exit, CliError> {
    let opened = open(global, &args.direct).await?;
    let (from, to) = (opened.find(&args.from, None)?, opened.find(&args.to, None)?);
    if from.name != to.name {
        return Err(CliError::new(format!(
            "the points lie in different repositories, `{}` and `{}`",
            from.name, to.name
        )));
    }
    let mut changes = Vec::new();
    from.repository.diff(&from.id, &to.id, &Cancel::default(), &mut |difference| {
        let (mark, word) = match difference.change {
            Change::Added => ('+', "added"),
            Change::Removed => ('-', "removed"),
            Change::Modified => ('M', "modified"),
            Change::Metadata => ('U', "metadata"),
            Change::Kind => ('T', "kind"),
        };
        let path = shown(&difference.path);
        if ui.is_json() {
            changes.push(json!({
                "path": path, "change": word,
                "sizeBefore": difference.sizes.0, "sizeAfter": difference.sizes.1,
            }));
        } else {
            ui.out(format!("{mark} {path}"));
        }
        Ok(())
    })?;
    if ui.is_json() {
        ui.json(&changes)?;
    }
    Ok(Exit::Success)
}

pub async fn dump(global: &Global, args: &DumpArgs, ui: &Ui) -> Result<Exit, CliError> {
    let found = open(global, &args.direct).await?.find(&args.what, None)?;
    let path =
        if args.path.starts_with('/') { args.path.clone() } else { format!("/{}", args.path) };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let cancel = Cancel::default();
    let (repository, id, path) = (&found.repository, &found.id, path.as_bytes());
    let left_out = match repository.dump(id, path, &mut out, &cancel) {
        Err(e) if e.reason == "NotAFile" => repository.dump_tar(id, path, &mut out, &cancel)?,
        other => other.map(|_| Vec::new())?,
    };
    out.flush()?;
    for problem in &left_out {
        ui.warn(format!("{}: {}", shown(&problem.path), problem.message));
    }
    Ok(if left_out.is_empty() { Exit::Success } else { Exit::Error })
}
