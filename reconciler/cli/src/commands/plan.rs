//! `mainstay plan`.

use model::cancel::Cancel;
use operations::status::look;
use plan::Outcome;
use runtime::Unobserved;
use runtime::pass::Pass;

use super::addresses;
use crate::args::{Global, PlanArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::wire;

pub async fn run(global: &Global, args: &PlanArgs, ui: &Ui) -> Result<Exit, CliError> {
    let only = addresses(&args.only)?;
    let plan = match &args.from_bundle {
        Some(file) => {
            let bundle = super::bundle::read(file)?;
            let seen = operations::whatif::Seen::from(bundle);
            seen.notes.iter().for_each(|note| ui.warn(note));
            match only.is_empty() {
                true => seen.plan(),
                false => plan::plan_only(&seen.desired, &seen.observed, seen.at, &only),
            }
        }
        None => {
            let wired = wire(global)?;
            let pass = look(&wired.world, None, only, &Unobserved, &Cancel::default()).await?;
            remarks(&pass, ui);
            pass.plan
        }
    };
    if let Some(file) = &args.out {
        save(&plan, file)?;
        ui.say(format!("saved; apply it with `mainstay apply {}`", file.display()));
    }
    if args.markdown {
        ui.raw(&plan::render::markdown(&plan));
    } else if ui.is_json() {
        ui.json(&plan::render::json(&plan))?;
    } else {
        ui.lines(&plan::render::text(&plan));
    }
    Ok(Exit::from_code(Outcome::of(&plan).exit_code()))
}

/// Writes a plan as it is, for `mainstay apply FILE`; whole or not at all, so that a half plan is
/// never read.
fn save(plan: &model::plan::Plan, file: &std::path::Path) -> Result<(), CliError> {
    let text = serde_json::to_vec_pretty(plan)
        .map_err(|e| CliError::internal(format!("the plan is no JSON: {e}")))?;
    Ok(adapters::durable::write_output(file, &text)?)
}

/// Says what a reader should know about the pass itself.
pub fn remarks(pass: &Pass, ui: &Ui) {
    for note in &pass.notes {
        ui.warn(note);
    }
    for diagnostic in &pass.diagnostics {
        ui.warn(format!("{}: {}", diagnostic.origin, diagnostic.message));
    }
}
