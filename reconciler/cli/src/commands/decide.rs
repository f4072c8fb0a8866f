//! `mainstay approve`, `hold` and `accept`.

use std::collections::BTreeSet;

use adapters::clock::System;
use model::Timestamp;
use model::cancel::Cancel;
use model::desired::Scope;
use model::id::StepId;
use model::ports::clock::Clock;
use operations::decide;
use operations::status::look;
use runtime::Unobserved;

use super::{duration_s, usage};
use crate::args::{AcceptArgs, ApproveArgs, Global, HoldArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::human;
use crate::ui::Ui;
use crate::wire::{user, wire};

pub async fn approve(global: &Global, args: &ApproveArgs, ui: &Ui) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    if !args.steps.is_empty() {
        let steps: Vec<StepId> = args.steps.iter().map(|id| StepId::from(id.as_str())).collect();
        let all = BTreeSet::new();
        let pass = look(&wired.world, None, all, &Unobserved, &Cancel::default()).await?;
        let world = &wired.world;
        decide::approve_steps(world, &pass, &args.digest, &steps, &user()).await?;
        for step in &steps {
            ui.say(format!("approved {step} alone; `mainstay apply` or the daemon goes on"));
        }
        return Ok(Exit::Success);
    }
    let digest = decide::approve(&wired.world, &args.digest, &user()).await?;
    ui.say(format!("approved {}; `mainstay apply` or the daemon goes on", digest.short()));
    Ok(Exit::Success)
}

pub async fn accept(global: &Global, args: &AcceptArgs, ui: &Ui) -> Result<Exit, CliError> {
    let wired = wire(global)?;
    decide::accept(&wired.world, &args.alarm, &user()).await?;
    ui.say(format!("accepted {}", args.alarm));
    Ok(Exit::Success)
}

pub async fn hold(global: &Global, args: &HoldArgs, ui: &Ui) -> Result<Exit, CliError> {
    let name = args.name.parse().map_err(usage)?;
    let wired = wire(global)?;
    if args.release {
        if !decide::release(&wired.world, &name, &user()).await? {
            return Err(CliError::new(format!("no hold `{name}` was made by hand"))
                .hint("a hold in git ends when its document goes"));
        }
        ui.say(format!("hold `{name}` is released"));
        return Ok(Exit::Success);
    }
    let until = args.duration.as_deref().map(until).transpose()?;
    let reason = args.reason.clone().unwrap_or_default();
    let scope = scope(&args.on)?;
    let hold = decide::hold(&wired.world, &name, scope, &user(), &reason, until).await?;
    match hold.until {
        Some(at) => ui.say(format!("hold `{name}` until {}", human::instant(at))),
        None => ui.say(format!("hold `{name}` until `mainstay hold {name} --release`")),
    }
    Ok(Exit::Success)
}

fn until(text: &str) -> Result<Timestamp, CliError> {
    let seconds = i64::try_from(duration_s(text)?).map_err(usage)?;
    System.now().checked_add(jiff::SignedDuration::from_secs(seconds)).map_err(usage)
}

fn scope(text: &str) -> Result<Scope, CliError> {
    if text == "all" {
        return Ok(Scope::All);
    }
    if let Some(name) = text.strip_prefix("repository/") {
        return Ok(Scope::Repository(name.parse().map_err(usage)?));
    }
    if text.contains('/') {
        return Ok(Scope::Resource(text.parse().map_err(usage)?));
    }
    Ok(Scope::Application(text.parse().map_err(usage)?))
}
