//! `mainstay validate`.

use std::sync::Arc;

use adapters::source::Worktree;
use model::diagnostic::Severity;
use model::ports::source::Source;

use crate::args::{Global, Report, ValidateArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire;

pub async fn run(global: &Global, args: &ValidateArgs, ui: &Ui) -> Result<Exit, CliError> {
    let tree = match (&args.git, &args.dir) {
        (Some(url), _) => {
            let global = Global { config: url.clone(), ..global.clone() };
            let secrets = Arc::new(wire::secrets(&global)?);
            let source = wire::source(&global, &wire::state_folder(&global)?, secrets)?;
            source.fetch().await?
        }
        (None, dir) => {
            let dir = dir.clone().unwrap_or_else(|| global.config.clone().into());
            let dir = match &global.subfolder {
                Some(below) => dir.join(below),
                None => dir,
            };
            Worktree::new(dir).fetch().await?
        }
    };
    let loaded = config::load(&tree.files, &wire::builtin(), tree.commit.clone());
    let diagnostics = &loaded.diagnostics;
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let report = if ui.is_json() { Report::Json } else { args.output };
    match report {
        Report::Text => {
            ui.raw(&config::render::text(diagnostics, &tree.files));
            let documents = loaded.documents.iter().filter(|d| !d.builtin).count();
            ui.say(format!("{documents} documents, {errors} errors, {warnings} warnings"));
        }
        Report::Json => ui.raw(&config::render::json(diagnostics)),
        Report::Sarif => ui.raw(&config::render::sarif(diagnostics)),
        Report::Junit => ui.raw(&config::render::junit(diagnostics, &tree.files)),
        Report::Github => ui.raw(&config::render::github(diagnostics)),
    }
    Ok(if errors > 0 { Exit::Error } else { Exit::Success })
}
