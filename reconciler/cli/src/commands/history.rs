//! `mainstay history`.

use model::journal::{Body, Outcome, Record};

use super::usage;
use crate::args::{Global, HistoryArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use crate::wire::wire;

pub async fn run(global: &Global, args: &HistoryArgs, ui: &Ui) -> Result<Exit, CliError> {
    let address = args.address.as_deref().map(str::parse).transpose().map_err(usage)?;
    let wired = wire(global)?;
    let records = operations::history::history(&wired.world, address.as_ref(), args.count).await?;
    if ui.is_json() {
        ui.json(&records)?;
        return Ok(Exit::Success);
    }
    for record in &records {
        ui.out(line(record));
    }
    Ok(Exit::Success)
}

fn line(record: &Record) -> String {
    let what = match &record.body {
        Body::Started { owner } => format!("started    {owner}"),
        Body::PlanBegun { plan, commit, steps } => {
            format!("plan       {} of commit {}, {steps} steps", plan.short(), commit.short())
        }
        Body::StepBegun { step, .. } => format!("begin      {step}"),
        Body::StepReached { step, phase, .. } => format!("reached    {step}  {phase}"),
        Body::StepEnded { step, outcome, .. } => match outcome {
            Outcome::Done { summary, .. } => format!("done       {step}  {summary}"),
            Outcome::Partial { summary, failures_count, .. } => {
                format!("PARTIAL    {step}  {summary}; {failures_count} items missing")
            }
            Outcome::Failed { error, reason, .. } => {
                format!("FAILED     {step}  {error} [{reason}]")
            }
            Outcome::Skipped { why } => format!("skipped    {step}  {why}"),
        },
        Body::PlanEnded { plan, done, failed, skipped } => format!(
            "plan end   {}: {done} done, {failed} failed, {skipped} not begun",
            plan.short()
        ),
        Body::Decided { verb, subject, by } => format!("{verb:<10} {subject} by {by}"),
        Body::Recovered { step, verdict } => format!("after crash {step}  {verdict}"),
    };
    format!("{}  {what}", human::instant(record.at))
}
