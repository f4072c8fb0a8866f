//! `mainstay whatif`.

use std::path::PathBuf;

use adapters::source::Worktree;
use model::cancel::Cancel;
use model::desired::Desired;
use model::ports::source::Source;
use operations::whatif::{Seen, policy};
use plan::whatif::{Fate, WhatIf};
use runtime::Unobserved;
use serde_json::json;

use super::plan::remarks;
use crate::args::{FromBundle, Global, Question, WhatIfArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::{self, Wired};

/// What a question is asked of, and the world where there is one.
pub struct Asked {
    /// What was seen.
    pub seen: Seen,
    /// The wired world; `None` with a bundle.
    pub wired: Option<Wired>,
}

/// Reads a bundle, or looks at the world.
pub async fn asked(global: &Global, from: &FromBundle, ui: &Ui) -> Result<Asked, CliError> {
    if let Some(file) = &from.from_bundle {
        let seen = Seen::from(super::bundle::read(file)?);
        seen.notes.iter().for_each(|note| ui.warn(note));
        return Ok(Asked { seen, wired: None });
    }
    let wired = wire::wire(global)?;
    let (seen, pass) =
        operations::whatif::look(&wired.world, &Unobserved, &Cancel::default()).await?;
    remarks(&pass, ui);
    Ok(Asked { seen, wired: Some(wired) })
}

pub async fn run(global: &Global, args: &WhatIfArgs, ui: &Ui) -> Result<Exit, CliError> {
    if let Question::Policy { dir, plan } = &args.question {
        return changed(global, args, dir.clone(), *plan, ui).await;
    }
    let Asked { seen, .. } = asked(global, &args.from, ui).await?;
    match &args.question {
        Question::Lose { what, name } => {
            let answer = seen.lose(what.word(), name).map_err(CliError::new)?;
            if ui.is_json() {
                ui.json(&json!({
                    "format": "mainstay.dev/whatif-loss", "version": 1, "answer": answer,
                }))?;
            } else {
                ui.lines(&plan::render::what_if(&answer));
            }
            Ok(exit(&answer))
        }
        Question::Schedules { days } => {
            let forecast = seen.schedules(*days);
            if ui.is_json() {
                ui.json(&json!({
                    "format": "mainstay.dev/whatif-schedules", "version": 1, "answer": forecast,
                }))?;
            } else {
                ui.lines(&plan::render::forecast(&forecast));
            }
            Ok(Exit::Success)
        }
        Question::Policy { .. } => Ok(Exit::Success),
    }
}

fn exit(answer: &WhatIf) -> Exit {
    let any = |fate| answer.resources.iter().any(|s| s.fate == fate);
    if any(Fate::Unknown) {
        Exit::Incomplete
    } else if any(Fate::Gone) || any(Fate::Unproven) || !answer.unprotected.is_empty() {
        Exit::Changes
    } else {
        Exit::Success
    }
}

async fn changed(
    global: &Global,
    args: &WhatIfArgs,
    dir: Option<PathBuf>,
    whole: bool,
    ui: &Ui,
) -> Result<Exit, CliError> {
    let desired = documents(global, dir).await?;
    let Asked { seen, wired } = asked(global, &args.from, ui).await?;
    let world = wired.as_ref().map(|wired| &wired.world);
    let answer = policy(&seen, desired, world, &Cancel::default()).await;
    for unseen in &answer.unseen {
        ui.warn(format!("{unseen} is not in the bundle: what the documents would do is not known"));
    }
    if ui.is_json() {
        ui.json(&json!({
            "format": "mainstay.dev/whatif-policy", "version": 1,
            "difference": answer.difference, "unseen": answer.unseen,
            "plan": plan::render::json(&answer.plan),
        }))?;
    } else {
        ui.lines(&plan::render::difference(&answer.difference));
        if whole {
            ui.out("");
            ui.lines(&plan::render::text(&answer.plan));
        }
    }
    let steps = answer.difference.added.iter().chain(&answer.difference.changed);
    Ok(match (answer.difference.is_empty(), steps.into_iter().any(|s| s.destructive)) {
        (true, _) => Exit::Success,
        (false, true) => Exit::Approval,
        (false, false) => Exit::Changes,
    })
}

/// The changed documents: files of a folder as they are.
async fn documents(global: &Global, dir: Option<PathBuf>) -> Result<Desired, CliError> {
    let dir = match dir {
        Some(dir) => dir,
        None if global.config.contains("://") => {
            return Err(CliError::usage("name the folder of the changed documents"));
        }
        None => PathBuf::from(&global.config),
    };
    let dir = match &global.subfolder {
        Some(below) => dir.join(below),
        None => dir,
    };
    let tree = Worktree::new(dir).fetch().await?;
    match runtime::configuration::load(tree, &wire::builtin()) {
        Ok(loaded) => Ok(loaded.desired),
        Err((diagnostics, tree)) => Err(CliError {
            diagnostics: Some((diagnostics, tree)),
            ..CliError::new("the changed documents are not valid")
        }),
    }
}
