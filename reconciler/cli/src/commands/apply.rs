//! `mainstay apply`.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use model::digest::Digest;
use model::plan::{Class, Plan, Wait};
use model::ports::clock::Clock;
use operations::{ApplyRequest, apply, owner};
use runtime::Observer;
use runtime::execute::Summary;
use runtime::pass::Pass;

use super::{addresses, plan};
use crate::args::{ApplyArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::{Bars, JsonLines};
use crate::signals::cancel_on_signals;
use crate::ui::Ui;
use crate::wire::{hostname, wire};

pub async fn run(global: &Global, args: &ApplyArgs, ui: &Ui) -> Result<Exit, CliError> {
    let request = ApplyRequest {
        saved: args.plan.as_deref().map(read_plan).transpose()?,
        only: addresses(&args.only)?,
        approve: full_digests(&args.approve)?,
        since: None,
    };
    apply_request(global, &request, args.no_input, ui).await
}

/// Applies and shows; shared with `backup`.
pub async fn apply_request(
    global: &Global,
    request: &ApplyRequest,
    no_input: bool,
    ui: &Ui,
) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    let world = &wired.world;
    let say = ui.clone();
    let cancel = cancel_on_signals(move |text| say.say(text));
    let observer = observer(ui);
    let owner = owner("apply", &hostname(), adapters::clock::System.now());
    let short: BTreeSet<String> = request.approve.iter().map(ToString::to_string).collect();
    let mut request = request.clone();
    request.approve.clear();
    let ask = !no_input && std::io::stdin().is_terminal() && !ui.is_json();
    let confirm = |pass: &Pass| confirm(pass, &short, ask, ui);
    let applied = apply(world, &owner, &request, &confirm, &observer, &cancel).await?;
    show(&applied.summary, ui);
    let exit = Exit::from_code(operations::apply::exit_code(&applied.summary));
    let incomplete =
        applied.pass.as_ref().is_some_and(|pass| !pass.plan.report.incomplete.is_empty());
    Ok(if exit == Exit::Success && incomplete { Exit::Incomplete } else { exit })
}

/// Returns what shows events in the wanted format.
pub fn observer(ui: &Ui) -> Arc<dyn Observer> {
    if ui.is_json() { Arc::new(JsonLines { ui: ui.clone() }) } else { Arc::new(Bars::new(ui)) }
}

/// Shows the plan and settles approvals: those given on the command line, then a person's yes.
fn confirm(pass: &Pass, given: &BTreeSet<String>, ask: bool, ui: &Ui) -> Option<BTreeSet<Digest>> {
    plan::remarks(pass, ui);
    if !ui.is_json() {
        ui.lines(&::plan::render::text(&pass.plan));
    }
    let mut approved = BTreeSet::new();
    for text in given {
        match &pass.plan.destructive {
            Some(digest) if digest.as_str().starts_with(text.as_str()) => {
                approved.insert(digest.clone());
            }
            // Refused by `apply`, which names both digests.
            _ => {
                approved.insert(Digest::from(text.clone()));
            }
        }
    }
    let waits = pass.plan.steps.iter().any(|s| {
        s.class == Class::Destructive && s.waits.iter().any(|w| matches!(w, Wait::Approval { .. }))
    });
    if let (true, true, true, Some(digest)) =
        (waits, ask, approved.is_empty(), &pass.plan.destructive)
    {
        let question = format!(
            "The destructive steps above put data over what exists. Type the first eight digits \
             of {} to approve them, or press Enter to leave them waiting: ",
            digest.short()
        );
        if answer(&question).is_some_and(|a| a.len() >= 8 && digest.as_str().starts_with(&a)) {
            approved.insert(digest.clone());
        }
    }
    Some(approved)
}

fn answer(question: &str) -> Option<String> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question}").ok()?;
    stderr.flush().ok()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

fn show(summary: &Summary, ui: &Ui) {
    if ui.is_json() {
        return;
    }
    for (step, waits) in &summary.waiting {
        for wait in waits {
            ui.say(format!("  waits    {step}  for {}", ::plan::render::wait(wait)));
        }
    }
    ui.say(format!(
        "{} done, {} failed or partial, {} not begun",
        summary.done, summary.failed, summary.skipped
    ));
    if summary.cancelled {
        ui.hint("stopped as asked; `mainstay apply` goes on from here");
    }
}

fn read_plan(file: &std::path::Path) -> Result<Plan, CliError> {
    let text =
        std::fs::read(file).map_err(|e| CliError::new(format!("{}: {e}", file.display())))?;
    serde_json::from_slice(&text).map_err(|e| {
        CliError::new(format!("{} is not a plan: {e}", file.display()))
            .hint("plans are written by `mainstay plan --out FILE`")
    })
}

/// Takes whole digests or their first eight digits and more.
fn full_digests(texts: &[String]) -> Result<BTreeSet<Digest>, CliError> {
    texts
        .iter()
        .map(|text| {
            let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
            if hex && (8..=64).contains(&text.len()) {
                Ok(Digest::from(text.clone()))
            } else {
                Err(CliError::usage(format!("`{text}` is not a digest of 8 to 64 hex digits")))
            }
        })
        .collect()
}
