//! `commit` and `rollback` of a recovery: a plan of one step, executed like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::VERSION;
use model::cancel::Cancel;
use model::error::PortError;
use model::id::{Address, PlanId, StepId};
use model::observed::{RecoveryPhase, RecoveryRecord};
use model::plan::{Action, Class, Estimate, PLAN_VERSION, Plan, Report, Step};
use model::ports::state::Owner;
use runtime::execute::{Summary, execute};
use runtime::pass::{self, Pass, PassError, PassRequest};
use runtime::{Observer, World};

/// Which way a recovery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What was kept aside is removed.
    Commit,
    /// What was kept aside is put back.
    Rollback,
}

/// Why a recovery was not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// There is no plan.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// Something outside failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// None waits.
    #[error("no recovery of `{0}` waits for commit or rollback")]
    None(Address),
}

/// Ends the recovery of a resource that waits.
pub async fn end(
    world: &World,
    owner: &Owner,
    address: &Address,
    end: End,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<(RecoveryRecord, Summary), EndError> {
    let lease = runtime::resume::begin_writing(world, owner).await?;
    let request = PassRequest {
        lease: Some(&*lease),
        only: std::iter::once(address.clone()).collect(),
        ..PassRequest::default()
    };
    let mut pass = pass::prepare(world, &request, &**observer, cancel).await?;
    let record = pass
        .observed
        .memory
        .recoveries
        .values()
        .filter(|r| &r.address == address && r.phase == RecoveryPhase::AwaitingCommit)
        .max_by_key(|r| r.put_in_place())
        .cloned()
        .ok_or_else(|| EndError::None(address.clone()))?;
    pass.plan = plan_of_one(&pass, &record, end);
    let epoch = pass.observed.memory.epoch;
    let summary = execute(world, &pass, BTreeMap::new(), epoch, observer, cancel).await?;
    Ok((record, summary))
}

fn plan_of_one(pass: &Pass, record: &RecoveryRecord, end: End) -> Plan {
    let (resource, token) = (record.address.clone(), record.token.clone());
    let (verb, action) = match end {
        End::Commit => ("commit", Action::Commit { resource, token }),
        End::Rollback => ("rollback", Action::Rollback { resource, token }),
    };
    let step = Step {
        id: StepId::from(format!("{verb}/{}", record.address)),
        action,
        class: Class::Destructive,
        reasons: vec!["a person asked for it".into()],
        preconditions: Vec::new(),
        needs: Vec::new(),
        estimate: Estimate::default(),
        loss: None,
        waits: Vec::new(),
    };
    let id = model::digest::Digest::of("by-hand", &(&step, pass.plan.at));
    Plan {
        version: PLAN_VERSION,
        id: PlanId::from(id),
        planner: VERSION.to_owned(),
        steps: vec![step],
        report: Report::default(),
        destructive: None,
        ..pass.plan.clone()
    }
}
