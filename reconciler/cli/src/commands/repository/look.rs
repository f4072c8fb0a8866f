//! Looking at a repository: `list`, `stats`.

use std::sync::Arc;

use repository::{Repository, Snapshot};
use serde_json::json;

use super::{Desk, address_of, filtered};
use crate::args::{ListArgs, StatsArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::table;

fn restored_bytes(snapshot: &Snapshot) -> Option<u64> {
    snapshot.summary.get("total_bytes_processed").and_then(serde_json::Value::as_u64)
}

/// Tags without those by which we find our own.
fn shown_tags(snapshot: &Snapshot) -> Vec<&str> {
    let ours = |t: &&str| *t == "mainstay" || t.starts_with("mainstay:");
    snapshot.tags.iter().map(String::as_str).filter(|t| !ours(t)).collect()
}

pub fn list(desk: &Desk<'_>, args: &ListArgs) -> Result<Exit, CliError> {
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for (name, repository) in desk.open()? {
        let snapshots = tokio::task::block_in_place(|| repository.snapshots())?;
        for snapshot in filtered(snapshots, &args.filter)? {
            let address = address_of(&snapshot);
            if desk.ui.is_json() {
                all.push(json!({
                    "id": snapshot.id, "time": snapshot.time.to_string(), "repository": name,
                    "resource": address, "host": snapshot.host, "user": snapshot.username,
                    "paths": snapshot.paths, "tags": snapshot.tags, "tree": snapshot.tree,
                    "parent": snapshot.parent, "original": snapshot.original,
                    "program": snapshot.program_version, "bytes": restored_bytes(&snapshot),
                }));
                continue;
            }
            rows.push(vec![
                snapshot.id.short(),
                human::instant(snapshot.time),
                snapshot.host.clone(),
                address.map_or_else(|| "-".to_owned(), |a| a.to_string()),
                shown_tags(&snapshot).join(","),
                restored_bytes(&snapshot).map_or_else(|| "-".to_owned(), human::bytes),
                snapshot.paths.join(" "),
            ]);
        }
    }
    if desk.ui.is_json() {
        desk.ui.json(&all)?;
    } else {
        let header = ["ID", "TIME", "HOST", "RESOURCE", "TAGS", "SIZE", "PATHS"];
        desk.ui.raw(&table(&header, &rows));
    }
    Ok(Exit::Success)
}

pub fn stats(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &StatsArgs,
) -> Result<Exit, CliError> {
    if args.by_snapshot {
        return by_snapshot(desk, repository, args);
    }
    let stats = repository.stats(&desk.cancel)?;
    if desk.ui.is_json() {
        desk.ui.json(&json!({
            "snapshots": stats.snapshots, "packs": stats.packs, "blobs": stats.blobs,
            "bytesPacks": stats.bytes_packs, "bytesStored": stats.bytes_stored,
            "bytesPlain": stats.bytes_plain, "version": repository.version(),
        }))?;
        return Ok(Exit::Success);
    }
    desk.ui.out(format!("{} snapshots, control records included", stats.snapshots));
    desk.ui.out(format!("{} blobs in {} packs", stats.blobs, stats.packs));
    desk.ui.out(format!(
        "{} of deduplicated content, stored in {} (ratio {:.2})",
        human::bytes(stats.bytes_plain),
        human::bytes(stats.bytes_packs),
        ratio(stats.bytes_plain, stats.bytes_stored)
    ));
    Ok(Exit::Success)
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

fn by_snapshot(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &StatsArgs,
) -> Result<Exit, CliError> {
    // All of them, or what is needed by another snapshot would count as one's own.
    let all = repository.snapshots()?;
    let ids: Vec<_> = all.iter().map(|s| s.id).collect();
    let stats = repository.snapshot_stats(&ids, &desk.cancel)?;
    let wanted = filtered(all.clone(), &args.filter)?;
    let (mut rows, mut list) = (Vec::new(), Vec::new());
    let mut restored = 0;
    for snapshot in &wanted {
        let Some(one) = stats.iter().find(|s| s.id == snapshot.id) else { continue };
        restored += one.bytes_restore;
        list.push(json!({
            "id": one.id, "time": snapshot.time.to_string(), "files": one.files,
            "bytesRestore": one.bytes_restore, "bytesStored": one.bytes_stored,
            "bytesUnique": one.bytes_unique,
        }));
        rows.push(vec![
            one.id.short(),
            human::instant(snapshot.time),
            one.files.to_string(),
            human::bytes(one.bytes_restore),
            human::bytes(one.bytes_stored),
            human::bytes(one.bytes_unique),
        ]);
    }
    if desk.ui.is_json() {
        desk.ui.json(&list)?;
        return Ok(Exit::Success);
    }
    desk.ui.raw(&table(&["ID", "TIME", "FILES", "RESTORES", "NEEDS", "ALONE"], &rows));
    let stored = repository.stats(&desk.cancel)?.bytes_stored;
    desk.ui.say(format!(
        "{} in all if each were restored, {} stored (ratio {:.1})",
        human::bytes(restored),
        human::bytes(stored),
        ratio(restored, stored)
    ));
    Ok(Exit::Success)
}
