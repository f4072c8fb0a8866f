//! `mainstay repository repair`: index, packs, snapshots.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use model::error::PortError;
use repository::{CheckOptions, Depth, Id, LostItem, Repository, SnapshotRepair};
use serde_json::{Value, json};

use super::{Desk, by_ids};
use crate::args::RepairCommand;
use crate::commands::hand;
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;

pub fn run(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    command: &RepairCommand,
) -> Result<Exit, CliError> {
    match command {
        RepairCommand::Index { read_all_packs } => index(desk, repository, *read_all_packs),
        RepairCommand::Packs { ids, aside } => packs(desk, repository, ids, aside),
        RepairCommand::Snapshots { ids, forget, dry_run } => {
            let options = SnapshotRepair { dry_run: *dry_run, forget: *forget };
            snapshots(desk, repository, ids, &options)
        }
    }
}

fn index(desk: &Desk<'_>, repository: &Repository, all: bool) -> Result<Exit, CliError> {
    let report = repository.rebuild_index(all, &desk.bar(), &desk.cancel)?;
    if desk.ui.is_json() {
        desk.ui.json(&json!({
            "packs": report.packs, "packsFound": report.packs_found,
            "packsGone": report.packs_gone, "packsUnreadable": report.packs_unreadable,
        }))?;
    } else {
        desk.ui.out(format!(
            "the index names {} packs, {} of them found anew",
            report.packs, report.packs_found
        ));
        for id in &report.packs_gone {
            desk.ui.out(format!("gone: pack {id}"));
        }
        for id in &report.packs_unreadable {
            desk.ui.out(format!("without a valid header, left where it is: pack {id}"));
        }
    }
    let clean = report.packs_gone.is_empty() && report.packs_unreadable.is_empty();
    Ok(if clean { Exit::Success } else { Exit::Error })
}

/// Reads everything and returns the packs in which something is wrong.
fn damaged(desk: &Desk<'_>, repository: &Repository) -> Result<BTreeSet<Id>, CliError> {
    desk.ui.say("reading all packs");
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 0 };
    let report = repository.check(&options, &desk.bar(), &desk.cancel)?;
    Ok(report.faults.iter().filter_map(|f| f.pack).collect())
}

fn packs(
    desk: &Desk<'_>,
    repository: &Repository,
    ids: &[String],
    folder: &Path,
) -> Result<Exit, CliError> {
    let chosen = if ids.is_empty() {
        damaged(desk, repository)?
    } else {
        let parse = |id: &String| {
            Id::parse(id).ok_or_else(|| CliError::usage(format!("`{id}` is no pack's id")))
        };
        ids.iter().map(parse).collect::<Result<_, _>>()?
    };
    if chosen.is_empty() {
        desk.ui.out("no pack is damaged");
        return Ok(Exit::Success);
    }
    let mut aside = |id: &Id, bytes: &[u8]| {
        let file = folder.join(id.hex());
        fs::create_dir_all(folder).and_then(|()| fs::write(&file, bytes)).map_err(|e| {
            let what = format!("pack {id} cannot be put aside as {}", file.display());
            PortError::terminal("AsideFailed", what).with_source(e)
        })
    };
    let chosen: Vec<Id> = chosen.into_iter().collect();
    let report = repository.salvage(&chosen, &mut aside, &desk.bar(), &desk.cancel)?;
    if desk.ui.is_json() {
        let lost: Vec<_> = report
            .lost
            .iter()
            .map(|b| json!({"pack": b.pack, "blob": b.id, "error": b.error}))
            .collect();
        let affected: Vec<_> = report
            .affected
            .iter()
            .map(|a| json!({"snapshot": a.snapshot, "path": hand::shown(&a.path), "blob": a.blob}))
            .collect();
        desk.ui.json(&json!({
            "packs": report.packs, "blobsSaved": report.blobs_saved,
            "bytesSaved": report.bytes_saved, "blobsElsewhere": report.blobs_elsewhere,
            "lost": lost, "affected": affected,
        }))?;
    } else {
        desk.ui.out(format!(
            "{} blobs with {} saved out of {} packs, {} lie whole elsewhere, {} are lost",
            report.blobs_saved,
            human::bytes(report.bytes_saved),
            report.packs.len(),
            report.blobs_elsewhere,
            report.lost.len()
        ));
        for blob in &report.lost {
            desk.ui.out(format!("lost: {}", blob.error));
        }
        for item in &report.affected {
            desk.ui.out(format!("costs {} {}", item.snapshot.short(), hand::shown(&item.path)));
        }
    }
    Ok(if report.lost.is_empty() { Exit::Success } else { Exit::Error })
}

/// A receipt says of a repaired snapshot that it is not complete, and what is missing.
fn receipt(old: &Value, lost: &[LostItem]) -> Value {
    let mut new = old.clone();
    if let Some(receipt) = new.get_mut("receipt").and_then(Value::as_object_mut) {
        let failures: Vec<Value> = lost
            .iter()
            .take(model::receipt::FAILURES_MAX)
            .map(|l| json!({"item": hand::shown(&l.path), "error": l.what}))
            .collect();
        receipt.insert("complete".to_owned(), json!(false));
        receipt.insert("failuresCount".to_owned(), json!(lost.len()));
        receipt.insert("failures".to_owned(), json!(failures));
    }
    new
}

fn snapshots(
    desk: &Desk<'_>,
    repository: &Repository,
    ids: &[String],
    options: &SnapshotRepair,
) -> Result<Exit, CliError> {
    let chosen: Vec<Id> = by_ids(&repository.snapshots()?, ids)?.iter().map(|s| s.id).collect();
    let done =
        repository.repair_snapshots(&chosen, options, &receipt, &desk.bar(), &desk.cancel)?;
    if desk.ui.is_json() {
        let list: Vec<_> = done
            .iter()
            .map(|s| {
                let lost: Vec<_> = s
                    .lost
                    .iter()
                    .map(|l| json!({"path": hand::shown(&l.path), "what": l.what}))
                    .collect();
                json!({"original": s.original, "repaired": s.repaired, "lost": lost})
            })
            .collect();
        desk.ui.json(&list)?;
        return Ok(Exit::Success);
    }
    for snapshot in &done {
        let new = snapshot.repaired.map_or_else(
            || "not written".to_owned(),
            |id| format!("written anew as {}", id.short()),
        );
        desk.ui.out(format!("snapshot {}: {new}", snapshot.original.short()));
        for item in &snapshot.lost {
            desk.ui.out(format!("  {}: {}", hand::shown(&item.path), item.what));
        }
    }
    if done.is_empty() {
        desk.ui.out("every snapshot is whole");
    }
    Ok(Exit::Success)
}
