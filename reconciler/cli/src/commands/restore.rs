//! `mainstay restore`: a point, or some paths of it, into a folder. For people in a hurry: no plan,
//! no state, nothing that exists is touched outside the folder.

use std::path::Path;

use model::journal::Outcome;
use model::ports::mover::Overwrite;
use model::progress::{Progress, ProgressSink};
use mover::LocalTarget;
use repository::RestoreOptions;
use runtime::{Observer, RunEvent};

use super::{hand, usage};
use crate::args::{Global, RestoreArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::progress::Bars;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;

/// Shows the engine's progress under one name.
struct Shown {
    bars: Bars,
    name: model::id::StepId,
}

impl ProgressSink for Shown {
    fn event(&self, progress: Progress) {
        self.bars.event(RunEvent::StepProgress { step: self.name.clone(), progress });
    }
}

pub async fn run(global: &Global, args: &RestoreArgs, ui: &Ui) -> Result<Exit, CliError> {
    let at = args.at.as_deref().map(str::parse).transpose().map_err(usage)?;
    let found = hand::open(global, &args.direct).await?.find(&args.what, at)?;
    empty_or_new(&args.to)?;
    ui.say(format!(
        "snapshot {} of {} from {}",
        found.info.id.short(),
        found.info.address.as_ref().map_or_else(|| "a foreign source".into(), ToString::to_string),
        human::instant(found.info.time)
    ));
    let say = ui.clone();
    let cancel = cancel_on_signals(move |text| say.say(text));
    let target = LocalTarget::open(&args.to)?;
    let options = RestoreOptions {
        include: args.paths.iter().map(|p| p.clone().into_bytes()).collect(),
        overwrite: Overwrite::Always,
        verify: true,
        dry_run: args.dry_run,
        ..RestoreOptions::default()
    };
    let shown = Shown { bars: Bars::new(ui), name: "restore".into() };
    shown.bars.event(RunEvent::StepBegan { step: shown.name.clone(), total: 1, index: 1 });
    let result = tokio::task::block_in_place(|| {
        found.repository.restore(&found.id, &target, &options, &shown, &cancel)
    });
    let summary = result?;
    let outcome = Outcome::Done {
        summary: format!(
            "{} files, {} folders, {}; {} files read again and compared",
            summary.files,
            summary.dirs,
            human::bytes(summary.bytes),
            summary.files_verified
        ),
        snapshot: Some(found.info.id.clone()),
        counts: model::progress::Counts::default(),
        duration_ms: 0,
    };
    shown.bars.event(RunEvent::StepEnded { step: shown.name.clone(), outcome });
    for problem in &summary.problems {
        ui.warn(format!("{}: {}", hand::shown(&problem.path), problem.message));
    }
    let missing = summary.problems.len() as u64 + summary.problems_unlisted;
    if missing > 0 {
        return Err(CliError::new(format!("{missing} items did not come back whole")));
    }
    Ok(Exit::Success)
}

/// A folder with other things in it could get files mixed in, or lose some.
fn empty_or_new(folder: &Path) -> Result<(), CliError> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(CliError::new(format!("{} is not empty", folder.display()))
                .hint("give a new folder with --to")),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CliError::new(format!("{}: {error}", folder.display()))),
    }
}
