//! Acts one step out: intent into the journal, preconditions again, the effect, result into the
//! journal. Called by `execute`; what to do was decided by the planner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::cancel::Cancel;
use model::desired::{Desired, Hooks, RepositorySpec, Resource};
use model::error::{ErrorClass, PortError};
use model::id::{Address, Name, PlanId, SnapshotId, StepId};
use model::journal::{Body, Outcome};
use model::observed::{Backoff, Deed, Observation, Observed, RepositoryObservation};
use model::plan::{Action, Class, Due, Precondition, SnapshotRef, Step};
use model::ports::agents::OpenSource;
use model::ports::engine::BackupOrder;
use model::ports::state::Change;
use model::progress::Counts;
use model::receipt::{
    Control, ControlBody, Evidence, EvidenceKind, Marker, RECEIPT_VERSION, Receipt,
};

use crate::event::{Observer, StepProgress};
use crate::execute::journal;
use crate::memory::{self, kind};
use crate::observe::look;
use crate::recovery;
use crate::recreate;
use crate::world::World;

/// What every step of one execution shares.
#[derive(Clone)]
pub(crate) struct StepContext {
    pub(crate) world: World,
    pub(crate) desired: Arc<Desired>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) plan: PlanId,
    pub(crate) epoch: u64,
    pub(crate) writer: String,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) cancel: Cancel,
    pub(crate) read: LastRead,
}

/// What each resource was when a backup of this run read it last: one plan may read it for several
/// repositories, and what goes back between two of them is behind the first point already.
#[derive(Clone, Default)]
pub(crate) struct LastRead(Arc<Mutex<BTreeMap<Address, Marker>>>);

impl LastRead {
    /// Says how a resource went back since it was read before, or else since it was planned for; if
    /// it did not, it is remembered as it is.
    fn went_back(
        &self,
        address: &Address,
        planned: Option<&Marker>,
        found: &Marker,
    ) -> Option<String> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = read.get(address).or(planned);
        let why = before.and_then(|before| plan::went_back(before, found));
        if why.is_none() {
            read.insert(address.clone(), found.clone());
        }
        why
    }
}

/// What an action has to say when it went well.
pub(crate) struct Success {
    pub(crate) summary: String,
    pub(crate) snapshot: Option<SnapshotId>,
    pub(crate) counts: Counts,
    pub(crate) failures: Vec<model::receipt::ItemFailure>,
    pub(crate) failures_count: u64,
}

impl Success {
    pub(crate) fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            snapshot: None,
            counts: Counts::default(),
            failures: Vec::new(),
            failures_count: 0,
        }
    }
}

/// First and longest wait after a failure, in seconds; doubled with each further one. An hourly
/// backup is missed once at the most.
const BACKOFF_S: (u64, u64) = (30, 3600);
/// The same before a point is read again that was found damaged: that costs as much as the point is
/// large, and nothing that is stored mends itself.
const BACKOFF_DAMAGED_S: (u64, u64) = (3600, 24 * 3600);
/// Why a proof fails of a point that is damaged where it is stored.
const SNAPSHOT_DAMAGED: &str = "SnapshotDamaged";

/// Runs one step.
pub(crate) async fn run(
    context: &StepContext,
    step: &Step,
    outputs: &BTreeMap<StepId, SnapshotId>,
) -> Outcome {
    let begun = context.world.clock.now();
    let intent = Body::StepBegun {
        plan: context.plan.clone(),
        step: step.id.clone(),
        action: step.action.clone(),
    };
    if let Err(error) = journal(&context.world, context.epoch, intent).await {
        return failed(&error);
    }
    let result = match recheck(context, step).await {
        Ok(()) => act(context, step, outputs).await,
        Err(error) => Err(error),
    };
    let outcome = outcome_of(result, begun, context.world.clock.now());
    settle(context, step, outcome).await
}

async fn act(
    context: &StepContext,
    step: &Step,
    outputs: &BTreeMap<StepId, SnapshotId>,
) -> Result<Success, PortError> {
    match &step.action {
        Action::Init { repository } => init(context, repository).await,
        Action::Backup { .. } => backup(context, step).await,
        Action::Verify { repository, snapshot, .. } => {
            let id = resolve(snapshot, outputs)?;
            verify(context, &step.id, repository, &id).await
        }
        Action::Expire { repository, snapshots, .. } => {
            expire(context, repository, snapshots).await
        }
        Action::Reclaim { repository } => reclaim(context, &step.id, repository).await,
        Action::Restore { .. } => recovery::restore(context, step).await,
        Action::Commit { token, .. } => recovery::commit(context, token).await,
        Action::Rollback { token, .. } => {
            // What a policy's time-out undoes is planned as mutating, what a person undoes is not.
            let by_hand = step.class == Class::Destructive;
            recovery::rollback(context, token, by_hand).await
        }
        Action::Recreate { resource, token, .. } => {
            recreate::recreate(context, resource, token).await
        }
        Action::Adopt { resource, marker } => adopt(context, resource, marker).await,
    }
}

/// Writes the result down, remembers failures for backoff, and returns the outcome.
async fn settle(context: &StepContext, step: &Step, outcome: Outcome) -> Outcome {
    let key = step.id.as_str();
    let change = match &outcome {
        Outcome::Failed { class, reason, error, .. } if class != "cancelled" => {
            let before = context.observed.memory.backoff.get(key).map_or(0, |b| b.failures);
            let (first, longest) = match reason.as_str() {
                SNAPSHOT_DAMAGED => BACKOFF_DAMAGED_S,
                _ => BACKOFF_S,
            };
            let wait = first.saturating_mul(1 << before.min(20)).min(longest);
            // Half of the wait is spread by the step's name, so that failures of one cause do not
            // all come back in one instant; no randomness, so that a run can be repeated.
            let spread = u64::from(key.bytes().fold(7u8, |a, b| a.wrapping_mul(31) ^ b));
            let wait = wait / 2 + wait * spread / 510;
            let since = context.world.clock.now();
            let wait = jiff::SignedDuration::from_secs(i64::try_from(wait).unwrap_or(3600));
            let until = since.checked_add(wait).unwrap_or(Timestamp::MAX);
            let backoff = Backoff { failures: before + 1, since, until, error: error.clone() };
            memory::set(kind::BACKOFF, key, &backoff)
        }
        _ => Ok(memory::unset(kind::BACKOFF, key)),
    };
    let remembered = match change {
        Ok(change) => {
            let mut changes = vec![change];
            changes.extend(disproved(step, &outcome));
            context.world.state.write(&changes).await
        }
        Err(error) => Err(error),
    };
    let ended = Body::StepEnded {
        plan: context.plan.clone(),
        step: step.id.clone(),
        outcome: outcome.clone(),
    };
    let written = journal(&context.world, context.epoch, ended).await.map(|_| ());
    match remembered.and(written) {
        Ok(()) => outcome,
        // The effect stands, but our memory of it does not: never called a success.
        Err(error) if outcome.is_success() => failed(&error),
        Err(_) => outcome,
    }
}

/// A point that could not be brought back, for a reason of its own, counts as read no longer: the
/// next plan takes another one, and what may be wrong with this one is found out by reading it
/// again. For a full disk or a refused place no older point is taken.
fn disproved(step: &Step, outcome: &Outcome) -> Option<Change> {
    match (&step.action, outcome) {
        (Action::Restore { snapshot, .. }, Outcome::Failed { reason, .. })
            if recovery::OF_THE_POINT.contains(&reason.as_str()) =>
        {
            Some(memory::unset(kind::EVIDENCE, snapshot.to_string()))
        }
        _ => None,
    }
}

fn outcome_of(result: Result<Success, PortError>, begun: Timestamp, now: Timestamp) -> Outcome {
    let duration_ms =
        u64::try_from(now.as_millisecond().saturating_sub(begun.as_millisecond())).unwrap_or(0);
    match result {
        Ok(success) if success.failures_count > 0 => Outcome::Partial {
            summary: success.summary,
            snapshot: success.snapshot,
            failures: success.failures,
            failures_count: success.failures_count,
            counts: success.counts,
            duration_ms,
        },
        Ok(success) => Outcome::Done {
            summary: success.summary,
            snapshot: success.snapshot,
            counts: success.counts,
            duration_ms,
        },
        Err(error) => failed(&error),
    }
}

pub(crate) fn failed(error: &PortError) -> Outcome {
    Outcome::Failed {
        class: error.class.to_string(),
        reason: error.reason.to_owned(),
        error: error.chain(),
        hint: error.hint.clone(),
    }
}

/// Looks at the world again, as far as the step's preconditions need it, and stops if it moved.
pub(crate) async fn recheck(context: &StepContext, step: &Step) -> Result<(), PortError> {
    if step.preconditions.is_empty() {
        return Ok(());
    }
    let (mut resources, mut repositories) = (BTreeSet::new(), BTreeSet::new());
    for precondition in &step.preconditions {
        match precondition {
            Precondition::RepositoryIs { repository, .. }
            | Precondition::SnapshotsExist { repository, .. } => {
                repositories.insert(repository.clone());
            }
            Precondition::ProvenCopyStays { snapshots, .. } => {
                repositories.extend(snapshots.keys().cloned());
            }
            Precondition::ResourcePresent { resource }
            | Precondition::ResourceUnmoved { resource, .. } => {
                resources.insert(resource.clone());
            }
            Precondition::NoOtherRecovery { .. } => {}
        }
    }
    let seen =
        look(&context.world, &context.desired, resources, repositories, &context.cancel).await;
    let now = Observed {
        at: context.world.clock.now(),
        resources: seen.0,
        repositories: seen.1,
        memory: memory::load(&*context.world.state, context.epoch).await?,
    };
    for precondition in &step.preconditions {
        plan::precondition(precondition, &now).map_err(|why| world_moved(&why))?;
    }
    Ok(())
}

pub(crate) fn repository<'a>(
    context: &'a StepContext,
    name: &Name,
) -> Result<&'a RepositorySpec, PortError> {
    context.desired.repositories.get(name).ok_or_else(|| {
        PortError::terminal("RepositoryUnknown", format!("no document describes `{name}`"))
    })
}

pub(crate) fn resource<'a>(
    context: &'a StepContext,
    address: &Address,
) -> Result<&'a Resource, PortError> {
    context.desired.resources.get(address).ok_or_else(|| {
        PortError::terminal("ResourceUnknown", format!("no document describes `{address}`"))
    })
}

fn resolve(
    snapshot: &SnapshotRef,
    outputs: &BTreeMap<StepId, SnapshotId>,
) -> Result<SnapshotId, PortError> {
    match snapshot {
        SnapshotRef::Id(id) => Ok(id.clone()),
        SnapshotRef::Of(step) => outputs
            .get(step)
            .cloned()
            .ok_or_else(|| PortError::terminal("NoSnapshot", format!("`{step}` made no snapshot"))),
    }
}

async fn init(context: &StepContext, name: &Name) -> Result<Success, PortError> {
    let id = context.world.engine.init(repository(context, name)?).await?;
    let known = memory::set(kind::REPOSITORY, name.as_str(), &id)?;
    let settled = memory::set(kind::SETTLED, name.as_str(), &context.epoch)?;
    context.world.state.write(&[known, settled]).await?;
    Ok(Success::new(format!("made repository {}", id.short())))
}

async fn backup(context: &StepContext, step: &Step) -> Result<Success, PortError> {
    let Action::Backup {
        backup,
        resource: address,
        repository: to,
        due,
        parent,
        shrink_percent_max,
    } = &step.action
    else {
        return Err(PortError::terminal("WrongAction", "not a backup"));
    };
    let document = backup.as_ref().and_then(|name| context.desired.backups.get(name));
    let hooks = document.map(|b| b.hooks.clone()).unwrap_or_default();
    let spec = repository(context, to)?;
    let resource = resource(context, address)?;
    let source = still_ahead(context, address, open(context, resource, &hooks).await?).await?;
    let receipt = first_words(context, resource, backup.as_ref(), due, &source.marker);
    let before = plan::anomaly::newest_trusted(&context.observed, to, address).cloned();
    let limit = *shrink_percent_max;
    let judge = move |receipt: &mut Receipt| {
        let before = before.as_ref();
        receipt.suspicious =
            before.and_then(|b| plan::anomaly::suspicion(receipt, b, limit)).map(Into::into);
    };
    let order = BackupOrder {
        receipt: Receipt { taken_at: source.taken_at, ..receipt },
        source,
        parent: parent.clone(),
        hostname: context.world.hostname.clone(),
        tags: BTreeSet::new(),
        judge: &judge,
    };
    let progress = StepProgress { step: step.id.clone(), observer: context.observer.clone() };
    let made = context.world.engine.backup(spec, order, &progress, &context.cancel).await?;
    let now = context.world.clock.now();
    let written = Evidence { kind: EvidenceKind::Written, at: now };
    memory::add_evidence(&*context.world.state, &made.snapshot, &[written]).await?;
    if let Due::Token { token } = due {
        context.world.state.write(&[memory::unset(kind::REQUEST, token.as_str())]).await?;
    }
    let receipt = &made.receipt;
    let mut summary = format!(
        "snapshot {}: {} files, {} bytes, {} new, {} stored",
        made.snapshot.short(),
        receipt.files,
        receipt.bytes,
        made.counts.bytes_new,
        made.counts.bytes_stored
    );
    if let Some(why) = &receipt.suspicious {
        summary.push_str(&format!("; suspicious: {why}"));
    }
    Ok(Success {
        summary,
        snapshot: Some(made.snapshot.clone()),
        counts: made.counts,
        failures: receipt.failures.to_vec(),
        failures_count: receipt.failures_count,
    })
}

async fn open(
    context: &StepContext,
    resource: &Resource,
    hooks: &Hooks,
) -> Result<OpenSource, PortError> {
    context.cancel.check()?;
    context.world.agents.open(resource, hooks, &context.cancel).await
}

/// Stops at a resource that went back since the plan looked at it, or read it: its next condition
/// says so, unless what is there became its newest point.
async fn still_ahead(
    context: &StepContext,
    address: &Address,
    source: OpenSource,
) -> Result<OpenSource, PortError> {
    let planned = match context.observed.resources.get(address) {
        Some(Observation::Known { marker, .. }) => Some(marker),
        _ => None,
    };
    let Some(why) = context.read.went_back(address, planned, &source.marker) else {
        return Ok(source);
    };
    if let Err(error) = source.close.close(true).await {
        tracing::warn!(resource = %address, "its session did not end well: {error}");
    }
    Err(world_moved(&why))
}

pub(crate) fn world_moved(why: &str) -> PortError {
    PortError::new(
        ErrorClass::Waiting,
        "WorldMoved",
        format!("the world moved since the plan: {why}"),
    )
    .with_hint("the next plan takes what is there into account")
}

fn first_words(
    context: &StepContext,
    resource: &Resource,
    backup: Option<&Name>,
    due: &Due,
    marker: &Marker,
) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        address: resource.address.clone(),
        backup: backup.cloned(),
        slot: match due {
            Due::Slot { at, .. } => Some(*at),
            Due::Token { .. } => None,
        },
        trigger: match due {
            Due::Slot { .. } => None,
            Due::Token { token } => Some(token.into()),
        },
        taken_at: context.world.clock.now(),
        marker: marker.clone(),
        digest: "".into(),
        files: 0,
        bytes: 0,
        complete: false,
        failures: Default::default(),
        failures_count: 0,
        suspicious: None,
        template: resource.agent.template.clone(),
        template_digest: resource.agent.template_digest.clone(),
        commit: context.desired.commit.clone(),
        plan: context.plan.clone(),
        writer: context.writer.as_str().into(),
        epoch: context.epoch,
        mainstay: model::VERSION.into(),
    }
}

async fn verify(
    context: &StepContext,
    step: &StepId,
    name: &Name,
    snapshot: &SnapshotId,
) -> Result<Success, PortError> {
    let spec = repository(context, name)?;
    let progress = StepProgress { step: step.clone(), observer: context.observer.clone() };
    let verified = context.world.engine.verify(spec, snapshot, &progress, &context.cancel).await?;
    if let Some(first) = verified.failures.first() {
        context.world.state.write(&[memory::unset(kind::EVIDENCE, snapshot.to_string())]).await?;
        return Err(PortError::terminal(
            SNAPSHOT_DAMAGED,
            format!(
                "snapshot {} is damaged: {}: {} ({} findings)",
                snapshot.short(),
                first.item,
                first.error,
                verified.failures.len()
            ),
        )
        .with_hint("`mainstay repository check` names everything; the next backup is a full one"));
    }
    let checked = Evidence { kind: EvidenceKind::Checked, at: context.world.clock.now() };
    memory::add_evidence(&*context.world.state, snapshot, &[checked]).await?;
    let bytes = verified.counts.bytes_done;
    Ok(Success {
        snapshot: Some(snapshot.clone()),
        counts: verified.counts,
        ..Success::new(format!("snapshot {}: {bytes} bytes read and proven", snapshot.short()))
    })
}

async fn expire(
    context: &StepContext,
    name: &Name,
    snapshots: &[SnapshotId],
) -> Result<Success, PortError> {
    let spec = repository(context, name)?;
    let now = context.world.clock.now();
    // The deed counts before it is done: a crash may make a budget tighter, never wider.
    let mut changes = Vec::new();
    for id in snapshots {
        changes.push(memory::deed(Deed::Expired, now, &id.to_string())?);
    }
    context.world.state.write(&changes).await?;
    let forgotten = context.world.engine.forget(spec, snapshots).await?;
    let gone: Vec<_> =
        forgotten.iter().map(|id| memory::unset(kind::EVIDENCE, id.to_string())).collect();
    context.world.state.write(&gone).await?;
    Ok(Success::new(format!("forgot {} snapshots", forgotten.len())))
}

async fn reclaim(context: &StepContext, step: &StepId, name: &Name) -> Result<Success, PortError> {
    let spec = repository(context, name)?;
    let progress = StepProgress { step: step.clone(), observer: context.observer.clone() };
    let now = context.world.clock.now();
    let done = context.world.engine.reclaim(spec, now, &progress, &context.cancel).await?;
    let change = memory::set(kind::RECLAIMED, name.as_str(), &now)?;
    context.world.state.write(&[change]).await?;
    Ok(Success::new(format!(
        "freed {} bytes, marked {} bytes for later",
        done.freed_bytes, done.marked_bytes
    )))
}

async fn adopt(
    context: &StepContext,
    address: &Address,
    marker: &Marker,
) -> Result<Success, PortError> {
    let reason = "the state that is there was adopted".to_owned();
    let holders = holders(context, resource(context, address)?);
    let body = ControlBody::Baseline { address: address.clone(), marker: marker.clone(), reason };
    let written = write_control(context, &holders, body).await?;
    Ok(Success::new(format!("adopted; noted in {written} repositories")))
}

/// Returns the repositories that hold anything of a resource and could be read.
pub(crate) fn holders(context: &StepContext, resource: &Resource) -> Vec<Name> {
    let observed = context.observed.repositories.iter();
    let holding = observed.filter(|(_, seen)| holds(seen, |of| resource.is_or_was(of)));
    holding.map(|(name, _)| name.clone()).collect()
}

/// Whether a repository holds a point of something, or a record of where it should be: its last
/// point may be gone, by hand, and the record goes on to say that.
fn holds(seen: &RepositoryObservation, is_it: impl Fn(&Address) -> bool) -> bool {
    let RepositoryObservation::Known { snapshots, controls, .. } = seen else { return false };
    let measured = |control: &Control| match &control.body {
        ControlBody::Baseline { address, .. } => is_it(address),
        _ => false,
    };
    snapshots.iter().any(|s| s.address.as_ref().is_some_and(&is_it))
        || controls.iter().any(measured)
}

/// Writes a control record to all given repositories; at least one must take it.
pub(crate) async fn write_control(
    context: &StepContext,
    repositories: &[Name],
    body: ControlBody,
) -> Result<usize, PortError> {
    let at = context.world.clock.now();
    let control = Control::new(context.writer.clone(), context.epoch, at, body);
    let (mut written, mut last) = (0, None);
    for name in repositories {
        let spec = repository(context, name)?;
        match context.world.engine.record(spec, &control).await {
            Ok(()) => written += 1,
            Err(error) => {
                tracing::warn!(repository = %name, "a control record was not written: {error}");
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if written == 0 => Err(error),
        _ if written == 0 => Err(PortError::waiting(
            "NoRepository",
            "no repository could be reached to note it beside the data",
        )),
        _ => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    use model::id::RepositoryId;

    use super::*;

    #[test]
    fn what_went_back_behind_the_point_of_another_repository_is_not_read() {
        let orders: Address = "shop/orders".parse().unwrap();
        let at = |lsn| Marker { counters: [("lsn".to_owned(), lsn)].into(), ..Marker::default() };
        let read = LastRead::default();
        assert_eq!(read.went_back(&orders, Some(&at(7)), &at(9)), None);
        let why = read.went_back(&orders, Some(&at(7)), &at(8));
        assert_eq!(why.as_deref(), Some("counter lsn 9 → 8"));
        assert_eq!(read.went_back(&orders, Some(&at(7)), &at(9)), None);
        assert!(LastRead::default().went_back(&orders, Some(&at(7)), &at(6)).is_some());
        assert_eq!(LastRead::default().went_back(&orders, None, &at(6)), None);
    }

    #[test]
    fn a_repository_without_points_holds_where_something_should_be() {
        let [it, before, other] = ["shop/orders", "shop/old-orders", "shop/uploads"]
            .map(|text| text.parse::<Address>().unwrap());
        let holding = |of: &Address| {
            let (marker, reason) = (Marker::default(), "a recovery".to_owned());
            let body = ControlBody::Baseline { address: of.clone(), marker, reason };
            RepositoryObservation::Known {
                id: RepositoryId::from("r"),
                snapshots: Vec::new(),
                controls: vec![Control::new("us".to_owned(), 1, Timestamp::UNIX_EPOCH, body)],
                free_bytes: None,
                waste_bytes: None,
            }
        };
        let is_it = |of: &Address| *of == it || *of == before;
        assert!(holds(&holding(&it), is_it) && holds(&holding(&before), is_it));
        assert!(!holds(&holding(&other), is_it));
    }
}
