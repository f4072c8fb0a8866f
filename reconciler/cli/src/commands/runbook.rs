//! `mainstay runbook`.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::secrets::Chain;
use model::agent::SecretRef;
use model::desired::Desired;
use plan::runbook::{Runbook, Surroundings, html, markdown, runbook, stale, text};
use serde_json::json;

use super::whatif::{Asked, asked};
use crate::args::{Global, Paper, RunbookArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire;

pub async fn run(global: &Global, args: &RunbookArgs, ui: &Ui) -> Result<Exit, CliError> {
    let printed = args.check.as_deref().map(|file| {
        std::fs::read_to_string(file)
            .map_err(|e| CliError::new(format!("cannot read {}: {e}", file.display())))
    });
    let printed = printed.transpose()?;
    let Asked { seen, wired } = asked(global, &args.from, ui).await?;
    let secrets = match &wired {
        Some(wired) => wired.secrets.clone(),
        // What lies on the machine that reads a bundle says nothing of the machine that made it.
        None => Arc::new(Chain::new()),
    };
    let around = surroundings(global, &secrets, &seen.desired);
    let made = runbook(&seen.desired, &seen.observed, seen.at, &seen.measured, &around);
    if let Some(printed) = printed {
        let why = stale(&printed, &made, &seen.observed);
        if ui.is_json() {
            ui.json(&json!({ "stale": !why.is_empty(), "reasons": why }))?;
        } else if why.is_empty() {
            ui.say("it is right");
        } else {
            why.iter().for_each(|why| ui.out(format!("stale: {why}")));
        }
        return Ok(if why.is_empty() { Exit::Success } else { Exit::Changes });
    }
    let of = rendered(&made, args.paper, ui)?;
    match &args.output {
        Some(file) => {
            adapters::durable::write_output(file, of.as_bytes())?;
            ui.say(format!("written to {}", file.display()));
        }
        None => ui.raw(&of),
    }
    Ok(Exit::Success)
}

/// What the runbook says of the machine that it is made on.
pub(super) fn surroundings(global: &Global, secrets: &Chain, desired: &Desired) -> Surroundings {
    let names = plan::whatif::names(desired);
    let whereabouts: BTreeMap<String, String> = names
        .get("key")
        .into_iter()
        .flatten()
        .filter_map(|name| Some((name.clone(), secrets.whereabouts(&SecretRef(name.clone()))?)))
        .map(|(name, place)| (name, format!("{place}, on {}", wire::hostname())))
        .collect();
    Surroundings { secrets: whereabouts, config: config(global) }
}

fn rendered(made: &Runbook, paper: Paper, ui: &Ui) -> Result<String, CliError> {
    if ui.is_json() {
        let value = json!({ "format": "mainstay.dev/runbook", "version": 1, "runbook": made });
        let text = serde_json::to_string_pretty(&value)
            .map_err(|e| CliError::internal(format!("the runbook is no JSON: {e}")))?;
        return Ok(text + "\n");
    }
    Ok(on_paper(made, paper))
}

/// Returns it as it is printed.
pub(super) fn on_paper(made: &Runbook, paper: Paper) -> String {
    match paper {
        Paper::Markdown => markdown(made),
        Paper::Html => html(made),
        Paper::Text => text(made),
    }
}

/// Where the config repository lies; a password in its URL stays out of the document.
fn config(global: &Global) -> String {
    match global.config.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => std::path::absolute(&global.config)
            .map_or_else(|_| global.config.clone(), |path| path.display().to_string()),
    }
}
