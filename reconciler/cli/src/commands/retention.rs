//! `mainstay retention`.

use adapters::clock::System;
use adapters::source::Worktree;
use jiff::tz::TimeZone;
use model::Timestamp;
use model::ports::clock::Clock;
use model::ports::source::{ConfigTree, Source};
use operations::retention::{find, years_later};
use serde_json::json;

use super::usage;
use crate::args::{Global, RetentionArgs, RetentionCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire;

pub async fn run(global: &Global, args: &RetentionArgs, ui: &Ui) -> Result<Exit, CliError> {
    let RetentionCommand::Simulate { policy, years, schedule, tz, from } = &args.command;
    let zone = match tz {
        Some(name) => TimeZone::get(name).map_err(|_| {
            CliError::usage(format!("`{name}` is no time zone: write Europe/Berlin"))
        })?,
        None => TimeZone::UTC,
    };
    let from: Timestamp = match from {
        Some(text) => text.parse().map_err(usage)?,
        None => System.now(),
    };
    let tree = tree(global, ui).await;
    let none = std::collections::BTreeMap::new();
    let files = tree.as_ref().map_or(&none, |tree| &tree.files);
    let found = find(files, &wire::builtin(), policy, schedule, tz.as_deref());
    let found = found.map_err(|diagnostics| {
        let first = diagnostics.first().map(|d| format!(": {}", d.message)).unwrap_or_default();
        let mut error = CliError::new(format!("the policy or the schedule cannot be used{first}"));
        error.hints.extend(diagnostics.first().map(|d| d.help.clone()).filter(|h| !h.is_empty()));
        error.hint("`mainstay templates show retention` has those that come with the program")
    })?;
    let until = years_later(from, *years);
    let run = plan::simulate::simulate(&found.policy, &found.schedule, from, until, &zone);
    if ui.is_json() {
        ui.json(&json!({
            "format": "mainstay.dev/retention-simulation", "version": 1,
            "policy": found.policy, "schedule": found.schedule,
            "from": from.to_string(), "until": until.to_string(), "simulation": run,
        }))?;
    } else {
        let shown = match tz {
            Some(_) => zone,
            None => TimeZone::get(&found.policy.time_zone).unwrap_or(TimeZone::UTC),
        };
        ui.lines(&plan::render::simulation(&found.policy, &run, &shown));
    }
    Ok(if run.slots == 0 { Exit::Error } else { Exit::Success })
}

/// The config repository's files; none where there is no config repository.
async fn tree(global: &Global, ui: &Ui) -> Option<ConfigTree> {
    if !global.config.contains("://") {
        let mut dir = std::path::PathBuf::from(&global.config);
        dir.extend(&global.subfolder);
        // Not every folder in which one happens to be is a config repository.
        if global.config == "." && !dir.join(".git").exists() {
            return None;
        }
        return match Worktree::new(dir).fetch().await {
            Ok(tree) => Some(tree),
            Err(error) => {
                ui.warn(format!("policies of {} are not known: {error}", global.config));
                None
            }
        };
    }
    let fetched = async {
        let secrets = std::sync::Arc::new(wire::secrets(global)?);
        let source = wire::source(global, &wire::state_folder(global)?, secrets)?;
        Ok::<_, CliError>(source.fetch().await?)
    };
    match fetched.await {
        Ok(tree) => Some(tree),
        Err(error) => {
            ui.warn(format!("policies of {} are not known: {}", global.config, error.message));
            None
        }
    }
}
