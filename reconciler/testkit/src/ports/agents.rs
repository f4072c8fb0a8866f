//! Protected things of the simulated world, as agents reach them. A recovery goes through the same
//! stages as on a real target, and each stage looks first at what an earlier run left.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use model::agent::{Agent, Chunking};
use model::cancel::Cancel;
use model::desired::{Hooks, Resource};
use model::error::PortError;
use model::id::TargetRef;
use model::observed::Observation;
use model::ports::Boxed;
use model::ports::agents::{
    Agents, Beside, Close, Content, NamedSink, NamedStream, OnTarget, OpenSource, StreamSink,
};
use model::ports::mover::Bytes;
use model::receipt::Marker;

use super::Ports;
use crate::faults::{Fault, Op};
use crate::world::content::{DUMP, Files};
use crate::world::things::{Kind, OnHost, Stage, Thing};
use crate::world::{Answer, SharedWorld, World};

/// See the module.
pub struct SimulatedAgents(pub Ports);

/// Returns where the thing of an agent lies.
pub fn place(agent: &Agent) -> String {
    let with = || agent.with.get("path").or_else(|| agent.with.get("database")).cloned();
    agent.tree.as_ref().map(|tree| tree.path.clone()).or_else(with).unwrap_or_default()
}

/// The folder beside a place, for a token.
fn beside_path(place: &str, token: &str) -> String {
    format!("{place}#{token}")
}

fn out_of_reach(place: &str) -> PortError {
    PortError::transient("Unreachable", format!("the host of {place} does not answer"))
}

/// Returns the thing at a place in reach; one that was never there is a place to restore to.
fn reach<'w>(world: &'w mut World, agent: &Agent) -> Result<&'w mut Thing, PortError> {
    let at = place(agent);
    let now_ms = world.now_ms();
    let thing = world.things.entry(at.clone()).or_insert_with(|| {
        let kind = match agent.template.as_str() {
            "directory" => Kind::Folder,
            "sqlite" => Kind::File,
            _ => Kind::Server,
        };
        let mut thing = Thing::new(kind, false, Files::new(), now_ms);
        thing.live = None;
        thing.note(now_ms);
        thing
    });
    if thing.reachable { Ok(thing) } else { Err(out_of_reach(&at)) }
}

/// Finishes what was half-way, as each stage does first.
fn settle(thing: &mut Thing, token: &str, now_ms: i64) -> OnTarget {
    let Some(recovery) = thing.recoveries.get(token) else { return OnTarget::Nothing };
    match recovery.stage {
        Stage::Beside => OnTarget::Beside,
        Stage::Swapped => OnTarget::Swapped,
        Stage::Half => {
            let beside = recovery.beside.clone().unwrap_or_default();
            thing.live = thing.revived(&beside);
            if let Some(recovery) = thing.recoveries.get_mut(token) {
                recovery.stage = Stage::Swapped;
            }
            thing.note(now_ms);
            OnTarget::Swapped
        }
    }
}

fn observation(thing: &Thing, place: &str, at: Timestamp) -> Observation {
    if !thing.reachable {
        return Observation::Unknown {
            reason: "Unreachable".into(),
            detail: format!("the host of {place} does not answer"),
        };
    }
    match &thing.live {
        None => Observation::Absent { detail: format!("{place} does not exist"), at },
        Some(live) => Observation::Known {
            marker: thing.marker(live),
            bytes: None,
            entries: Some(live.rows.len() as u64),
            damaged: live.damaged.then(|| "it cannot be opened".to_owned()),
            at,
        },
    }
}

/// Instants as an actor's clock shows them.
fn clock(world: &World, actor: usize) -> Timestamp {
    Timestamp::from_millisecond(world.clock_ms(actor)).unwrap_or(Timestamp::UNIX_EPOCH)
}

struct Closing {
    ports: Ports,
    place: String,
}

impl Close for Closing {
    fn close(self: Box<Self>, _failed: bool) -> Boxed<'static, Result<(), PortError>> {
        Box::pin(
            async move { self.ports.call(Op::AgentsClose, &self.place, None, |_, _| Ok(())).await },
        )
    }
}

/// Takes the dump that goes beside the original.
struct Sink {
    world: SharedWorld,
    place: String,
    token: String,
    name: String,
    bytes: Vec<u8>,
}

impl StreamSink for Sink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        let mut world = self.world.lock();
        let thing = world.things.get_mut(&self.place);
        let Some(recovery) = thing.and_then(|thing| thing.recoveries.get_mut(&self.token)) else {
            return Err(PortError::terminal("NothingPrepared", "the place beside is gone"));
        };
        let files = Arc::make_mut(recovery.beside.get_or_insert_default());
        files.insert(self.name.clone(), self.bytes.clone());
        Ok(())
    }
}

impl SimulatedAgents {
    /// One stage of a recovery.
    fn stage<'a, T: Send + 'a>(
        &'a self,
        op: Op,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
        act: impl FnOnce(&mut Thing, i64, Option<Fault>) -> Result<T, PortError> + Send + 'a,
    ) -> Boxed<'a, Result<T, PortError>> {
        Box::pin(async move {
            let subject = place(agent);
            let work = move |world: &mut World, fault| {
                let now_ms = world.now_ms();
                let thing = reach(world, agent)?;
                if op != Op::AgentsSwap {
                    settle(thing, token, now_ms);
                }
                let done = act(thing, now_ms, fault);
                thing.note(now_ms);
                done
            };
            self.0.call(op, &subject, Some(cancel), work).await
        })
    }

    /// The end of a recovery, one way or the other.
    fn ended<'a>(
        &'a self,
        agent: &'a Agent,
        token: &'a str,
        commit: bool,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        let op = if commit { Op::AgentsCommit } else { Op::AgentsRollback };
        let actor = self.0.actor;
        Box::pin(async move {
            let at = place(agent);
            let act = |world: &mut World, _| end(world, actor, agent, token, commit);
            self.0.call(op, &at, Some(cancel), act).await
        })
    }
}

impl Agents for SimulatedAgents {
    fn probe<'a>(&'a self, resource: &'a Resource, cancel: &'a Cancel) -> Boxed<'a, Observation> {
        let actor = self.0.actor;
        Box::pin(async move {
            let at = place(&resource.agent);
            let act = |world: &mut World, fault: Option<Fault>| {
                let key = format!("{actor} {at}");
                if let (Some(Fault::Stale), Some(Answer::Resource(old))) =
                    (fault, world.answers.get(&key))
                {
                    return Ok(old.clone());
                }
                let now = clock(world, actor);
                let seen = observation(reach(world, &resource.agent)?, &at, now);
                world.on_probe(actor, &at);
                if world.answers_again {
                    world.answers.insert(key, Answer::Resource(seen.clone()));
                }
                Ok(seen)
            };
            match self.0.call(Op::AgentsProbe, &at, Some(cancel), act).await {
                Ok(seen) => seen,
                Err(error) => {
                    Observation::Unknown { reason: error.reason.into(), detail: error.message }
                }
            }
        })
    }

    fn open<'a>(
        &'a self,
        resource: &'a Resource,
        _hooks: &'a Hooks,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OpenSource, PortError>> {
        let actor = self.0.actor;
        Box::pin(async move {
            let at = place(&resource.agent);
            let act = |world: &mut World, _| {
                let taken_at = clock(world, actor);
                let thing = reach(world, &resource.agent)?;
                let Some(live) = thing.live.clone() else {
                    return Err(PortError::terminal("SourceAbsent", format!("{at} is gone")));
                };
                if live.damaged {
                    return Err(PortError::terminal("SourceDamaged", format!("{at} is broken")));
                }
                let marker = thing.marker(&live);
                let stored = thing.stored(&live);
                let content = match (&resource.agent.tree, stored.get(DUMP)) {
                    (Some(tree), _) => {
                        Content::Tree { target: resource.target.clone(), tree: tree.clone() }
                    }
                    (None, bytes) => Content::Streams(vec![NamedStream {
                        name: DUMP.to_owned(),
                        source: Box::new(Bytes::new(bytes.cloned().unwrap_or_default())),
                        chunking: Chunking::Content,
                    }]),
                };
                Ok((marker, taken_at, content))
            };
            let (marker, taken_at, content) =
                self.0.call(Op::AgentsOpen, &at, Some(cancel), act).await?;
            let close = Box::new(Closing { ports: self.0.clone(), place: at });
            Ok(OpenSource { marker, taken_at, content, close })
        })
    }

    fn recovery_state<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<OnTarget, PortError>> {
        self.stage(Op::AgentsRecoveryState, agent, token, cancel, move |thing, now_ms, _| {
            Ok(settle(thing, token, now_ms))
        })
    }

    fn prepare<'a>(
        &'a self,
        target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Beside, PortError>> {
        let (shared, at) = (self.0.world.clone(), place(agent));
        self.stage(Op::AgentsPrepare, agent, token, cancel, move |thing, now_ms, _| {
            if settle(thing, token, now_ms) == OnTarget::Swapped {
                return Err(PortError::terminal("AlreadySwapped", "it is in place already"));
            }
            let fresh = OnHost {
                stage: Stage::Beside,
                prepared_ms: now_ms,
                beside: None,
                old: None,
                swapped_ms: 0,
            };
            let recovery = thing.recoveries.entry(token.to_owned()).or_insert(fresh);
            recovery.prepared_ms = now_ms;
            Ok(match thing.kind {
                Kind::Folder => Beside::Folder {
                    target: target.clone(),
                    path: beside_path(&at, token),
                    original: at,
                },
                Kind::File | Kind::Server => {
                    recovery.beside = None;
                    let sink = Sink {
                        world: shared,
                        place: at,
                        token: token.to_owned(),
                        name: DUMP.to_owned(),
                        bytes: Vec::new(),
                    };
                    Beside::Streams(vec![NamedSink {
                        name: DUMP.to_owned(),
                        optional: false,
                        sink: Box::new(sink),
                    }])
                }
            })
        })
    }

    fn inspect<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Marker, PortError>> {
        self.stage(Op::AgentsInspect, agent, token, cancel, move |thing, _, _| {
            let nothing = || PortError::terminal("NothingRestored", "nothing lies beside");
            let recovery = thing.recoveries.get(token).ok_or_else(nothing)?;
            if recovery.stage == Stage::Swapped {
                return thing.live.as_ref().map(|live| thing.marker(live)).ok_or_else(nothing);
            }
            let beside = recovery.beside.clone().unwrap_or_default();
            let restored = thing.clone().revived(&beside).ok_or_else(|| {
                PortError::terminal("RestoredUnusable", "what lies beside cannot be opened")
            })?;
            Ok(thing.marker(&restored))
        })
    }

    fn swap<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<Option<String>, PortError>> {
        let actor = self.0.actor;
        Box::pin(async move {
            let at = place(agent);
            let act = |world: &mut World, fault| swap(world, actor, agent, token, fault);
            self.0.call(Op::AgentsSwap, &at, Some(cancel), act).await
        })
    }

    fn commit<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        self.ended(agent, token, true, cancel)
    }

    fn rollback<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        self.ended(agent, token, false, cancel)
    }

    fn recreate<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        _token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        Box::pin(async move {
            let at = place(agent);
            let actor = self.0.actor;
            let act = |world: &mut World, _| {
                reach(world, agent)?;
                world.on_recreate(actor, &at);
                let now_ms = world.now_ms();
                reach(world, agent)?.make_anew(now_ms);
                Ok(())
            };
            self.0.call(Op::AgentsRecreate, &at, Some(cancel), act).await
        })
    }

    fn discard<'a>(
        &'a self,
        _target: &'a TargetRef,
        agent: &'a Agent,
        token: &'a str,
        cancel: &'a Cancel,
    ) -> Boxed<'a, Result<(), PortError>> {
        self.stage(Op::AgentsDiscard, agent, token, cancel, move |thing, _, _| {
            match thing.recoveries.get(token).map(|recovery| recovery.stage) {
                None => Ok(()),
                Some(Stage::Beside) => {
                    thing.recoveries.remove(token);
                    Ok(())
                }
                Some(_) => Err(PortError::terminal("AlreadySwapped", "it is in place already")),
            }
        })
    }
}

fn kept(recovery: &OnHost, place: &str) -> Option<String> {
    recovery.old.as_ref().map(|_| format!("{place}.old"))
}

/// Puts what lies beside in place and keeps the original.
fn swap(
    world: &mut World,
    actor: usize,
    agent: &Agent,
    token: &str,
    fault: Option<Fault>,
) -> Result<Option<String>, PortError> {
    let at = place(agent);
    let now_ms = world.now_ms();
    let thing = reach(world, agent)?;
    let before = thing.recoveries.get(token).map(|recovery| recovery.stage);
    match before {
        None => return Err(PortError::terminal("NothingRestored", "nothing lies beside")),
        Some(Stage::Half | Stage::Swapped) => {
            settle(thing, token, now_ms);
            return Ok(thing.recoveries.get(token).and_then(|recovery| kept(recovery, &at)));
        }
        Some(Stage::Beside) => {}
    }
    let beside = thing.recoveries.get(token).and_then(|r| r.beside.clone()).unwrap_or_default();
    let restored = thing.revived(&beside).ok_or_else(|| {
        PortError::terminal("RestoredUnusable", "what lies beside cannot be opened")
    })?;
    world.on_swap(actor, &at, token);
    let clock_ms = world.clock_ms(actor);
    let Some(thing) = world.things.get_mut(&at) else { return Err(out_of_reach(&at)) };
    let old = thing.live.clone();
    let half = thing.in_place && old.is_some() && matches!(fault, Some(Fault::KilledAfter(_)));
    if let Some(recovery) = thing.recoveries.get_mut(token) {
        recovery.old.clone_from(&old);
        recovery.swapped_ms = clock_ms;
        recovery.stage = if half { Stage::Half } else { Stage::Swapped };
    }
    thing.live = match old {
        // A pre-image is kept, and writing over the original has begun.
        Some(old) if half => Some(crate::world::things::Live { damaged: true, ..old }),
        _ => Some(restored),
    };
    thing.swapped.entry(token.to_owned()).or_insert(now_ms);
    thing.measured_since_ms = now_ms;
    thing.note(now_ms);
    Ok(thing.recoveries.get(token).and_then(|recovery| kept(recovery, &at)))
}

/// Ends a recovery one way or the other.
fn end(
    world: &mut World,
    actor: usize,
    agent: &Agent,
    token: &str,
    commit: bool,
) -> Result<(), PortError> {
    let at = place(agent);
    let now_ms = world.now_ms();
    let by_hand = world.actors[actor].by_hand;
    let thing = reach(world, agent)?;
    let stage = settle(thing, token, now_ms);
    match (stage, commit) {
        (OnTarget::Nothing, _) => {
            // Ended before, which could not be noted then: whoever does it again says so.
            let empty = thing.live.as_ref().is_some_and(|live| live.rows.is_empty());
            thing.empty_by_word |= !commit && by_hand && empty;
            return Ok(());
        }
        (OnTarget::Beside, true) => {
            return Err(PortError::terminal("NotSwapped", "it was never put in place"));
        }
        (OnTarget::Beside, false) => {
            thing.recoveries.remove(token);
            return Ok(());
        }
        (OnTarget::Swapped, _) => {}
    }
    world.on_end(actor, &at, token, commit);
    let Some(thing) = world.things.get_mut(&at) else { return Err(out_of_reach(&at)) };
    let ended = thing.recoveries.remove(token);
    if let (false, Some(recovery)) = (commit, ended) {
        thing.live = recovery.old;
        if let Some(live) = &mut thing.live
            && thing.kind == Kind::Server
        {
            thing.server.1 += 1;
            (live.identity, live.position) = thing.server;
        }
        thing.measured_since_ms = now_ms;
        thing.empty_by_word = by_hand && thing.live.as_ref().is_some_and(|l| l.rows.is_empty());
    }
    thing.note(now_ms);
    Ok(())
}
