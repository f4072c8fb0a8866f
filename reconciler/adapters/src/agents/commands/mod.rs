//! Types that are made of commands: probing and opening for backup. Recoveries are in `recovery`.

mod lazy;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use model::agent::{Agent, Command};
use model::cancel::Cancel;
use model::desired::Hooks;
use model::error::PortError;
use model::observed::Observation;
use model::ports::Boxed;
use model::ports::agents::{Close, NamedStream};
use model::receipt::Marker;

use super::facts::Facts;
use super::invoke::{Holes, Invoker};
use super::unknown;
use crate::fault;
use crate::transport::OpenSession;
use lazy::LazySource;

pub(super) use recovery::Recovery;

/// Time limit of a probe: one that reads a whole database may take minutes.
const PROBE_TIME: Duration = Duration::from_secs(600);

/// Time limit of a hook.
const HOOK_TIME: Duration = Duration::from_secs(600);

/// Time limit of everything that moves data: a day shows that something hangs.
const DATA_TIME: Duration = Duration::from_secs(24 * 3600);

/// Looks at a resource through its commands.
pub(super) fn probe(
    invoker: &Invoker,
    agent: &Agent,
    now: Timestamp,
    cancel: &Cancel,
) -> Observation {
    let looked = invoker.scratch().map_err(Into::into).and_then(|scratch| {
        let holes = Holes { scratch: Some(scratch), ..Holes::default() };
        invoker.run(agent, &agent.probe, &holes, PROBE_TIME, cancel)
    });
    match looked {
        Ok(answer) => match Facts::read(&answer) {
            Ok(facts) => facts.observation(now),
            Err(error) => unknown(&error),
        },
        Err(failed) if failed.absent => {
            Observation::Absent { detail: failed.error.message, at: now }
        }
        Err(failed) => unknown(&failed.error),
    }
}

/// Makes a resource anew; its type may hold folders or streams.
pub(super) fn recreate(
    invoker: &Invoker,
    agent: &Agent,
    token: &str,
    cancel: &Cancel,
) -> Result<(), PortError> {
    if agent.recreate.is_empty() {
        return Err(PortError::terminal(
            "NoRecreation",
            format!("the type `{}` says nothing of how it is made anew", agent.template),
        )
        .with_hint("add `recreate` to the template"));
    }
    let holes = Holes::of(invoker, token)?;
    invoker.run(agent, &agent.recreate, &holes, DATA_TIME, cancel)?;
    Ok(())
}

/// A resource on its way to being open: hooks have run, a session may hold.
pub(super) struct Opening {
    invoker: Invoker,
    agent: Agent,
    after: Vec<Command>,
    session: Option<Box<dyn OpenSession>>,
    holes: Holes,
    cancel: Cancel,
}

impl Opening {
    /// Runs the hooks that come before; when one fails, those that come after run as well.
    pub(super) fn begin(
        invoker: &Invoker,
        agent: &Agent,
        hooks: &Hooks,
        cancel: &Cancel,
    ) -> Result<Self, PortError> {
        let opening = Self {
            invoker: invoker.clone(),
            agent: agent.clone(),
            after: hooks.after.clone(),
            session: None,
            holes: Holes { scratch: Some(invoker.scratch()?), ..Holes::default() },
            cancel: cancel.clone(),
        };
        let before = invoker.run(agent, &hooks.before, &opening.holes, HOOK_TIME, cancel);
        if let Err(failed) = before {
            opening.give_up();
            return Err(failed.error);
        }
        Ok(opening)
    }

    /// Opens the session, if the type has one, and returns the marker and the streams.
    pub(super) fn streams(&mut self) -> Result<(Marker, Vec<NamedStream>), PortError> {
        let answer = match &self.agent.session {
            Some(session) => {
                let invocation =
                    self.invoker.fill(&self.agent, &session.command, &self.holes, DATA_TIME)?;
                let (line, held) = self.invoker.transport.session(&invocation, &self.cancel)?;
                self.session = Some(held);
                line
            }
            None => {
                let probe = &self.agent.probe;
                self.invoker.run(&self.agent, probe, &self.holes, PROBE_TIME, &self.cancel)?
            }
        };
        let facts = Facts::read(&answer)?;
        let marker = facts.marker()?;
        self.holes.facts = facts.values;
        let mut streams = Vec::new();
        for stream in &self.agent.streams {
            let invocation =
                self.invoker.fill(&self.agent, &stream.command, &self.holes, DATA_TIME)?;
            let source = LazySource::new(
                self.invoker.transport.clone(),
                invocation,
                self.cancel.clone(),
                self.holes.scratch.clone(),
            );
            streams.push(NamedStream {
                name: stream.name.clone(),
                source: Box::new(source),
                chunking: stream.chunking,
            });
        }
        Ok((marker, streams))
    }

    /// Undoes what was opened, for an opening that failed.
    pub(super) fn give_up(mut self) {
        if let Some(session) = self.session.take() {
            session.abandon();
        }
        if let Err(error) = self.run_after() {
            tracing::warn!(error = %error.chain(), "a hook after the backup failed");
        }
    }

    fn run_after(&self) -> Result<(), PortError> {
        // Also when somebody asked to stop: these undo what the hooks before did.
        let never = Cancel::default();
        let after = &self.after;
        self.invoker.run(&self.agent, after, &self.holes, HOOK_TIME, &never)?;
        Ok(())
    }

    fn end(&mut self, failed: bool) -> Result<(), PortError> {
        let session = match self.session.take() {
            Some(session) if failed => {
                session.abandon();
                Ok(())
            }
            Some(session) => session.close(),
            None => Ok(()),
        };
        let after = self.run_after();
        session.and(after)
    }
}

impl Close for Opening {
    fn close(mut self: Box<Self>, failed: bool) -> Boxed<'static, Result<(), PortError>> {
        Box::pin(fault::blocking(move || self.end(failed)))
    }
}

/// Keeps a scratch folder for as long as something uses it.
type Scratch = Option<Arc<tempfile::TempDir>>;
