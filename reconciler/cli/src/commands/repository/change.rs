//! Changing what a repository holds: `init`, `forget`, `copy`, `tag`, `adopt`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adapters::clock::System;
use adapters::engine::{ADOPTED_TAGS, RESOURCE_TAG, info_of};
use model::desired::{Keep, Retention};
use model::id::{Address, SnapshotId};
use model::ports::clock::Clock;
use plan::retention::{Candidate, Standing, judge};
use repository::{Id, Repository, Rewrite, Snapshot};
use serde_json::json;

use super::{Desk, address_of, by_ids, filtered};
use crate::args::{AdoptArgs, CopyArgs, Direct, ForgetArgs, TagArgs};
use crate::commands::{duration_s, hand, usage};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;

pub fn init(desk: &Desk<'_>) -> Result<Exit, CliError> {
    let mut specs = desk.specs.specs.iter();
    let (Some((name, spec)), None) = (specs.next(), specs.next()) else {
        return Err(CliError::usage("which repository? name it with --repository"));
    };
    let repository = desk.specs.engine.make(spec)?;
    if desk.ui.is_json() {
        desk.ui.json(&json!({"id": repository.id(), "place": repository.location()}))?;
    } else {
        desk.ui.out(format!("repository {} made: {name}", repository.id()));
        desk.ui.hint("keep its password where a fire does not reach both: without it all is lost");
    }
    Ok(Exit::Success)
}

/// What is to be done with one snapshot, and why.
struct Judged {
    snapshot: Snapshot,
    keep: bool,
    reasons: Vec<String>,
}

/// The group in which snapshots are judged together.
fn group_of(snapshot: &Snapshot) -> String {
    match address_of(snapshot) {
        Some(address) => address.to_string(),
        None => format!("{} {}", snapshot.host, snapshot.paths.join(" ")),
    }
}

fn policy(args: &ForgetArgs) -> Result<Option<Retention>, CliError> {
    let keep = |count: Option<u32>| count.map_or(Keep::Unset, Keep::Count);
    let policy = Retention {
        name: "by hand".to_owned(),
        last: keep(args.keep_last),
        hourly: keep(args.keep_hourly),
        daily: keep(args.keep_daily),
        weekly: keep(args.keep_weekly),
        monthly: keep(args.keep_monthly),
        quarterly: Keep::Unset,
        yearly: keep(args.keep_yearly),
        within_s: args.keep_within.as_deref().map(duration_s).transpose()?,
        within_each: Default::default(),
        overlap: Default::default(),
        tags: args.keep_tag.iter().cloned().collect(),
        at_least: 1,
        time_zone: "UTC".to_owned(),
    };
    Ok((!plan::retention::is_empty(&policy)).then_some(policy))
}

/// Judges by rule, group by group.
fn by_rule(policy: &Retention, snapshots: Vec<Snapshot>) -> Vec<Judged> {
    let mut groups: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry(group_of(&snapshot)).or_default().push(snapshot);
    }
    let mut judged = Vec::new();
    for group in groups.into_values() {
        let infos: Vec<_> = group.iter().map(info_of).collect();
        let tags: Vec<BTreeSet<String>> =
            group.iter().map(|s| s.tags.iter().cloned().collect()).collect();
        let candidates: Vec<Candidate<'_>> = infos
            .iter()
            .zip(&tags)
            .map(|(info, tags)| Candidate {
                id: &info.id,
                time: info.time,
                tags,
                standing: match &info.receipt {
                    Some(receipt) if !receipt.complete => Standing::Incomplete,
                    _ => Standing::Good,
                },
                proven: false,
                pins: Vec::new(),
            })
            .collect();
        let verdicts: BTreeMap<SnapshotId, _> = judge(policy, &candidates, System.now(), &|_| None)
            .into_iter()
            .map(|v| (v.id.clone(), v))
            .collect();
        for (snapshot, info) in group.into_iter().zip(&infos) {
            let (keep, reasons) = verdicts
                .get(&info.id)
                .map_or_else(|| (true, Vec::new()), |v| (v.keep, v.reasons.clone()));
            judged.push(Judged { snapshot, keep, reasons });
        }
    }
    judged
}

pub fn forget(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &ForgetArgs,
) -> Result<Exit, CliError> {
    let all = filtered(repository.snapshots()?, &args.filter)?;
    let policy = policy(args)?;
    let judged = match (&policy, args.ids.as_slice()) {
        (None, []) => {
            return Err(CliError::usage("nothing says what to forget")
                .hint("give ids, or rules such as --keep-daily 7"));
        }
        (Some(_), [_, ..]) => return Err(CliError::usage("give either ids or rules")),
        (Some(policy), []) => by_rule(policy, all),
        (None, ids) => {
            let chosen: BTreeSet<Id> = by_ids(&all, ids)?.iter().map(|s| s.id).collect();
            let judge = |snapshot: Snapshot| Judged {
                keep: !chosen.contains(&snapshot.id),
                reasons: Vec::new(),
                snapshot,
            };
            all.into_iter().map(judge).collect()
        }
    };
    if !args.last_too {
        leaves_one_of_each(&judged)?;
    }
    let gone: Vec<Id> = judged.iter().filter(|j| !j.keep).map(|j| j.snapshot.id).collect();
    if !args.dry_run {
        repository.forget(&gone, &desk.cancel)?;
    }
    show_forget(desk, &judged, args, policy.is_some())?;
    Ok(Exit::Success)
}

/// Refuses to take the last snapshot of anything by accident.
fn leaves_one_of_each(judged: &[Judged]) -> Result<(), CliError> {
    let mut left: BTreeMap<String, bool> = BTreeMap::new();
    for one in judged {
        *left.entry(group_of(&one.snapshot)).or_default() |= one.keep;
    }
    match left.into_iter().find(|(_, left)| !left) {
        None => Ok(()),
        Some((group, _)) => Err(CliError::new(format!("no snapshot of `{group}` would be left"))
            .hint("give --last-too if that is what you want")),
    }
}

fn show_forget(
    desk: &Desk<'_>,
    judged: &[Judged],
    args: &ForgetArgs,
    by_rule: bool,
) -> Result<(), CliError> {
    if desk.ui.is_json() {
        let list: Vec<_> = judged
            .iter()
            .map(|j| {
                json!({
                    "id": j.snapshot.id, "time": j.snapshot.time.to_string(), "keep": j.keep,
                    "group": group_of(&j.snapshot), "reasons": j.reasons,
                })
            })
            .collect();
        return desk.ui.json(&json!({"dryRun": args.dry_run, "snapshots": list}));
    }
    for one in judged.iter().filter(|j| by_rule || !j.keep) {
        let word = match (one.keep, args.dry_run) {
            (true, _) => "keep  ",
            (false, true) => "would forget",
            (false, false) => "forgot",
        };
        desk.ui.out(format!(
            "{word} {} {} {} {}",
            one.snapshot.id.short(),
            human::instant(one.snapshot.time),
            group_of(&one.snapshot),
            one.reasons.join("; ")
        ));
    }
    if !args.dry_run && judged.iter().any(|j| !j.keep) {
        desk.ui.hint("their data goes with `mainstay repository prune`");
    }
    Ok(())
}

pub async fn copy(
    desk: &Desk<'_>,
    from: &Arc<Repository>,
    args: &CopyArgs,
) -> Result<Exit, CliError> {
    let direct =
        Direct { repository: Some(args.to.clone()), password_file: args.to_password_file.clone() };
    let other = hand::specs(desk.global, &direct).await?;
    let Some(spec) = other.specs.values().next() else {
        return Err(CliError::usage("--to names no repository"));
    };
    tokio::task::block_in_place(|| {
        let to = other.engine.open_with(spec, &|options| {
            options.lock_wait = desk.access.lock_wait;
        })?;
        if to.id() == from.id() {
            return Err(CliError::usage("both are the same repository"));
        }
        let all = filtered(from.snapshots()?, &args.filter)?;
        let chosen = if args.ids.is_empty() { all } else { by_ids(&all, &args.ids)? };
        let ids: Vec<Id> = chosen.iter().map(|s| s.id).collect();
        let report = from.copy(&ids, &to, &desk.bar(), &desk.cancel)?;
        if desk.ui.is_json() {
            desk.ui.json(&json!({
                "copied": report.copied, "there": report.snapshots.len(),
                "dataBlobs": report.written.data_blobs, "treeBlobs": report.written.tree_blobs,
                "bytesStored": report.written.bytes_stored,
                "snapshots": report.snapshots.iter().map(|s| s.id).collect::<Vec<_>>(),
            }))?;
        } else {
            desk.ui.out(format!(
                "{} snapshots copied, {} were there; {} written",
                report.copied,
                report.snapshots.len() as u64 - report.copied,
                human::bytes(report.written.bytes_stored)
            ));
        }
        Ok(Exit::Success)
    })
}

pub fn tag(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &TagArgs,
) -> Result<Exit, CliError> {
    let nothing = args.add.is_empty()
        && args.remove.is_empty()
        && args.set_host.is_none()
        && args.set_time.is_none();
    if nothing {
        return Err(CliError::usage("nothing says what to change")
            .hint("give --add, --remove, --set-host or --set-time"));
    }
    let time = args.set_time.as_deref().map(str::parse).transpose().map_err(usage)?;
    let mut done = Vec::new();
    for snapshot in by_ids(&repository.snapshots()?, &args.ids)? {
        let mut tags = snapshot.tags.clone();
        tags.retain(|tag| !args.remove.contains(tag));
        for tag in &args.add {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        let change =
            Rewrite { tags: Some(tags), host: args.set_host.clone(), time, ..Rewrite::default() };
        done.push((snapshot.id, repository.rewrite(&snapshot.id, &change, &desk.cancel)?.id));
    }
    show_rewritten(desk, &done)
}

fn show_rewritten(desk: &Desk<'_>, done: &[(Id, Id)]) -> Result<Exit, CliError> {
    if desk.ui.is_json() {
        let list: Vec<_> = done.iter().map(|(old, new)| json!({"old": old, "new": new})).collect();
        desk.ui.json(&list)?;
    } else {
        for (old, new) in done {
            desk.ui.out(format!("{} is {} now", old.short(), new.short()));
        }
    }
    Ok(Exit::Success)
}

pub fn adopt(
    desk: &Desk<'_>,
    repository: &Arc<Repository>,
    args: &AdoptArgs,
) -> Result<Exit, CliError> {
    let address: Address = args.resource.parse().map_err(usage)?;
    let all = filtered(repository.snapshots()?, &args.filter)?;
    let chosen = if args.ids.is_empty() { all } else { by_ids(&all, &args.ids)? };
    let mut done = Vec::new();
    for snapshot in chosen {
        if let Some(taken) = address_of(&snapshot) {
            if !args.ids.is_empty() && taken != address {
                return Err(CliError::new(format!(
                    "snapshot {} is of {taken} already",
                    snapshot.id.short()
                )));
            }
            continue;
        }
        if args.dry_run {
            let when = human::instant(snapshot.time);
            desk.ui.out(format!("would adopt {} {when}", snapshot.id.short()));
            continue;
        }
        let mut tags = snapshot.tags.clone();
        tags.extend(ADOPTED_TAGS.map(str::to_owned));
        tags.push(format!("{RESOURCE_TAG}{address}"));
        let change = Rewrite { tags: Some(tags), ..Rewrite::default() };
        done.push((snapshot.id, repository.rewrite(&snapshot.id, &change, &desk.cancel)?.id));
    }
    show_rewritten(desk, &done)
}
