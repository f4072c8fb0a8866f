//! Protected things behind the port: folders natively, everything else by the commands of its
//! template. One implementation serves all types, because a type is data.

mod commands;
mod directory;
mod facts;
mod invoke;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use model::agent::{Agent, Tree};
use model::cancel::Cancel;
use model::desired::{Hooks, Resource};
use model::error::PortError;
use model::id::TargetRef;
use model::observed::Observation;
use model::ports::Boxed;
use model::ports::agents::{Agents, Beside, Close, Content, OnTarget, OpenSource};
use model::ports::clock::Clock;
use model::ports::secrets::Secrets;
use model::receipt::Marker;

use crate::fault;
use crate::transport::Transport;
use invoke::Invoker;

/// What a fleet is made of.
pub struct Parts {
    /// How commands run on the host that Mainstay runs on.
    pub local: Arc<dyn Transport>,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// A folder for private scratch folders; it needs room for what templates copy.
    pub scratch: PathBuf,
}

/// All targets of a config repository.
#[derive(Clone)]
pub struct Fleet {
    invoker: Invoker,
    clock: Arc<dyn Clock>,
}

impl Fleet {
    /// Returns the fleet, and removes scratch folders of processes that are gone.
    pub fn new(parts: Parts) -> Self {
        invoke::sweep(&parts.scratch);
        Self {
            invoker: Invoker::new(parts.local, parts.secrets, parts.scratch),
            clock: parts.clock,
        }
    }

    /// Runs work on a tree or on commands, away from the async threads.
    fn on<T, F, G>(
        &self,
        target: &TargetRef,
        agent: &Agent,
        token: &str,
        tree: F,
        commands: G,
    ) -> Boxed<'static, Result<T, PortError>>
    where
        T: Send + 'static,
        F: FnOnce(&Tree, &str) -> Result<T, PortError> + Send + 'static,
        G: FnOnce(&commands::Recovery) -> Result<T, PortError> + Send + 'static,
    {
        let (reach, agent, token) = (reachable(target), agent.clone(), token.to_owned());
        let invoker = self.invoker.clone();
        Box::pin(async move {
            reach?;
            fault::blocking(move || match &agent.tree {
                Some(found) => tree(found, &token),
                None => commands(&commands::Recovery::new(invoker, &agent, &token)?),
            })
            .await
        })
    }
}

/// Says no to targets that this version cannot reach.
fn reachable(target: &TargetRef) -> Result<(), PortError> {
    match target {
        TargetRef::Host(_) => Ok(()),
        TargetRef::Cluster(name) => Err(PortError::terminal(
            "UnsupportedTarget",
            format!("the cluster `{name}` cannot be reached by this version"),
        )),
    }
}

impl Agents for Fleet {
    fn probe<'a>(&'a self, resource: &'a Resource, cancel: &'a Cancel) -> Boxed<'a, Observation> {
        let this = self.clone();
        let (target, agent, cancel) =
            (resource.target.clone(), resource.agent.clone(), cancel.clone());
        let span = tracing::info_span!("probe", resource = %resource.address);
        Box::pin(async move {
            let seen = fault::blocking(move || {
                let _entered = span.enter();
                reachable(&target)?;
                let now = this.clock.now();
                Ok(match &agent.tree {
                    Some(tree) => directory::probe(tree, now),
                    None => commands::probe(&this.invoker, &agent, now, &cancel),
                })
            });
            seen.await.unwrap_or_else(|error| unknown(&error))
        })
    }

    fn open<'a>(
        &'a self,
        resource: &'a Resource,
        hooks: &'a Hooks,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OpenSource, PortError>> {
        let this = self.clone();
        let (target, agent, hooks, cancel) =
            (resource.target.clone(), resource.agent.clone(), hooks.clone(), cancel.clone());
        let span = tracing::info_span!("open", resource = %resource.address);
        Box::pin(fault::blocking(move || {
            let _entered = span.enter();
            reachable(&target)?;
            let mut opening = commands::Opening::begin(&this.invoker, &agent, &hooks, &cancel)?;
            let opened = match &agent.tree {
                Some(tree) => {
                    let taken_at = this.clock.now();
                    directory::open(tree).map(|marker| {
                        let tree = directory::without_ours(tree);
                        (marker, taken_at, Content::Tree { target, tree })
                    })
                }
                None => opening
                    .streams()
                    .map(|(marker, streams)| (marker, this.clock.now(), Content::Streams(streams))),
            };
            match opened {
                Ok((marker, taken_at, content)) => {
                    let close: Box<dyn Close> = Box::new(opening);
                    Ok(OpenSource { marker, taken_at, content, close })
                }
                Err(error) => {
                    opening.give_up();
                    Err(error)
                }
            }
        }))
    }

    fn recovery_state<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OnTarget, PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::state, move |r| r.state(&cancel))
    }

    fn prepare<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Beside, PortError>> {
        let (cancel, on) = (cancel.clone(), target.clone());
        let tree = move |tree: &Tree, token: &str| {
            let path = directory::prepare(tree, token)?;
            Ok(Beside::Folder { target: on, path, original: tree.path.clone() })
        };
        self.on(target, agent, token, tree, move |r| r.prepare(&cancel).map(Beside::Streams))
    }

    fn inspect<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Marker, PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::inspect, move |r| r.inspect(&cancel))
    }

    fn swap<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Option<String>, PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::swap, move |r| r.swap(&cancel))
    }

    fn commit<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::commit, move |r| r.commit(&cancel))
    }

    fn rollback<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::rollback, move |r| r.rollback(&cancel))
    }

    fn recreate<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        let (reach, agent, token) = (reachable(target), agent.clone(), token.to_owned());
        let (invoker, cancel) = (self.invoker.clone(), cancel.clone());
        Box::pin(async move {
            reach?;
            fault::blocking(move || commands::recreate(&invoker, &agent, &token, &cancel)).await
        })
    }

    fn discard<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        let cancel = cancel.clone();
        self.on(target, agent, token, directory::discard, move |r| r.discard(&cancel))
    }
}

/// Returns the observation of what could not be looked at.
fn unknown(error: &PortError) -> Observation {
    Observation::Unknown { reason: error.reason.to_owned(), detail: error.chain() }
}

/// Makes a token short and safe for any system's names; the same token always gives the same.
pub fn short_token(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex()[..8].to_owned()
}
