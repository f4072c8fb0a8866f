//! `mainstay repository`: everything that can be done with a repository by hand.

mod cache;
mod care;
mod change;
mod keys;
mod look;
mod mount;
mod repair;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::cancel::Cancel;
use model::id::Address;
use repository::{Options, Repository, Snapshot};

use super::hand::{self, Specs};
use super::{duration_s, usage};
use crate::args::{Access, Direct, Filter, Global, RepositoryArgs, RepositoryCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::Bar;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;

/// What every command here works with.
struct Desk<'d> {
    global: &'d Global,
    direct: &'d Direct,
    specs: Specs,
    access: Open,
    cancel: Cancel,
    ui: &'d Ui,
}

/// How repositories are opened.
#[derive(Clone, Copy)]
struct Open {
    lock_wait: Duration,
    no_lock: bool,
    no_cache: bool,
}

impl Open {
    fn new(access: &Access) -> Result<Self, CliError> {
        let lock_wait = Duration::from_secs(duration_s(&access.retry_lock)?);
        Ok(Self { lock_wait, no_lock: access.no_lock, no_cache: access.no_cache })
    }

    fn apply(self, options: &mut Options) {
        options.lock_wait = self.lock_wait;
        options.read_only = self.no_lock;
        if self.no_cache {
            options.cache = None;
        }
    }
}

/// A command on one open repository.
type Work<'w> = &'w dyn Fn(&Arc<Repository>) -> Result<Exit, CliError>;

impl Desk<'_> {
    /// Opens all repositories that the command is about.
    fn open(&self) -> Result<BTreeMap<String, Arc<Repository>>, CliError> {
        let open = |spec| self.specs.engine.open_with(spec, &|options| self.access.apply(options));
        self.specs.specs.iter().map(|(name, spec)| Ok((name.clone(), open(spec)?))).collect()
    }

    /// Opens the one repository that the command is about.
    fn one(&self) -> Result<(String, Arc<Repository>), CliError> {
        if self.specs.specs.len() != 1 {
            let names: Vec<&str> = self.specs.specs.keys().map(String::as_str).collect();
            let known = match names.as_slice() {
                [] => "the configuration has none".to_owned(),
                names => format!("the configuration has {}", names.join(", ")),
            };
            return Err(CliError::usage(format!("which repository? {known}"))
                .hint("name it: --repository NAME, or --repo PLACE --password-file FILE"));
        }
        self.open()?.pop_first().ok_or_else(|| CliError::internal("no repository is open"))
    }

    /// Returns the bar of one piece of work.
    fn bar(&self) -> Bar {
        Bar::new(self.ui)
    }

    /// Does the work on each repository; the worst end is the command's.
    fn each(&self, work: Work<'_>) -> Result<Exit, CliError> {
        let mut exit = Exit::Success;
        for (name, repository) in self.open()? {
            self.ui.say(format!("repository {name}"));
            match tokio::task::block_in_place(|| work(&repository))? {
                Exit::Success => {}
                other => exit = other,
            }
        }
        Ok(exit)
    }
}

/// Runs the command.
pub async fn run(global: &Global, args: &RepositoryArgs, ui: &Ui) -> Result<Exit, CliError> {
    use RepositoryCommand as Command;
    // Values that stand behind the last word reach the commands' own arguments by themselves.
    match &args.command {
        Command::Ls(below) => return hand::ls(global, below, ui).await,
        Command::Find(below) => return hand::find(global, below, ui).await,
        Command::Diff(below) => return hand::diff(global, below, ui).await,
        Command::Dump(below) => return hand::dump(global, below, ui).await,
        Command::Cache(below) => return cache::run(global, below, ui),
        _ => {}
    }
    let say = ui.clone();
    let desk = Desk {
        global,
        direct: &args.direct,
        specs: hand::specs(global, &args.direct).await?,
        access: Open::new(&args.access)?,
        cancel: cancel_on_signals(move |text| say.say(text)),
        ui,
    };
    match &args.command {
        Command::Init => tokio::task::block_in_place(|| change::init(&desk)),
        Command::List(below) => look::list(&desk, below),
        Command::Mount(below) => mount::run(&desk, below).await,
        Command::Check(below) => desk.each(&|repository| care::check(&desk, repository, below)),
        Command::Forget(below) => {
            let (name, repository) = desk.one()?;
            ui.say(format!("repository {name}"));
            tokio::task::block_in_place(|| change::forget(&desk, &repository, below))
        }
        Command::Prune(below) => desk.each(&|repository| care::prune(&desk, repository, below)),
        Command::Copy(below) => {
            let (_, repository) = desk.one()?;
            change::copy(&desk, &repository, below).await
        }
        Command::Key(below) => {
            let (_, repository) = desk.one()?;
            tokio::task::block_in_place(|| keys::run(&desk, &repository, &below.command))
        }
        Command::Repair(below) => {
            let (_, repository) = desk.one()?;
            tokio::task::block_in_place(|| repair::run(&desk, &repository, &below.command))
        }
        Command::Stats(below) => desk.each(&|repository| look::stats(&desk, repository, below)),
        Command::Tag(below) => {
            let (_, repository) = desk.one()?;
            tokio::task::block_in_place(|| change::tag(&desk, &repository, below))
        }
        Command::Adopt(below) => {
            let (_, repository) = desk.one()?;
            tokio::task::block_in_place(|| change::adopt(&desk, &repository, below))
        }
        Command::Unlock(below) => desk.each(&|repository| care::unlock(&desk, repository, below)),
        Command::Migrate => desk.each(&|repository| care::migrate(&desk, repository)),
        // Served above.
        Command::Ls(_)
        | Command::Find(_)
        | Command::Diff(_)
        | Command::Dump(_)
        | Command::Cache(_) => Err(CliError::internal("the command was served already")),
    }
}

/// Finds snapshots by the beginnings of their ids.
fn by_ids(all: &[Snapshot], ids: &[String]) -> Result<Vec<Snapshot>, CliError> {
    let mut found = Vec::new();
    for id in ids {
        let hits: Vec<&Snapshot> = all.iter().filter(|s| s.id.hex().starts_with(id)).collect();
        match hits.as_slice() {
            [one] if id.len() >= 4 => found.push((*one).clone()),
            _ if id.len() < 4 => {
                return Err(CliError::usage(format!("`{id}` is too short for a snapshot's id")));
            }
            [] => {
                return Err(CliError::new(format!("no snapshot `{id}`"))
                    .hint("`mainstay repository list` shows them"));
            }
            _ => return Err(CliError::new(format!("several snapshots begin with `{id}`"))),
        }
    }
    Ok(found)
}

/// Returns the address that a snapshot is of.
fn address_of(snapshot: &Snapshot) -> Option<Address> {
    adapters::engine::info_of(snapshot).address
}

/// Leaves those that the filter names; control records never are.
fn filtered(mut all: Vec<Snapshot>, filter: &Filter) -> Result<Vec<Snapshot>, CliError> {
    let address: Option<Address> =
        filter.address.as_deref().map(str::parse).transpose().map_err(usage)?;
    all.retain(|s| {
        !adapters::engine::is_control(s)
            && (address.is_none() || address_of(s) == address)
            && filter.host.as_ref().is_none_or(|host| *host == s.host)
            && filter.tag.iter().all(|tag| s.tags.contains(tag))
            && filter.path.iter().all(|path| s.paths.contains(path))
    });
    Ok(all)
}
