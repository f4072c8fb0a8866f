//! Keeping a repository whole and small: `check`, `prune`, `unlock`, `migrate`.

use std::sync::Arc;

use jiff::SignedDuration;
use repository::{CheckOptions, CheckReport, Depth, PruneOptions, PruneReport, Repository};
use serde_json::json;

use super::{Desk, by_ids};
use crate::args::{CheckArgs, PruneArgs, UnlockArgs};
use crate::commands::{duration_s, hand, usage};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;

/// Affected files that are shown; JSON has all.
const SHOWN_MAX: usize = 50;

fn depth(args: &CheckArgs) -> Result<Depth, CliError> {
    let Some(text) = &args.part else {
        return Ok(if args.read_data { Depth::All } else { Depth::Structure });
    };
    let wrong = || CliError::usage(format!("`{text}` is no part: write 1/7"));
    let (part, of) = text.split_once('/').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    Ok(Depth::Part { part: number(part)?, of: number(of)? })
}

pub fn check(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &CheckArgs,
) -> Result<Exit, CliError> {
    let snapshots = by_ids(&repository.snapshots()?, &args.snapshot)?;
    let options = CheckOptions {
        depth: depth(args)?,
        snapshots: snapshots.iter().map(|s| s.id).collect(),
        threads: 0,
    };
    let report = repository.check(&options, &desk.bar(), &desk.cancel)?;
    let locks = repository.locks()?;
    let stale: Vec<_> = locks.iter().filter(|l| l.stale).collect();
    for lock in &stale {
        desk.ui.warn(format!(
            "a lock of process {} of {} on host {}, written {}, seems to be of nobody",
            lock.owner.pid,
            lock.owner.username,
            lock.owner.host,
            human::instant(lock.time)
        ));
    }
    if desk.ui.is_json() {
        desk.ui.json(&check_json(&report))?;
    } else {
        show_check(desk, &report);
    }
    Ok(if report.is_whole() { Exit::Success } else { Exit::Error })
}

fn check_json(report: &CheckReport) -> serde_json::Value {
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|f| json!({"reason": f.reason, "pack": f.pack, "blob": f.blob, "message": f.message}))
        .collect();
    let affected: Vec<_> = report
        .affected
        .iter()
        .map(|a| json!({"snapshot": a.snapshot, "path": hand::shown(&a.path), "blob": a.blob}))
        .collect();
    json!({
        "whole": report.is_whole(), "snapshots": report.snapshots, "trees": report.trees,
        "packsRead": report.packs_read, "bytesRead": report.bytes_read,
        "packsUnindexed": report.packs_unindexed, "blobsTwice": report.blobs_twice,
        "faults": faults, "faultsUnlisted": report.faults_unlisted, "affected": affected,
    })
}

fn show_check(desk: &Desk<'_>, report: &CheckReport) {
    for fault in &report.faults {
        desk.ui.out(format!("{}: {}", fault.reason, fault.message));
    }
    for item in report.affected.iter().take(SHOWN_MAX) {
        desk.ui.out(format!("costs {} {}", item.snapshot.short(), hand::shown(&item.path)));
    }
    if report.affected.len() > SHOWN_MAX {
        desk.ui.out(format!("and {} more, see --format json", report.affected.len() - SHOWN_MAX));
    }
    desk.ui.out(format!(
        "{} snapshots, {} trees, {} read: {}",
        report.snapshots,
        report.trees,
        human::bytes(report.bytes_read),
        if report.is_whole() { "whole" } else { "DAMAGED" }
    ));
    if report.packs_unindexed > 0 {
        let count = report.packs_unindexed;
        desk.ui.say(format!("{count} packs are in no index: harmless, a prune removes them"));
    }
    if !report.is_whole() {
        desk.ui.hint("`mainstay repository repair --help` says how to go on");
    }
}

pub fn prune(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &PruneArgs,
) -> Result<Exit, CliError> {
    let grace = i64::try_from(duration_s(&args.grace)?).map_err(usage)?;
    let repack = args.max_repack.as_deref().map(size).transpose()?;
    let options = PruneOptions {
        grace: SignedDuration::from_secs(grace),
        waste_percent_max: args.max_waste,
        repack_bytes_max: repack.unwrap_or(u64::MAX),
        dry_run: args.dry_run,
        threads: 0,
    };
    let report = desk.specs.engine.prune(repository, &options, &desk.bar(), &desk.cancel)?;
    if desk.ui.is_json() {
        desk.ui.json(&json!({
            "dryRun": args.dry_run, "bytesDeleted": report.bytes_deleted,
            "packsDeleted": report.packs_deleted, "bytesWaiting": report.bytes_waiting,
            "packsWaiting": report.mark.packs.len(), "bytesRepacked": report.bytes_repacked,
            "bytesWasted": report.bytes_wasted, "bytesUsed": report.bytes_used,
            "packsRescued": report.packs_rescued,
        }))?;
        return Ok(Exit::Success);
    }
    show_prune(desk, &report, args);
    Ok(Exit::Success)
}

fn show_prune(desk: &Desk<'_>, report: &PruneReport, args: &PruneArgs) {
    let would = if args.dry_run { "would be " } else { "" };
    desk.ui.out(format!(
        "{} {would}freed, {} {would}waiting out the grace period of {}",
        human::bytes(report.bytes_deleted),
        human::bytes(report.bytes_waiting),
        args.grace
    ));
    desk.ui.out(format!(
        "{} {would}written anew{}, {} of waste stay in packs, {} are used",
        human::bytes(report.bytes_repacked),
        if args.dry_run { " (so much more space is needed meanwhile)" } else { "" },
        human::bytes(report.bytes_wasted),
        human::bytes(report.bytes_used)
    ));
    if report.bytes_waiting > 0 && !args.dry_run {
        desk.ui.say("what waits goes with the next prune after the grace period");
    }
}

fn size(text: &str) -> Result<u64, CliError> {
    config::units::size_bytes(text)
        .ok_or_else(|| CliError::usage(format!("`{text}` is no size: write 500MiB, 2GiB")))
}

pub fn unlock(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &UnlockArgs,
) -> Result<Exit, CliError> {
    let removed = repository.unlock(args.all)?;
    let left = repository.locks()?.len();
    if desk.ui.is_json() {
        desk.ui.json(&json!({"removed": removed, "left": left}))?;
        return Ok(Exit::Success);
    }
    let whose = if args.all { "" } else { " of dead processes" };
    desk.ui.out(format!("{removed} locks{whose} removed, {left} left"));
    Ok(Exit::Success)
}

pub fn migrate(desk: &Desk<'_>, repository: &Arc<Repository>) -> Result<Exit, CliError> {
    let done = repository.migrate(&desk.bar(), &desk.cancel)?;
    if desk.ui.is_json() {
        desk.ui.json(&json!({"migrated": done, "version": 2}))?;
    } else if done {
        desk.ui.out("migrated to version 2: what is stored from here on is compressed");
    } else {
        desk.ui.out("the repository is of version 2 already");
    }
    Ok(Exit::Success)
}
