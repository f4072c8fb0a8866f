//! Alarms: signs that git, our own memory, the clock or our sight went back or away. Each holds
//! some steps until a person accepts it. Called by the planner, the gates and `status`. Semantics:
//! `docs/semantics.md`, "Alarms".

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::digest::Digest;
use model::id::Address;
use model::observed::{Ancestry, Observation, RepositoryObservation};
use model::plan::{Action, Class, Condition, Step, Wait};
use model::receipt::ControlBody;

use crate::condition::Conditions;
use crate::view::{CLOCK_TOLERANCE, View, names};

/// The limit where no guardrail gives one, and the least number of resources that make a mass loss.
const MASS_LOSS_PERCENT: u8 = 40;
const MASS_LOSS_MIN: usize = 3;

/// What an alarm is about; it decides which steps wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The config repository went back, or most of it is gone.
    Git,
    /// Our own state was lost or went back.
    Memory,
    /// The clock cannot be trusted.
    Clock,
    /// Much of the fleet is gone at once.
    MassLoss,
}

/// One alarm that nobody has accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm {
    pub(crate) kind: Kind,
    pub(crate) accept: String,
    pub(crate) detail: String,
}

impl Alarm {
    pub(crate) fn wait(&self) -> Wait {
        Wait::Alarm { accept: self.accept.clone(), detail: self.detail.clone() }
    }

    /// Whether a step waits for this alarm. Backups and verifications never do: they only add.
    pub(crate) fn holds(&self, step: &Step) -> bool {
        let removes = matches!(
            step.action,
            Action::Expire { .. }
                | Action::Reclaim { .. }
                | Action::Commit { .. }
                | Action::Rollback { .. }
        );
        // Both measure the resource anew, so what was lost counts as settled.
        let settles = matches!(step.action, Action::Adopt { .. } | Action::Recreate { .. });
        let by_policy = settles || matches!(step.action, Action::Restore { recovery: None, .. });
        match self.kind {
            Kind::Git => removes || by_policy || step.class == Class::Destructive,
            // A forgotten repository must not be made anew where it was, and what lies in another
            // place was perhaps brought there by a recovery that we forgot. Bringing back what is
            // gone harms nothing, whatever we forgot.
            Kind::Memory => {
                removes
                    || step.class == Class::Destructive
                    || settles
                    || matches!(
                        step.action,
                        Action::Init { .. } | Action::Restore { elsewhere: true, .. }
                    )
            }
            Kind::Clock => removes,
            Kind::MassLoss => removes || by_policy,
        }
    }
}

/// Returns the alarms that nobody has accepted, sorted.
pub(crate) fn alarms(view: &View<'_>, conditions: &Conditions) -> Vec<Alarm> {
    let mut found = BTreeSet::new();
    found.extend(git(view));
    found.extend(memory(view));
    found.extend(clock(view));
    found.extend(mass_loss(view, conditions));
    found.into_iter().filter(|alarm| !is_accepted(view, alarm)).collect()
}

fn is_accepted(view: &View<'_>, alarm: &Alarm) -> bool {
    let commit = &view.desired.commit;
    let accepted = &view.observed.memory.accepted_alarms;
    // A state that was lost is a state that went back to nothing: one yes is enough for both.
    let other = alarm.accept.strip_prefix("epoch:").map(|epoch| format!("memory:{epoch}"));
    accepted.contains(&alarm.accept)
        || other.is_some_and(|other| accepted.contains(&other))
        || (alarm.accept == format!("commit:{commit}")
            && view.controls.iter().any(|control| {
                matches!(&control.body, ControlBody::CommitAccepted { commit: c } if c == commit)
            }))
}

fn git(view: &View<'_>) -> Vec<Alarm> {
    let memory = &view.observed.memory;
    let commit = &view.desired.commit;
    let mut found = Vec::new();
    if memory.ancestry == Ancestry::Diverged {
        let last = memory.last_applied.as_ref().map_or("the last applied one", |c| c.short());
        found.push(Alarm {
            kind: Kind::Git,
            accept: format!("commit:{commit}"),
            detail: format!("commit {} does not descend from {last}", commit.short()),
        });
    }
    if let Some(before) = memory.last_documents {
        let now = view.desired.documents;
        if now.saturating_mul(2) < before {
            found.push(Alarm {
                kind: Kind::Git,
                accept: format!("documents:{commit}"),
                detail: format!(
                    "the commit has {now} documents, the last applied one had {before}"
                ),
            });
        }
    }
    found
}

/// Writers and epochs that receipts and control records carry.
fn epochs<'v>(view: &'v View<'_>) -> impl Iterator<Item = (&'v str, u64)> + 'v {
    let receipts = view.index().epochs.iter();
    let receipts = receipts.flat_map(|(writer, of)| of.iter().map(|e| (writer.as_str(), *e)));
    receipts.chain(view.controls.iter().map(|c| (c.writer.as_str(), c.epoch)))
}

/// The same of every repository that was looked at, also of one where another is expected: who lost
/// the memory of it may have made that other one in its place.
fn observed_epochs<'v>(view: &'v View<'_>) -> impl Iterator<Item = (&'v str, u64)> + 'v {
    view.observed.repositories.values().flat_map(|seen| {
        let snapshots = match seen {
            RepositoryObservation::Known { snapshots, .. } => &snapshots[..],
            RepositoryObservation::Absent { .. } | RepositoryObservation::Unknown { .. } => &[],
        };
        let receipts = snapshots.iter().filter_map(|snapshot| snapshot.receipt.as_ref());
        receipts.map(|receipt| (receipt.writer.as_str(), receipt.epoch))
    })
}

fn memory(view: &View<'_>) -> Option<Alarm> {
    let memory = &view.observed.memory;
    // What this very writer wrote since it started carries its own epoch and is no surprise.
    let not_now = |(writer, epoch): (&str, u64)| {
        (memory.epoch == 0 || epoch != memory.epoch || writer != memory.writer).then_some(epoch)
    };
    if !memory.known {
        let foreign = epochs(view).filter_map(not_now).max();
        let foreign = foreign.or_else(|| observed_epochs(view).filter_map(not_now).max())?;
        return Some(Alarm {
            kind: Kind::Memory,
            accept: format!("memory:{foreign}"),
            detail: format!(
                "our state is new or was lost, and repositories hold points up to epoch {foreign}"
            ),
        });
    }
    // Another state may share a repository with ours; its epochs say nothing of ours.
    let ours = epochs(view).filter(|(writer, _)| *writer == memory.writer);
    let foreign = ours.filter_map(not_now).max()?;
    (foreign > memory.epoch_before).then(|| Alarm {
        kind: Kind::Memory,
        accept: format!("epoch:{foreign}"),
        detail: format!(
            "our state carries epoch {}, and repositories hold its epoch {foreign}: it went back",
            memory.epoch_before
        ),
    })
}

/// Whether our memory may have forgotten what it once knew.
pub(crate) fn doubts_memory(view: &View<'_>) -> bool {
    let known = view.observed.memory.known;
    !known || memory(view).is_some_and(|alarm| !is_accepted(view, &alarm))
}

fn clock(view: &View<'_>) -> Option<Alarm> {
    let newest = view
        .index()
        .newest
        .into_iter()
        .chain(view.controls.iter().map(|control| control.at))
        .chain(view.observed.memory.newest_instant)
        .max()?;
    (newest.duration_since(view.now) > CLOCK_TOLERANCE).then(|| Alarm {
        kind: Kind::Clock,
        accept: format!("clock:{newest}"),
        detail: format!("the clock says {}, and {newest} was seen already", view.now),
    })
}

fn mass_loss(view: &View<'_>, conditions: &Conditions) -> Vec<Alarm> {
    let gone: BTreeSet<&Address> = conditions
        .unwell()
        .iter()
        .filter(|(address, condition)| is_gone(view, address, condition))
        .map(|(address, _)| address)
        .collect();
    // The fleet is counted only when there is something to compare with it.
    if gone.len() < MASS_LOSS_MIN {
        return Vec::new();
    }
    let desired = view.desired;
    let mut found = Vec::new();
    let mut covered: BTreeSet<&Address> = BTreeSet::new();
    for guardrail in desired.guardrails.values() {
        let known = guardrail.resources.iter().filter(|a| desired.resources.contains_key(*a));
        let scope: BTreeSet<&Address> = known.collect();
        found.extend(mass_loss_in(&scope, guardrail.mass_loss_percent, &gone));
        covered.extend(scope);
    }
    let rest: BTreeSet<&Address> =
        desired.resources.keys().filter(|a| !covered.contains(a)).collect();
    found.extend(mass_loss_in(&rest, MASS_LOSS_PERCENT, &gone));
    found
}

/// Whether nothing of a resource is in sight, also where a recovery of it waits for its end.
fn is_gone(view: &View<'_>, address: &Address, condition: &Condition) -> bool {
    match condition {
        Condition::Lost { .. } | Condition::Unreachable { .. } => true,
        Condition::AwaitingCommit { .. } => {
            let seen = view.observed.resources.get(address);
            !matches!(seen, Some(Observation::Known { .. }))
        }
        _ => false,
    }
}

fn mass_loss_in(
    scope: &BTreeSet<&Address>,
    percent: u8,
    gone: &BTreeSet<&Address>,
) -> Option<Alarm> {
    let gone: Vec<&Address> = gone.intersection(scope).copied().collect();
    let too_many = gone.len() * 100 > scope.len() * usize::from(percent);
    if gone.len() < MASS_LOSS_MIN || !too_many {
        return None;
    }
    let digest = Digest::of("mass-loss", &gone);
    Some(Alarm {
        kind: Kind::MassLoss,
        accept: format!("mass-loss:{}", digest.short()),
        detail: format!(
            "{} of {} resources are gone at once, so we may be blind: {}",
            gone.len(),
            scope.len(),
            shortened(&gone)
        ),
    })
}

/// A list of at most ten names.
fn shortened(addresses: &[&Address]) -> String {
    const SHOWN: usize = 10;
    let shown = names(addresses.iter().take(SHOWN).copied());
    match addresses.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// The instants of deeds within so many hours before an instant.
pub(crate) fn in_last_hours(instants: &[Timestamp], now: Timestamp, hours: i64) -> u32 {
    let span = jiff::SignedDuration::from_hours(hours);
    let count = instants.iter().filter(|at| now.duration_since(**at) < span).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
