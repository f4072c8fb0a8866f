//! `mainstay repository key`: passwords.

use std::path::Path;
use std::sync::Arc;

use repository::Repository;
use serde_json::json;

use super::Desk;
use crate::args::KeyCommand;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::table;

/// The largest password file in bytes.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Reads a password as restic does: a line break at the end is the editor's.
fn password(file: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read;
    let lift = |e: std::io::Error| CliError::new(format!("{}: {e}", file.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(lift)?;
    if bytes.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(CliError::new(format!("{}: too long for a password", file.display())));
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}

pub fn run(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    command: &KeyCommand,
) -> Result<Exit, CliError> {
    match command {
        KeyCommand::List => return list(desk, repository),
        KeyCommand::Add { new_password_file } => {
            let id = repository.add_key(&password(new_password_file)?)?;
            desk.ui.out(format!("key {} added", id.short()));
        }
        KeyCommand::Remove { id } => {
            let keys = repository.keys()?;
            let hits: Vec<_> = keys.iter().filter(|k| k.id.hex().starts_with(id)).collect();
            let [key] = hits.as_slice() else {
                let what = if hits.is_empty() { "no key begins" } else { "several keys begin" };
                return Err(CliError::new(format!("{what} with `{id}`"))
                    .hint("`mainstay repository key list` shows them"));
            };
            repository.remove_key(&key.id)?;
            desk.ui.out(format!("key {} removed", key.id.short()));
        }
        KeyCommand::Passwd { new_password_file } => {
            let id = repository.change_password(&password(new_password_file)?)?;
            desk.ui.out(format!("the password is changed, its key is {}", id.short()));
            if desk.direct.password_file.is_none() {
                desk.ui.hint("change the secret that the repository's document names as well");
            }
        }
    }
    Ok(Exit::Success)
}

fn list(desk: &Desk<'_>, repository: &Arc<Repository>) -> Result<Exit, CliError> {
    let keys = repository.keys()?;
    if desk.ui.is_json() {
        let list: Vec<_> = keys
            .iter()
            .map(|k| {
                json!({
                    "id": k.id, "current": k.current, "user": k.username, "host": k.hostname,
                    "created": k.created,
                })
            })
            .collect();
        desk.ui.json(&list)?;
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|k| {
            let current = if k.current { "in use" } else { "" };
            vec![
                k.id.short(),
                k.username.clone(),
                k.hostname.clone(),
                k.created.clone(),
                current.to_owned(),
            ]
        })
        .collect();
    desk.ui.raw(&table(&["ID", "USER", "HOST", "CREATED", ""], &rows));
    Ok(Exit::Success)
}
