//! `repository cache`: the copies that this machine keeps of what lies on storage services.

use model::Timestamp;
use repository::CacheFolder;
use serde_json::json;

use crate::args::{CacheArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::{Ui, table};
use crate::wire;

pub fn run(global: &Global, args: &CacheArgs, ui: &Ui) -> Result<Exit, CliError> {
    let folder = CacheFolder::new(wire::cache_folder(&wire::state_folder(global)?));
    let mut kept = folder.list()?;
    kept.retain(|one| args.id.as_ref().is_none_or(|id| one.id.starts_with(id)));
    if let (Some(id), true) = (&args.id, kept.is_empty()) {
        return Err(CliError::new(format!("there are no copies of a repository `{id}`"))
            .hint("`mainstay repository cache` lists them"));
    }
    let shown: Vec<_> = kept
        .iter()
        .map(|one| {
            let used = Timestamp::new(one.used_s, 0).ok();
            json!({ "repository": one.id, "files": one.files, "bytes": one.bytes,
                    "used": used.map(|at| at.to_string()) })
        })
        .collect();
    if args.clear {
        for one in &kept {
            folder.clear(Some(&one.id))?;
        }
    }
    if ui.is_json() {
        ui.json(&json!({ "folder": folder.path, "bytesMax": folder.bytes_max,
                         "cleared": args.clear, "repositories": shown }))?;
        return Ok(Exit::Success);
    }
    let bytes: u64 = kept.iter().map(|one| one.bytes).sum();
    if args.clear {
        ui.say(format!("{} removed", human::bytes(bytes)));
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|one| {
            let used =
                Timestamp::new(one.used_s, 0).map_or_else(|_| "-".to_owned(), human::instant);
            let id = one.id.chars().take(8).collect();
            vec![id, one.files.to_string(), human::bytes(one.bytes), used]
        })
        .collect();
    ui.raw(&table(&["REPOSITORY", "FILES", "SIZE", "LAST USED"], &rows));
    let most = human::bytes(folder.bytes_max);
    ui.say(format!("{} of at most {most} in {}", human::bytes(bytes), folder.path.display()));
    Ok(Exit::Success)
}
