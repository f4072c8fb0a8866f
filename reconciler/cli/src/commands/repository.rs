//! `mainstay repository`: check, prune, unlock, stats.

use std::sync::Arc;

use jiff::SignedDuration;
use model::cancel::Cancel;
use model::progress::Silent;
use repository::{CheckOptions, Depth, PruneMark, PruneOptions, Repository};

use super::{duration_s, hand, usage};
use crate::args::{Global, RepositoryArgs, RepositoryCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;

pub async fn run(global: &Global, args: &RepositoryArgs, ui: &Ui) -> Result<Exit, CliError> {
    let opened = hand::open(global, &args.direct).await?;
    let say = ui.clone();
    let cancel = cancel_on_signals(move |text| say.say(text));
    let mut exit = Exit::Success;
    for (name, repository) in &opened.repositories {
        ui.say(format!("repository {name}"));
        let one = tokio::task::block_in_place(|| work(&args.command, repository, &cancel, ui))?;
        if one != Exit::Success {
            exit = one;
        }
    }
    Ok(exit)
}

fn work(
    command: &RepositoryCommand,
    repository: &Arc<Repository>,
    cancel: &Cancel,
    ui: &Ui,
) -> Result<Exit, CliError> {
    match command {
        RepositoryCommand::Check { read_data } => check(repository, *read_data, cancel, ui),
        RepositoryCommand::Prune { grace, dry_run } => {
            prune(repository, grace, *dry_run, cancel, ui)
        }
        RepositoryCommand::Unlock => {
            let removed = repository.unlock(false)?;
            ui.out(format!("{removed} locks of dead processes removed"));
            Ok(Exit::Success)
        }
        RepositoryCommand::Stats => stats(repository, cancel, ui),
    }
}

fn check(
    repository: &Repository,
    read_data: bool,
    cancel: &Cancel,
    ui: &Ui,
) -> Result<Exit, CliError> {
    let depth = if read_data { Depth::All } else { Depth::Structure };
    let options = CheckOptions { depth, snapshots: Vec::new(), threads: 0 };
    let report = repository.check(&options, &Silent, cancel)?;
    for fault in &report.faults {
        let needed = fault.needed_by.as_ref().map_or_else(String::new, |(id, path)| {
            format!(" (snapshot {}, {})", id.short(), hand::shown(path))
        });
        ui.out(format!("{}: {}{needed}", fault.reason, fault.message));
    }
    ui.out(format!(
        "{} snapshots, {} trees, {} read: {}",
        report.snapshots,
        report.trees,
        human::bytes(report.bytes_read),
        if report.is_whole() { "whole" } else { "DAMAGED" }
    ));
    Ok(if report.is_whole() { Exit::Success } else { Exit::Error })
}

fn prune(
    repository: &Repository,
    grace: &str,
    dry_run: bool,
    cancel: &Cancel,
    ui: &Ui,
) -> Result<Exit, CliError> {
    let grace = i64::try_from(duration_s(grace)?).map_err(usage)?;
    let options = PruneOptions {
        grace: SignedDuration::from_secs(grace),
        dry_run,
        ..PruneOptions::default()
    };
    let report = repository.prune(&PruneMark::default(), &options, &Silent, cancel)?;
    ui.out(format!(
        "{} freed, {} wait out the grace period, {} repacked, {} used",
        human::bytes(report.bytes_deleted),
        human::bytes(report.bytes_waiting),
        human::bytes(report.bytes_repacked),
        human::bytes(report.bytes_used)
    ));
    Ok(Exit::Success)
}

fn stats(repository: &Repository, cancel: &Cancel, ui: &Ui) -> Result<Exit, CliError> {
    let stats = repository.stats(cancel)?;
    if ui.is_json() {
        ui.json(&serde_json::json!({
            "snapshots": stats.snapshots, "packs": stats.packs, "blobs": stats.blobs,
            "bytesPacks": stats.bytes_packs, "bytesStored": stats.bytes_stored,
            "bytesPlain": stats.bytes_plain,
        }))?;
        return Ok(Exit::Success);
    }
    ui.out(format!("{} snapshots, control records included", stats.snapshots));
    ui.out(format!("{} blobs in {} packs", stats.blobs, stats.packs));
    ui.out(format!(
        "{} of deduplicated content, stored in {}",
        human::bytes(stats.bytes_plain),
        human::bytes(stats.bytes_packs)
    ));
    Ok(Exit::Success)
}
