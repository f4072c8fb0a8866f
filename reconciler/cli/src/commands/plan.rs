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
    let wired = wire(global)?;
    let only = addresses(&args.only)?;
    let pass = look(&wired.world, None, only, &Unobserved, &Cancel::default()).await?;
    remarks(&pass, ui);
    if let Some(file) = &args.out {
        save(&pass.plan, file)?;
        ui.say(format!("saved; apply it with `mainstay apply {}`", file.display()));
    }
    if args.markdown {
        ui.raw(&plan::render::markdown(&pass.plan));
    } else if ui.is_json() {
        ui.json(&plan::render::json(&pass.plan))?;
    } else {
        ui.lines(&plan::render::text(&pass.plan));
    }
    Ok(Exit::from_code(Outcome::of(&pass.plan).exit_code()))
}

/// Writes a plan as it is, for `mainstay apply FILE`; by rename, so that a half plan is never read.
fn save(plan: &model::plan::Plan, file: &std::path::Path) -> Result<(), CliError> {
    let lift = |e: std::io::Error| CliError::new(format!("{}: {e}", file.display()));
    let text = serde_json::to_vec_pretty(plan)
        .map_err(|e| CliError::internal(format!("the plan is no JSON: {e}")))?;
    let mut partial = file.as_os_str().to_owned();
    partial.push(".part");
    std::fs::write(&partial, text).map_err(lift)?;
    std::fs::rename(&partial, file).map_err(lift)
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
