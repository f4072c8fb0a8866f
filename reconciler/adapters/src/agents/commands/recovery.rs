//! The recovery of a type that is made of commands. Each step's commands are idempotent under the
//! same token; what stands on the target decides where a recovery is.

use model::agent::{Agent, Command, RecoverySteps};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::{NamedSink, OnTarget};
use model::receipt::Marker;
use serde::Deserialize;

use super::lazy::LazySink;
use super::{DATA_TIME, PROBE_TIME};
use crate::agents::facts::Facts;
use crate::agents::invoke::{Holes, Invoker};

/// One recovery on one target.
pub(in crate::agents) struct Recovery {
    invoker: Invoker,
    agent: Agent,
    steps: RecoverySteps,
    holes: Holes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Phase {
    None,
    Beside,
    Swapped,
}

#[derive(Deserialize)]
struct PhaseAnswer {
    phase: Phase,
}

#[derive(Default, Deserialize)]
struct KeptAnswer {
    kept: Option<String>,
}

impl Recovery {
    pub(in crate::agents) fn new(
        invoker: Invoker,
        agent: &Agent,
        token: &str,
    ) -> Result<Self, PortError> {
        let Some(steps) = agent.recovery.clone() else {
            return Err(PortError::terminal(
                "NoRecovery",
                format!("the type `{}` says nothing of how it is brought back", agent.template),
            )
            .with_hint("add `recovery` to the template"));
        };
        let holes = Holes::of(&invoker, token)?;
        Ok(Self { invoker, agent: agent.clone(), steps, holes })
    }

    pub(in crate::agents) fn state(&self, cancel: &Cancel) -> Result<OnTarget, PortError> {
        let answer = self.run(&self.steps.state, cancel)?;
        let answer: PhaseAnswer = serde_json::from_slice(last_line(&answer)).map_err(|e| {
            PortError::terminal("BadFacts", "the recovery's state is not the JSON of a phase")
                .with_hint("print {\"phase\": \"none\"}, \"beside\" or \"swapped\"")
                .with_source(e)
        })?;
        Ok(match answer.phase {
            Phase::None => OnTarget::Nothing,
            Phase::Beside => OnTarget::Beside,
            Phase::Swapped => OnTarget::Swapped,
        })
    }

    pub(in crate::agents) fn prepare(&self, cancel: &Cancel) -> Result<Vec<NamedSink>, PortError> {
        self.run(&self.steps.prepare, cancel)?;
        let mut sinks = Vec::new();
        for load in &self.steps.load {
            let invocation =
                self.invoker.fill(&self.agent, &load.command, &self.holes, DATA_TIME)?;
            let sink = LazySink::new(
                self.invoker.transport.clone(),
                invocation,
                cancel.clone(),
                self.holes.scratch.clone(),
            );
            let (name, optional) = (load.stream.clone(), load.optional);
            sinks.push(NamedSink { name, optional, sink: Box::new(sink) });
        }
        Ok(sinks)
    }

    pub(in crate::agents) fn inspect(&self, cancel: &Cancel) -> Result<Marker, PortError> {
        let holes = &self.holes;
        let verify = &self.steps.verify;
        let answer = self.invoker.run(&self.agent, verify, holes, PROBE_TIME, cancel)?;
        Facts::read(&answer)?.marker()
    }

    pub(in crate::agents) fn swap(&self, cancel: &Cancel) -> Result<Option<String>, PortError> {
        let answer = self.run(&self.steps.swap, cancel)?;
        let kept: KeptAnswer = serde_json::from_slice(last_line(&answer)).unwrap_or_default();
        Ok(kept.kept)
    }

    pub(in crate::agents) fn commit(&self, cancel: &Cancel) -> Result<(), PortError> {
        self.run(&self.steps.commit, cancel).map(drop)
    }

    pub(in crate::agents) fn rollback(&self, cancel: &Cancel) -> Result<(), PortError> {
        self.run(&self.steps.rollback, cancel).map(drop)
    }

    pub(in crate::agents) fn discard(&self, cancel: &Cancel) -> Result<(), PortError> {
        self.run(&self.steps.discard, cancel).map(drop)
    }

    fn run(&self, commands: &[Command], cancel: &Cancel) -> Result<Vec<u8>, PortError> {
        Ok(self.invoker.run(&self.agent, commands, &self.holes, DATA_TIME, cancel)?)
    }
}

fn last_line(answer: &[u8]) -> &[u8] {
    answer
        .split(|byte| *byte == b'\n')
        .rev()
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}
