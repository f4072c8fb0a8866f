//! `mainstay explain`.

use model::cancel::Cancel;
use model::journal::{Body, Outcome};
use operations::history::history;
use operations::status::look;
use plan::explain::Subject;
use runtime::Unobserved;

use crate::args::{ExplainArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use crate::wire::wire;

/// Journal records that are searched.
const RECORDS_MAX: usize = 20_000;

pub async fn run(global: &Global, args: &ExplainArgs, ui: &Ui) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    let none = std::collections::BTreeSet::new();
    let pass = look(&wired.world, None, none, &Unobserved, &Cancel::default()).await?;
    let subject = Subject::parse(&args.subject, &pass.plan);
    let explained =
        plan::explain(&pass.desired, &pass.observed, &pass.plan, pass.plan.at, &subject);
    let mut lines: Vec<String> = explained
        .map(|lines| lines.to_plain().lines().map(str::to_owned).collect())
        .unwrap_or_default();
    for record in history(&wired.world, None, RECORDS_MAX).await? {
        if let Body::StepEnded { step, outcome, .. } = &record.body
            && (step.as_str() == args.subject || made(outcome, &args.subject))
        {
            lines.push(format!("{}: {}", human::instant(record.at), said(outcome)));
        }
    }
    if lines.is_empty() {
        return Err(CliError::new(format!("nothing is known of `{}`", args.subject))
            .hint("give a step of `mainstay plan`, a snapshot's id or a resource's address"));
    }
    if ui.is_json() {
        ui.json(&lines)?;
    } else {
        lines.iter().for_each(|line| ui.out(line));
    }
    Ok(Exit::Success)
}

fn made(outcome: &Outcome, subject: &str) -> bool {
    match outcome {
        Outcome::Done { snapshot: Some(id), .. } | Outcome::Partial { snapshot: Some(id), .. } => {
            subject.len() >= 8 && id.starts_with(subject)
        }
        _ => false,
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { summary, .. } => format!("done: {summary}"),
        Outcome::Partial { summary, failures, failures_count, .. } => {
            let names: Vec<String> =
                failures.iter().map(|f| format!("\n  {}: {}", f.item, f.error)).collect();
            format!("partial: {summary}; {failures_count} items missing{}", names.concat())
        }
        Outcome::Failed { error, reason, .. } => format!("failed: {error} [{reason}]"),
        Outcome::Skipped { why } => format!("skipped: {why}"),
    }
}
