//! What a person decides outside git: approve, hold, release, accept. Kept in our state, so it may
//! be lost and is then asked again; what should last is written in git.

use model::Timestamp;
use model::desired::{Hold, Scope};
use model::digest::Digest;
use model::error::PortError;
use model::id::{Name, StepId};
use model::journal::Body;
use model::plan::{Class, Plan};
use runtime::execute::journal;
use runtime::memory::{self, kind, meta};
use runtime::{Pass, World};

use crate::beside::wake;

/// Approves destructive steps by their digest. A prefix of at least eight digits of the last plan's
/// digest will do.
pub async fn approve(world: &World, text: &str, by: &str) -> Result<Digest, PortError> {
    let planned = last_plan(world).await?.and_then(|plan| plan.destructive);
    let full = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let digest = match planned {
        Some(digest) if text.len() >= 8 && digest.as_str().starts_with(text) => digest,
        _ if full => Digest::from(text),
        Some(digest) => {
            return Err(PortError::terminal(
                "ApprovalUnknown",
                format!("`{text}` is not the digest that waits, which is {}", digest.short()),
            )
            .with_hint("copy the digest from `mainstay plan`"));
        }
        None => {
            return Err(PortError::terminal(
                "ApprovalUnknown",
                "no plan with destructive steps is remembered",
            )
            .with_hint("give all 64 digits as `mainstay plan` prints them"));
        }
    };
    remember(world, &[(digest.to_string(), digest.clone())], by, 0).await?;
    wake(world).await?;
    Ok(digest)
}

/// Approves only some destructive steps of the plan that waits under a digest. Each gets a digest
/// of its own, so it fits as long as that step stays as it is, whatever becomes of the others.
/// `pass` is a look at the world as it is.
pub async fn approve_steps(
    world: &World,
    pass: &Pass,
    text: &str,
    steps: &[StepId],
    by: &str,
) -> Result<Vec<Digest>, PortError> {
    let unknown = |message: String| {
        PortError::terminal("ApprovalUnknown", message)
            .with_hint("`mainstay plan` prints the digest and the steps that wait for it")
    };
    let plan = &pass.plan;
    let fits = |digest: &Digest| text.len() >= 8 && digest.as_str().starts_with(text);
    if !plan.destructive.as_ref().is_some_and(fits) {
        let waits = plan.destructive.as_ref().map_or("nothing", |d| d.short());
        return Err(unknown(format!("`{text}` is not the digest that waits, which is {waits}")));
    }
    let mut approvals = Vec::new();
    for id in steps {
        let step = plan.steps.iter().find(|step| step.id == *id);
        let digest = step.and_then(|step| plan::step_digest(&pass.desired, step));
        let digest = digest.ok_or_else(|| {
            let there = plan.steps.iter().filter(|s| s.class == Class::Destructive);
            let names: Vec<&str> = there.map(|step| step.id.as_str()).collect();
            let names = names.join(", ");
            unknown(format!("`{id}` is not one of the destructive steps, which are {names}"))
        })?;
        approvals.push((format!("{id} {digest}"), digest));
    }
    remember(world, &approvals, by, 0).await?;
    wake(world).await?;
    Ok(approvals.into_iter().map(|(_, digest)| digest).collect())
}

/// Remembers approvals, all or none, and notes in the journal what each is for and who gave it.
pub(crate) async fn remember(
    world: &World,
    approvals: &[(String, Digest)],
    by: &str,
    epoch: u64,
) -> Result<(), PortError> {
    if approvals.is_empty() {
        return Ok(());
    }
    let at = world.clock.now();
    let changes = approvals.iter().map(|(_, d)| memory::set(kind::APPROVAL, d.to_string(), &at));
    world.state.write(&changes.collect::<Result<Vec<_>, _>>()?).await?;
    for (subject, _) in approvals {
        let (verb, subject, by) = ("approve".into(), subject.clone(), by.into());
        journal(world, epoch, Body::Decided { verb, subject, by }).await?;
    }
    Ok(())
}

async fn last_plan(world: &World) -> Result<Option<Plan>, PortError> {
    let plans = world.state.list(kind::PLAN).await?;
    Ok(plans.get("last").and_then(memory::decode))
}

/// Stops a scope.
pub async fn hold(
    world: &World,
    name: &Name,
    scope: Scope,
    owner: &str,
    reason: &str,
    until: Option<Timestamp>,
) -> Result<Hold, PortError> {
    let hold = Hold {
        name: name.clone(),
        scope,
        owner: owner.to_owned(),
        reason: reason.to_owned(),
        until,
    };
    world.state.write(&[memory::set(kind::HOLD, name.as_str(), &hold)?]).await?;
    decided(world, "hold", name.as_str(), owner).await?;
    Ok(hold)
}

/// Ends a hold that was made by hand. Returns whether there was one.
pub async fn release(world: &World, name: &Name, by: &str) -> Result<bool, PortError> {
    let known = world.state.list(kind::HOLD).await?.contains_key(name.as_str());
    if known {
        world.state.write(&[memory::unset(kind::HOLD, name.as_str())]).await?;
        decided(world, "release", name.as_str(), by).await?;
    }
    Ok(known)
}

/// Accepts an alarm: a commit that does not descend, a state that went back or was lost, a clock, a
/// mass loss. The text is the one that the plan prints.
pub async fn accept(world: &World, text: &str, by: &str) -> Result<(), PortError> {
    let known = [
        "commit:",
        "documents:",
        "epoch:",
        "memory:",
        "clock:",
        "mass-loss:",
        "suspicious:",
        "token:",
    ];
    if !known.iter().any(|prefix| text.starts_with(prefix)) {
        return Err(PortError::terminal(
            "AlarmUnknown",
            format!("`{text}` is not an alarm; begin with one of {}", known.join(" ")),
        )
        .with_hint("`mainstay plan` prints the command in full"));
    }
    let mut changes = vec![memory::set(kind::ALARM, text, &world.clock.now())?];
    if text.starts_with("memory:") {
        changes.push(memory::unset(kind::META, meta::LOST));
    }
    if text.starts_with("epoch:") {
        changes.push(memory::unset(kind::META, meta::EPOCH_SUSPECT));
    }
    world.state.write(&changes).await?;
    decided(world, "accept", text, by).await
}

async fn decided(world: &World, verb: &str, subject: &str, by: &str) -> Result<(), PortError> {
    let body = Body::Decided { verb: verb.into(), subject: subject.into(), by: by.into() };
    journal(world, 0, body).await?;
    wake(world).await
}
