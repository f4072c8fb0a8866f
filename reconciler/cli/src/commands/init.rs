//! `mainstay init`.

use std::fs;

use crate::args::InitArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::quickstart;

pub fn run(args: &InitArgs, ui: &Ui) -> Result<Exit, CliError> {
    let dir = &args.dir;
    for path in quickstart().keys() {
        let file = dir.join(path);
        if file.symlink_metadata().is_ok() {
            return Err(CliError::new(format!("{} exists; nothing was written", file.display()))
                .hint("give another folder: `mainstay init DIR`"));
        }
    }
    write(dir)?;
    for path in quickstart().keys() {
        ui.out(dir.join(path).display().to_string());
    }
    ui.hint(format!(
        "read {}, then `mainstay validate {}`",
        dir.join("README.md").display(),
        dir.display()
    ));
    Ok(Exit::Success)
}

/// Writes the files of the quickstart.
pub fn write(dir: &std::path::Path) -> Result<(), CliError> {
    for (path, text) in quickstart() {
        let file = dir.join(&path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, text).map_err(|e| CliError::new(format!("{}: {e}", file.display())))?;
    }
    Ok(())
}
