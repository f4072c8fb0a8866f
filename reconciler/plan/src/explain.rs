//! Why: of a step, a point or a resource, in lines. Called by the `explain` command and the web
//! page.

use jiff::Timestamp;
use model::desired::Desired;
use model::id::{Address, SnapshotId, StepId};
use model::observed::{Observed, RepositoryObservation};
use model::plan::{Plan, Precondition, RetentionVerdict};
use model::receipt::EvidenceKind;

use crate::planner::retention_of;
use crate::render::{Label, Lines, bytes, describe, duration, title, wait};
use crate::status::{ResourceStatus, Verdict};
use crate::view::{PointRef, View};

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A step that is planned, or one that is not.
    Step(StepId),
    /// A point, by its id or the beginning of it.
    Snapshot(SnapshotId),
    /// A resource.
    Address(Address),
}

impl Subject {
    /// Reads what a person typed: a known step, an address, or else the beginning of a snapshot id.
    pub fn parse(text: &str, plan: &Plan) -> Self {
        let is_step = plan.steps.iter().any(|s| s.id.as_str() == text)
            || plan.report.deferred.iter().any(|d| d.step.as_str() == text);
        if is_step {
            return Self::Step(StepId::from(text));
        }
        match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) if text.contains('/') => Self::Step(StepId::from(text)),
            Err(_) => Self::Snapshot(SnapshotId::from(text)),
        }
    }
}

/// Explains a subject by a plan and what it was made of. `None`: there is no such thing.
pub fn explain(
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
    subject: &Subject,
) -> Option<Lines> {
    let mut out = Lines::default();
    let known = match subject {
        Subject::Step(id) => step(&mut out, plan, id),
        Subject::Snapshot(id) => {
            let view = View::new(desired, observed, now);
            snapshot(&mut out, &view, id)
        }
        Subject::Address(address) => {
            let status = crate::status(desired, observed, now);
            let view = View::new(desired, observed, now);
            let current = view.current(address)?;
            resource(&mut out, plan, current, status.resources.get(current)?);
            true
        }
    };
    known.then_some(out)
}

fn step(out: &mut Lines, plan: &Plan, id: &StepId) -> bool {
    if let Some(step) = plan.steps.iter().find(|s| s.id == *id) {
        out.push([
            (Label::Heading, title(step)),
            (Label::Dim, format!("  [{}, {}]", step.id, step.class)),
        ]);
        lines(out, "because", &step.reasons);
        let needs: Vec<String> = step.needs.iter().map(ToString::to_string).collect();
        lines(out, "after", &needs);
        if let Some(loss) = &step.loss {
            let text = format!("everything after {} ({})", loss.after, duration(loss.seconds));
            lines(out, "loses", &[&[text], loss.detail.as_slice()].concat());
        }
        let looks: Vec<String> = step.preconditions.iter().map(precondition).collect();
        lines(out, "looks again whether", &looks);
        let waits: Vec<String> = step.waits.iter().map(wait).collect();
        lines(out, "waits for", &waits);
        return true;
    }
    let deferred: Vec<_> = plan.report.deferred.iter().filter(|d| d.step == *id).collect();
    for deferred in &deferred {
        out.push([
            (Label::Id, deferred.step.to_string()),
            (Label::Warning, format!(" is not planned: {}", deferred.code)),
        ]);
        lines(out, "because", std::slice::from_ref(&deferred.reason));
        if let Some(until) = deferred.until {
            lines(out, "until", &[until.to_string()]);
        }
    }
    !deferred.is_empty()
}

/// A precondition in words.
fn precondition(precondition: &Precondition) -> String {
    match precondition {
        Precondition::RepositoryIs { repository, id: Some(id) } => {
            format!("repository {repository} is {}", id.short())
        }
        Precondition::RepositoryIs { repository, id: None } => {
            format!("there is no repository {repository} yet")
        }
        Precondition::SnapshotsExist { repository, snapshots } => {
            format!("{} points exist in {repository}", snapshots.len())
        }
        Precondition::ProvenCopyStays { resource, .. } => {
            format!("a proven point of {resource} stays")
        }
        Precondition::ResourcePresent { resource } => {
            format!("{resource} is there, not empty and usable")
        }
        Precondition::ResourceUnmoved { resource, marker: None } => {
            format!("{resource} is still not there")
        }
        Precondition::ResourceUnmoved { resource, marker: Some(_) } => {
            format!("{resource} has not moved since")
        }
        Precondition::NoOtherRecovery { resource, .. } => {
            format!("no other recovery of {resource} is under way")
        }
    }
}

fn lines(out: &mut Lines, heading: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    out.line(Label::Heading, format!("  {heading}"));
    for item in items {
        out.line(Label::Plain, format!("    {item}"));
    }
}

fn snapshot(out: &mut Lines, view: &View<'_>, id: &SnapshotId) -> bool {
    let mut found = false;
    let digits = id.to_string();
    for address in view.desired.resources.keys() {
        let named = |p: &PointRef<'_>| p.id().is_named_by(&digits);
        if !view.points(address).any(|p| named(&p)) {
            continue;
        }
        found = true;
        let verdicts = retention_of(view.desired, view.observed, view.now, address);
        for point in view.points(address).filter(named) {
            let verdict = verdicts.iter().find(|v| v.snapshot == *point.id());
            one_point(out, view, address, &point, verdict);
        }
    }
    found | foreign(out, view, id)
}

/// Snapshots that belong to no described resource.
fn foreign(out: &mut Lines, view: &View<'_>, id: &SnapshotId) -> bool {
    let mut found = false;
    let digits = id.to_string();
    for (name, seen) in &view.observed.repositories {
        let RepositoryObservation::Known { snapshots, .. } = seen else { continue };
        let named = snapshots.iter().filter(|s| s.id.is_named_by(&digits));
        for info in named.filter(|s| s.address.as_ref().and_then(|a| view.current(a)).is_none()) {
            found = true;
            out.push([
                (Label::Id, info.id.short()),
                (Label::Heading, format!(" in {name} of {}", info.time)),
            ]);
            let whose = match &info.address {
                Some(address) => format!("of {address}, which no document describes"),
                None => "not made by Mainstay".to_owned(),
            };
            let mut facts = vec![whose, format!("of host {}", info.hostname)];
            if !info.paths.is_empty() {
                facts.push(format!("holds {}", info.paths.join(", ")));
            }
            if !info.tags.is_empty() {
                let tags: Vec<&str> = info.tags.iter().map(String::as_str).collect();
                facts.push(format!("tagged {}", tags.join(", ")));
            }
            lines(out, "is", &facts);
            let why = match &info.address {
                Some(_) => "points of what no document describes are kept",
                None => "no retention looks at what Mainstay did not make",
            };
            lines(out, "stays because", &[why.to_owned()]);
        }
    }
    found
}

fn one_point(
    out: &mut Lines,
    view: &View<'_>,
    address: &Address,
    point: &PointRef<'_>,
    verdict: Option<&RetentionVerdict>,
) {
    out.push([
        (Label::Id, point.id().short()),
        (Label::Heading, format!(" {address} in {} of {}", point.repository, point.taken_at())),
    ]);
    let mut facts = Vec::new();
    if let Some(receipt) = point.receipt() {
        facts.push(format!("{} files, {}", receipt.files, bytes(receipt.bytes)));
        if !receipt.complete {
            facts.push(format!("incomplete: {} items failed", receipt.failures_count));
        }
        if let Some(why) = &receipt.suspicious {
            facts.push(format!("suspicious: {why}"));
        }
        if let Some(slot) = receipt.slot {
            facts.push(format!("serves slot {slot}"));
        }
        if let Some(token) = &receipt.trigger {
            facts.push(format!("serves token {token}"));
        }
        facts.push(format!("commit {}, plan {}", receipt.commit.short(), receipt.plan.short()));
    } else {
        facts.push("not made by Mainstay".to_owned());
    }
    lines(out, "is", &facts);
    let evidence = view.observed.memory.evidence.get(point.id());
    let mut proofs: Vec<String> = evidence
        .into_iter()
        .flatten()
        .map(|e| format!("{} at {}", evidence_word(e.kind), e.at))
        .collect();
    if proofs.is_empty() {
        proofs.push("nothing".to_owned());
    }
    lines(out, "proven", &proofs);
    match verdict {
        Some(verdict) => {
            let word = if verdict.keep { "stays because" } else { "may go because" };
            lines(out, word, &verdict.reasons);
            if let Some(at) = verdict.removable_at {
                let text = format!("{at}, if every backup succeeds until then");
                lines(out, "removable from", &[text]);
            }
        }
        None => lines(out, "stays because", &["no retention speaks of it".to_owned()]),
    }
}

fn evidence_word(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::Written => "written",
        EvidenceKind::Checked => "checked",
        EvidenceKind::Restored => "restored",
        EvidenceKind::Asserted => "asserted",
    }
}

fn resource(out: &mut Lines, plan: &Plan, address: &Address, status: &ResourceStatus) {
    out.push([(Label::Id, address.to_string())]);
    lines(out, "is", &[describe(&status.condition)]);
    let mut proven = Vec::new();
    match &status.newest_proven {
        Some(point) => proven.push(format!(
            "{} in {} of {}, {} ago",
            point.snapshot.short(),
            point.repository,
            point.taken_at,
            duration(status.age_s.unwrap_or_default())
        )),
        None => proven.push("nothing is proven".to_owned()),
    }
    if let Some(rpo) = status.rpo_s {
        let verdict = match status.rpo {
            Verdict::Kept => "kept",
            Verdict::Violated => "violated",
            Verdict::Unknown | Verdict::NoObjective => "unknown",
        };
        proven.push(format!("at most {} old is promised: {verdict}", duration(rpo)));
    }
    lines(out, "newest proven point", &proven);
    if let Some(next) = status.next_due {
        lines(out, "next backup due", &[next.to_string()]);
    }
    let steps: Vec<String> = plan
        .steps
        .iter()
        .filter(|s| s.action.resource() == Some(address))
        .map(|s| format!("{}: {}", s.id, s.reasons.join("; ")))
        .collect();
    lines(out, "planned", &steps);
    let about = format!("/{address}");
    let deferred: Vec<String> = plan
        .report
        .deferred
        .iter()
        .filter(|d| {
            d.step
                .as_str()
                .split_once(&about)
                .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|d| format!("{}: {}: {}", d.step, d.code, d.reason))
        .collect();
    lines(out, "not planned", &deferred);
}
