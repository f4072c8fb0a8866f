//! `mainstay snapshots`.

use std::collections::BTreeSet;

use adapters::state::Folder;
use model::id::Address;
use model::observed::is_proven;
use model::receipt::EvidenceKind;
use serde_json::json;

use super::{addresses, hand};
use crate::args::{Global, SnapshotsArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::{Ui, table};
use crate::wire;

pub async fn run(global: &Global, args: &SnapshotsArgs, ui: &Ui) -> Result<Exit, CliError> {
    let only: BTreeSet<Address> = addresses(&args.only)?;
    let mut points = hand::open(global, &args.direct).await?.points()?;
    points.retain(|p| only.is_empty() || p.info.address.as_ref().is_some_and(|a| only.contains(a)));
    // What is proven is in our state; without one it is simply not known.
    let evidence = match wire::state_folder(global) {
        Ok(path) if path.join("state.db").exists() && args.direct.password_file.is_none() => {
            runtime::memory::load(&Folder::open(&path)?, 0).await?.evidence
        }
        _ => std::collections::BTreeMap::new(),
    };
    let proven = |p: &hand::Found| is_proven(evidence.get(&p.info.id), EvidenceKind::Checked);
    if ui.is_json() {
        let list: Vec<_> = points
            .iter()
            .map(|p| {
                let receipt = p.info.receipt.as_ref();
                json!({
                    "id": p.info.id, "time": p.info.time.to_string(),
                    "resource": p.info.address, "repository": p.name,
                    "complete": receipt.map(|r| r.complete), "proven": proven(p),
                    "suspicious": receipt.and_then(|r| r.suspicious.clone()),
                    "files": receipt.map(|r| r.files), "bytes": receipt.map(|r| r.bytes),
                    "host": p.info.hostname, "paths": p.info.paths, "receipt": receipt,
                })
            })
            .collect();
        ui.json(&list)?;
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = points.iter().map(|p| row(p, proven(p))).collect();
    ui.raw(&table(&["ID", "TIME", "RESOURCE", "REPOSITORY", "FILES", "SIZE", "STATE"], &rows));
    Ok(Exit::Success)
}

fn row(point: &hand::Found, proven: bool) -> Vec<String> {
    let receipt = point.info.receipt.as_ref();
    let state = match receipt {
        None => "foreign".to_owned(),
        Some(r) if !r.complete => format!("PARTIAL, {} missing", r.failures_count),
        Some(r) if r.suspicious.is_some() => "SUSPICIOUS".to_owned(),
        Some(_) if proven => "proven".to_owned(),
        Some(_) => "written".to_owned(),
    };
    let foreign = || point.info.paths.join(" ");
    vec![
        point.info.id.short().to_owned(),
        human::instant(point.info.time),
        point.info.address.as_ref().map_or_else(foreign, ToString::to_string),
        point.name.clone(),
        receipt.map_or("-".into(), |r| r.files.to_string()),
        receipt.map_or("-".into(), |r| human::bytes(r.bytes)),
        state,
    ]
}
