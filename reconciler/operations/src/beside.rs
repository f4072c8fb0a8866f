//! `apply` beside a daemon on the same state: the daemon does it. Its journal is followed, and the
//! world is looked at again, until nothing of what was asked for is left that could begin.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::cancel::Cancel;
use model::error::PortError;
use model::id::StepId;
use model::journal::{Body, Outcome};
use runtime::execute::Summary;
use runtime::memory::{self, kind};
use runtime::pass::{self, PassRequest};
use runtime::{Observer, RunEvent, World};

use crate::apply::{Applied, ApplyError, ApplyRequest, Confirm};
use crate::apply::{approved, remember_approvals, take_saved};
use crate::history;

/// How often the journal of a daemon is looked at.
const POLL: Duration = Duration::from_millis(200);
/// After so many polls without news the world is looked at again: two seconds…
const QUIET_POLLS: u32 = 10;
/// …and twice as many each time, up to five minutes, as a look reads every repository.
const QUIET_POLLS_MAX: u32 = 1500;
/// How long a daemon may take to begin, in polls in which no step runs: an hour.
const IDLE_POLLS_MAX: u32 = 5 * 60 * 60;

/// Wakes the daemon of this state, if there is one.
pub async fn wake(world: &World) -> Result<(), PortError> {
    let change = memory::set(kind::WAKE, "at", &world.clock.now())?;
    world.state.write(&[change]).await
}

/// Shows a plan of one's own, hands approvals to the daemon, wakes it and follows it.
pub(crate) async fn apply_beside(
    world: &World,
    request: &ApplyRequest,
    confirm: &Confirm<'_>,
    observer: &Arc<dyn Observer>,
    cancel: &Cancel,
) -> Result<Applied, ApplyError> {
    // What the daemon does from before the look on was perhaps not seen by it.
    let from = match request.since {
        Some(since) => since,
        None => world.state.journal_end().await?,
    };
    let asked = PassRequest { only: request.only.clone(), ..PassRequest::default() };
    let mut pass = pass::prepare(world, &asked, &**observer, cancel).await?;
    if let Some(saved) = &request.saved {
        take_saved(saved, &pass)?;
    }
    let approve = approved(request, confirm, &pass)?;
    // Written by the side of the daemon, under no epoch of one's own.
    remember_approvals(world, &approve, 0).await?;
    wake(world).await?;
    observer.event(RunEvent::Note {
        text: "a daemon writes this state: it applies the plan, its steps follow".into(),
    });
    let mut following = Following::new(request, from);
    loop {
        following.wanted.extend(pass.plan.steps.iter().map(|step| step.id.clone()));
        // The daemon waits before it tries again what failed, so backoff counts here.
        let mut gates = pass::gates(world, &pass, &BTreeSet::new(), false).await?;
        let open = plan::is_open(&pass.plan, &gates);
        following.read(world, &**observer).await?;
        if !open && !following.is_running() {
            gates.retain(|_, waits| !waits.is_empty());
            let skipped = following.summary.skipped + gates.len() as u64;
            let summary = Summary { waiting: gates, skipped, ..following.summary };
            return Ok(Applied { pass: Some(pass), summary });
        }
        following.until_news(world, &**observer, cancel).await?;
        if cancel.is_cancelled() {
            let summary = Summary { cancelled: true, ..following.summary };
            return Ok(Applied { pass: Some(pass), summary });
        }
        is_there(world).await?;
        pass = pass::prepare(world, &asked, &runtime::Unobserved, cancel).await?;
    }
}

/// Fails when the daemon is gone: nobody would do the rest.
async fn is_there(world: &World) -> Result<(), PortError> {
    let writer = world.state.writer().await?;
    if writer.is_some_and(|writer| writer.command == "daemon") {
        return Ok(());
    }
    Err(PortError::waiting("DaemonGone", "the daemon ended before all of it was done")
        .with_hint("run the command again: it goes on from here"))
}

/// What was seen of the daemon's work.
struct Following<'a> {
    request: &'a ApplyRequest,
    /// Steps of the plans that were shown.
    wanted: BTreeSet<StepId>,
    from: u64,
    /// Begun and not ended, whoever's.
    running: BTreeSet<StepId>,
    index: usize,
    quiet_polls: u32,
    idle_polls: u32,
    summary: Summary,
}

impl<'a> Following<'a> {
    fn new(request: &'a ApplyRequest, from: u64) -> Self {
        Self {
            request,
            wanted: BTreeSet::new(),
            from,
            running: BTreeSet::new(),
            index: 0,
            quiet_polls: QUIET_POLLS,
            idle_polls: 0,
            summary: Summary::default(),
        }
    }

    /// Whether a step belongs to what was asked for.
    fn counts(&self, step: &StepId) -> bool {
        let only = &self.request.only;
        only.is_empty()
            || self.wanted.contains(step)
            || only.iter().any(|address| history::is_of(step, &address.to_string()))
    }

    /// Whether a step of what was asked for has begun and not ended.
    fn is_running(&self) -> bool {
        self.running.iter().any(|step| self.counts(step))
    }

    /// Waits until a plan of the daemon has ended, or it was quiet for a while.
    async fn until_news(
        &mut self,
        world: &World,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), PortError> {
        for _ in 0..self.quiet_polls {
            if cancel.is_cancelled() {
                return Ok(());
            }
            world.clock.sleep(POLL).await;
            if self.read(world, observer).await? {
                self.quiet_polls = QUIET_POLLS;
                return Ok(());
            }
            self.idle_polls = if self.running.is_empty() { self.idle_polls + 1 } else { 0 };
            if self.idle_polls > IDLE_POLLS_MAX {
                let what = "the daemon did not begin in time";
                return Err(PortError::waiting("DaemonBusy", what)
                    .with_hint("its log says what it does; `mainstay plan` says what is left"));
            }
        }
        self.quiet_polls = self.quiet_polls.saturating_mul(2).min(QUIET_POLLS_MAX);
        Ok(())
    }

    /// Takes in the journal's new records. Returns whether a plan ended.
    async fn read(&mut self, world: &World, observer: &dyn Observer) -> Result<bool, PortError> {
        let mut ended = false;
        loop {
            let records = world.state.read_journal(self.from, 1000).await?;
            let Some(last) = records.last() else { return Ok(ended) };
            self.from = last.sequence + 1;
            for record in records {
                ended |= matches!(record.body, Body::PlanEnded { .. });
                self.take(record.body, observer);
            }
        }
    }

    fn take(&mut self, body: Body, observer: &dyn Observer) {
        match body {
            Body::StepBegun { step, .. } => {
                self.running.insert(step.clone());
                if self.counts(&step) {
                    self.index += 1;
                    let (index, total) = (self.index, self.wanted.len().max(self.index));
                    observer.event(RunEvent::StepBegan { step, total, index });
                }
            }
            Body::StepEnded { step, outcome, .. } => {
                self.running.remove(&step);
                if self.counts(&step) {
                    let ended =
                        RunEvent::StepEnded { step: step.clone(), outcome: outcome.clone() };
                    observer.event(ended);
                    self.count(&outcome);
                    self.summary.outcomes.insert(step, outcome);
                }
            }
            // A daemon that broke off ended none of its steps.
            Body::PlanBegun { .. } | Body::PlanEnded { .. } => self.running.clear(),
            _ => {}
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        let summary = &mut self.summary;
        match outcome {
            Outcome::Done { .. } => summary.done += 1,
            Outcome::Partial { .. } | Outcome::Failed { .. } => summary.failed += 1,
            Outcome::Skipped { .. } => summary.skipped += 1,
        }
    }
}
