//! One file a command: arguments in, an operation called, its result rendered, a code out.

use crate::args::{Args, Command};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

mod apply;
mod backup;
mod bundle;
mod daemon;
mod decide;
mod documents;
mod end;
mod explain;
mod graph;
mod hand;
mod history;
mod init;
mod plan;
mod repository;
mod restore;
mod retention;
mod runbook;
mod scenario;
mod snapshots;
mod status;
mod validate;
mod whatif;

/// Runs the command.
pub async fn run(args: Args, ui: &Ui) -> Result<Exit, CliError> {
    let global = &args.global;
    match args.command {
        Command::Demo(args) => crate::demo::run(&args, ui),
        Command::Init(args) => init::run(&args, ui),
        Command::Validate(args) => validate::run(global, &args, ui).await,
        Command::Plan(args) => plan::run(global, &args, ui).await,
        Command::Graph(args) => graph::run(global, &args, ui).await,
        Command::Apply(args) => apply::run(global, &args, ui).await,
        Command::Daemon(args) => daemon::run(global, &args, ui).await,
        Command::Status(args) => status::run(global, &args, ui).await,
        Command::Snapshots(args) => snapshots::run(global, &args, ui).await,
        Command::History(args) => history::run(global, &args, ui).await,
        Command::Explain(args) => explain::run(global, &args, ui).await,
        Command::Backup(args) => backup::run(global, &args, ui).await,
        Command::Restore(args) => restore::run(global, &args, ui).await,
        Command::Ls(args) => hand::ls(global, &args, ui).await,
        Command::Find(args) => hand::find(global, &args, ui).await,
        Command::Diff(args) => hand::diff(global, &args, ui).await,
        Command::Dump(args) => hand::dump(global, &args, ui).await,
        Command::Commit(args) => {
            end::run(global, &args, operations::recovery::End::Commit, ui).await
        }
        Command::Rollback(args) => {
            end::run(global, &args, operations::recovery::End::Rollback, ui).await
        }
        Command::Approve(args) => decide::approve(global, &args, ui).await,
        Command::Hold(args) => decide::hold(global, &args, ui).await,
        Command::Accept(args) => decide::accept(global, &args, ui).await,
        Command::Repository(args) => repository::run(global, &args, ui).await,
        Command::Bundle(args) => bundle::run(global, &args, ui).await,
        Command::WhatIf(args) => whatif::run(global, &args, ui).await,
        Command::Retention(args) => retention::run(global, &args, ui).await,
        Command::Runbook(args) => runbook::run(global, &args, ui).await,
        Command::Scenario(args) => scenario::run(&args, ui),
        Command::Schema(args) => documents::schema(&args, ui),
        Command::Templates(args) => documents::templates(&args, ui),
        Command::Completions(args) => Ok(documents::completions(&args)),
        Command::Version => documents::version(ui),
        Command::Tool(args) => documents::tool(args),
    }
}

/// Reads addresses from the command line.
pub(crate) fn addresses(
    texts: &[String],
) -> Result<std::collections::BTreeSet<model::id::Address>, CliError> {
    texts.iter().map(|text| text.parse().map_err(usage)).collect()
}

/// Turns a parse error into one of wrong usage.
pub(crate) fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::usage(error.to_string())
}

/// Reads a duration such as `90s`, `2h`, `7d`.
pub(crate) fn duration_s(text: &str) -> Result<u64, CliError> {
    config::units::duration_s(text)
        .ok_or_else(|| CliError::usage(format!("`{text}` is no duration: write 90s, 5m, 2h, 7d")))
}

/// Writes the files of the quickstart into a folder; used by the demo.
pub(crate) fn write_quickstart(dir: &std::path::Path) -> Result<(), CliError> {
    init::write(dir)
}
