//! What the comparison of observation and baseline says of each resource. Called by the planner and
//! by `status`. Semantics: `docs/semantics.md`, "Conditions".

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::id::{Address, Name};
use model::observed::{Observation, RecoveryPhase, RecoveryRecord};
use model::plan::Condition;
use model::receipt::{Marker, Receipt};
use model::text::Text;

use crate::view::{Baseline, PointRef, RepositoryState, View};

/// The condition of every resource of the desired state. Only what is not healthy takes room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    unwell: BTreeMap<Address, Condition>,
}

impl Conditions {
    /// The condition of a resource that is in the desired state.
    pub(crate) fn get(&self, address: &Address) -> &Condition {
        self.unwell.get(address).unwrap_or(&Condition::Healthy)
    }

    /// Every condition but `Healthy`.
    pub(crate) fn unwell(&self) -> &BTreeMap<Address, Condition> {
        &self.unwell
    }

    /// Notes what was found of a resource.
    pub(crate) fn set(&mut self, address: &Address, condition: Condition) {
        if condition == Condition::Healthy {
            self.unwell.remove(address);
        } else {
            self.unwell.insert(address.clone(), condition);
        }
    }
}

/// Returns the condition of every resource.
pub(crate) fn conditions(view: &View<'_>) -> Conditions {
    let mut conditions = Conditions::default();
    for address in view.desired.resources.keys() {
        conditions.set(address, condition(view, address));
    }
    conditions
}

/// The recovery of a resource that was put in place and is not committed yet. Where a memory that
/// went back learned of several, the last goes first: it lies over the others.
pub(crate) fn awaiting<'a>(view: &View<'a>, address: &Address) -> Option<&'a RecoveryRecord> {
    let awaiting = view.observed.memory.recoveries.values().filter(|record| {
        record.phase == RecoveryPhase::AwaitingCommit
            && !record.elsewhere
            && view.same(&record.address, address)
    });
    awaiting.max_by_key(|record| record.put_in_place())
}

/// The recovery of a resource that waits for its end and is not being covered by another: one that
/// a memory which went back takes for open was ended before the next began.
pub(crate) fn holding<'a>(view: &View<'a>, address: &Address) -> Option<&'a RecoveryRecord> {
    let recoveries = view.observed.memory.recoveries.values();
    let mut halfway = recoveries.filter(|record| {
        record.phase == RecoveryPhase::Swapping
            && !record.elsewhere
            && view.same(&record.address, address)
    });
    let record = awaiting(view, address)?;
    (!halfway.any(|other| other.put_in_place() > record.put_in_place())).then_some(record)
}

/// Returns the condition of one resource.
pub(crate) fn condition(view: &View<'_>, address: &Address) -> Condition {
    if let Some(record) = awaiting(view, address) {
        return Condition::AwaitingCommit { token: record.token.clone(), since: record.since };
    }
    let baseline = view.baseline(address);
    let has_points = view.points(address).len() > 0 || baseline.is_some();
    match view.observed.resources.get(address) {
        None => Condition::Unreachable { detail: "it was not looked at".to_owned() },
        Some(Observation::Unknown { reason, detail }) => {
            Condition::Unreachable { detail: format!("{reason}: {detail}") }
        }
        Some(Observation::Absent { detail, .. }) => {
            if has_points {
                Condition::Lost { detail: detail.clone() }
            } else if let Some(blind) = blind(view, address, true) {
                Condition::Unreachable {
                    detail: format!("{detail}; whether it was ever there cannot be told: {blind}"),
                }
            } else {
                Condition::NeverSeen
            }
        }
        Some(Observation::Known { marker, entries, damaged, .. }) => {
            if let Some(detail) = damaged {
                return Condition::Damaged { detail: detail.clone() };
            }
            match baseline {
                Some(baseline) => compare(view, address, &baseline, marker, *entries),
                None if has_points => match emptied_since(view, address, *entries) {
                    Some(detail) => Condition::Lost { detail },
                    None => Condition::NeverProtected,
                },
                None => match blind(view, address, false) {
                    Some(blind) => Condition::Unreachable {
                        detail: format!(
                            "it is there, but nothing can be compared with it: {blind}"
                        ),
                    },
                    None => Condition::NeverProtected,
                },
            }
        }
    }
}

/// Why nothing can be said from the absence of points: a repository that may hold them is not
/// readable. One is enough to doubt that a resource never was; all are needed to doubt that it has
/// no point, so that one broken repository does not keep a new resource from being protected.
fn blind(view: &View<'_>, address: &Address, any: bool) -> Option<String> {
    let states: Vec<_> =
        view.repositories_of(address).into_iter().map(|name| (name, view.state(name))).collect();
    let usable = |state: &RepositoryState<'_>| {
        matches!(state, RepositoryState::Ready(_) | RepositoryState::New)
    };
    if !any && states.iter().any(|(_, state)| usable(state)) {
        return None;
    }
    states.iter().find_map(|(name, state)| {
        state.trouble().map(|(_, detail)| format!("repository {name}: {detail}"))
    })
}

fn compare(
    view: &View<'_>,
    address: &Address,
    baseline: &Baseline<'_>,
    found: &Marker,
    entries: Option<u64>,
) -> Condition {
    if let Some(detail) = emptied(view, address, baseline, entries) {
        return Condition::Lost { detail };
    }
    if let (Some(expected), Some(found)) = (&baseline.marker.identity, &found.identity)
        && expected != found
    {
        return Condition::Replaced { expected: expected.to_string(), found: found.to_string() };
    }
    let lower = lower(baseline.marker, found);
    if !lower.is_empty() {
        let to = older_point(view, address, baseline, |receipt| is_behind(&receipt.marker, found));
        return Condition::RolledBack { from: baseline.at, to, detail: lower };
    }
    if let Some((to, detail)) = older_content(view, address, baseline, found) {
        return Condition::RolledBack { from: baseline.at, to: Some(to), detail: vec![detail] };
    }
    Condition::Healthy
}

/// The counters that are lower than they were.
fn lower(before: &Marker, found: &Marker) -> Vec<String> {
    before
        .counters
        .iter()
        .filter_map(|(name, was)| found.counters.get(name).map(|is| (name, *was, *is)))
        .filter(|(_, was, is)| is < was)
        .map(|(name, was, is)| format!("counter {name} {was} → {is}"))
        .collect()
}

/// Says how a resource went back between two looks at it, or that another one is in its place: what
/// is read then must not become its newest point before a plan has judged it.
pub fn went_back(before: &Marker, found: &Marker) -> Option<String> {
    if let (Some(expected), Some(identity)) = (&before.identity, &found.identity)
        && expected != identity
    {
        return Some(format!("{identity} is in the place of {expected}"));
    }
    let lower = lower(before, found);
    if !lower.is_empty() {
        return Some(lower.join(", "));
    }
    let (had, has) = (before.counts.values().sum::<u64>(), found.counts.values().sum::<u64>());
    (had > 0 && has == 0 && !found.counts.is_empty())
        .then(|| format!("it is empty, and had {had} counted items"))
}

/// Whether something that was full is empty.
fn emptied(
    view: &View<'_>,
    address: &Address,
    baseline: &Baseline<'_>,
    entries: Option<u64>,
) -> Option<String> {
    if entries != Some(0) {
        return None;
    }
    let Some(receipt) = baseline.receipt else {
        let had: u64 = baseline.marker.counts.values().sum();
        return (had > 0)
            .then(|| format!("it is empty, and had {had} counted items at {}", baseline.at));
    };
    let is_tree =
        view.desired.resources.get(address).is_some_and(|resource| resource.agent.tree.is_some());
    // A dump of an empty database is a file with bytes, so streams are judged by their counts.
    let had = if is_tree { receipt.files } else { receipt.marker.counts.values().sum() };
    let noun = if is_tree { "files" } else { "counted items" };
    (had > 0).then(|| format!("it is empty, and had {had} {noun} at {}", receipt.taken_at))
}

/// Whether something is empty of which every complete point is stamped in the future, the newest of
/// them full: whatever the clock said, it was written before now.
fn emptied_since(view: &View<'_>, address: &Address, entries: Option<u64>) -> Option<String> {
    let mut points = view.points(address).rev().filter_map(|point| point.receipt());
    let receipt = points.find(|receipt| receipt.complete)?;
    emptied(view, address, &Baseline::of(receipt), entries)
}

/// Whether something is empty and its newest good point in a repository is not: whatever made it
/// so, nobody has yet seen a point of that state and called it right.
pub(crate) fn newly_empty(view: &View<'_>, address: &Address, repository: &Name) -> Option<String> {
    let Some(Observation::Known { entries, .. }) = view.observed.resources.get(address) else {
        return None;
    };
    let good = |point: &PointRef<'_>| view.is_good(point) && !view.is_future(point.taken_at());
    let receipt = view.points_in(address, repository).rfind(good)?.receipt()?;
    emptied(view, address, &Baseline::of(receipt), *entries)
}

/// A content that equals an older point's and not the newest's went back.
fn older_content(
    view: &View<'_>,
    address: &Address,
    baseline: &Baseline<'_>,
    found: &Marker,
) -> Option<(Timestamp, String)> {
    let digest = found.digest.as_ref()?;
    let newest = baseline.marker.digest.as_ref()?;
    // A source may return to an earlier content by itself; numbers that went on meanwhile say so.
    // Numbers that stand still say nothing: some sources move them late, or not at all.
    let went_on = |(name, was): (&Text, &u64)| found.counters.get(name).is_some_and(|is| is > was);
    if digest == newest || baseline.marker.counters.iter().any(went_on) {
        return None;
    }
    let older = view
        .comparable(address)
        .into_iter()
        .rev()
        .find(|receipt| receipt.marker.digest.as_ref() == Some(digest))?;
    Some((older.taken_at, format!("its content is that of {}", older.taken_at)))
}

/// The newest complete point before the baseline, of the same identity, that satisfies a condition.
fn older_point(
    view: &View<'_>,
    address: &Address,
    baseline: &Baseline<'_>,
    accepts: impl Fn(&Receipt) -> bool,
) -> Option<Timestamp> {
    view.points(address)
        .rev()
        .filter_map(|point| point.receipt())
        .filter(|receipt| receipt.complete && receipt.taken_at < baseline.at)
        .filter(|receipt| receipt.marker.identity == baseline.marker.identity)
        .find(|receipt| accepts(receipt))
        .map(|receipt| receipt.taken_at)
}

/// Whether a marker is not ahead of the one that was found.
fn is_behind(marker: &Marker, found: &Marker) -> bool {
    let mut comparable = false;
    for (name, was) in &marker.counters {
        match found.counters.get(name) {
            Some(is) if was > is => return false,
            Some(_) => comparable = true,
            None => {}
        }
    }
    comparable || (marker.digest.is_some() && marker.digest == found.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(identity: Option<&str>, lsn: u64) -> Marker {
        Marker {
            identity: identity.map(Text::from),
            counters: [("lsn", lsn)].into(),
            ..Marker::default()
        }
    }

    #[test]
    fn what_goes_back_between_two_looks_is_told() {
        let before = marker(Some("a"), 7);
        assert_eq!(went_back(&before, &marker(Some("a"), 7)), None);
        assert_eq!(went_back(&before, &marker(Some("a"), 9)), None);
        assert_eq!(went_back(&before, &marker(None, 7)), None);
        let lower = went_back(&before, &marker(Some("a"), 6));
        assert_eq!(lower.as_deref(), Some("counter lsn 7 → 6"));
        let other = went_back(&before, &marker(Some("b"), 9));
        assert_eq!(other.as_deref(), Some("b is in the place of a"));
        let counted = |n| Marker { counts: [("entries", n)].into(), ..Marker::default() };
        assert_eq!(went_back(&counted(3), &counted(1)), None);
        assert_eq!(went_back(&counted(0), &counted(0)), None);
        assert_eq!(went_back(&counted(3), &Marker::default()), None);
        let emptied = went_back(&counted(3), &counted(0));
        assert_eq!(emptied.as_deref(), Some("it is empty, and had 3 counted items"));
    }
}
