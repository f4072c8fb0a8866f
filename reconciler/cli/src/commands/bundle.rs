//! `mainstay bundle`, and reading bundles for the commands that take one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use adapters::secrets::Scrubber;
use model::cancel::Cancel;
use operations::bundle::{Bundle, BundleError};
use operations::status::look;
use runtime::Unobserved;
use serde_json::json;

use super::plan::remarks;
use crate::args::{BundleArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use crate::wire::wire;

pub async fn run(global: &Global, args: &BundleArgs, ui: &Ui) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    let none = BTreeSet::new();
    let pass = look(&wired.world, None, none, &Unobserved, &Cancel::default()).await?;
    remarks(&pass, ui);
    let names = plan::whatif::names(&pass.desired);
    let keys = names.get("key").into_iter().flatten().map(String::as_str);
    let scrubber = Scrubber::new(&wired.secrets, keys);
    let bundle =
        operations::bundle::make(&wired.world, &pass, &|text| scrubber.scrub(text)).await?;
    let bytes = bundle.to_bytes()?;
    let to_stdout = args.output == Path::new("-");
    if to_stdout {
        std::io::stdout().lock().write_all(&bytes)?;
    } else {
        adapters::durable::write_output(&args.output, &bytes)?;
    }
    let points: usize = bundle.observed.repositories.values().map(points).sum();
    let incomplete = &pass.plan.report.incomplete;
    if ui.is_json() && !to_stdout {
        ui.json(&json!({
            "file": args.output, "bytes": bytes.len(), "at": bundle.at.to_string(),
            "commit": bundle.desired.commit, "resources": bundle.desired.resources.len(),
            "points": points, "records": bundle.history.len(), "replaced": bundle.replaced,
            "incomplete": incomplete,
        }))?;
    } else {
        ui.say(format!(
            "{}: {} resources, {points} points, {} records of the journal, {}",
            args.output.display(),
            bundle.desired.resources.len(),
            bundle.history.len(),
            human::bytes(bytes.len() as u64),
        ));
        if bundle.replaced > 0 {
            ui.say(format!("{} private or secret values were replaced", bundle.replaced));
        }
        incomplete.iter().for_each(|why| ui.warn(format!("not observed: {why}")));
    }
    Ok(if incomplete.is_empty() { Exit::Success } else { Exit::Incomplete })
}

fn points(seen: &model::observed::RepositoryObservation) -> usize {
    match seen {
        model::observed::RepositoryObservation::Known { snapshots, .. } => snapshots.len(),
        _ => 0,
    }
}

/// Reads a bundle.
pub fn read(file: &Path) -> Result<Bundle, CliError> {
    let bytes = std::fs::read(file)
        .map_err(|e| CliError::new(format!("cannot read {}: {e}", file.display())))?;
    Bundle::from_bytes(&bytes).map_err(|error| {
        let mut lifted = CliError::from(error);
        lifted.message = format!("{}: {}", file.display(), lifted.message);
        lifted
    })
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        let hint = match &error {
            BundleError::History(cause) => return Self::new(cause.chain()),
            BundleError::NotWhole(_) => "make one with `mainstay bundle`",
            BundleError::Newer(_) => "read it with the version that made it, or a later one",
            BundleError::Private(_) => "look at the label `mainstay.dev/private`",
        };
        Self::new(error.to_string()).hint(hint)
    }
}
