//! The engine's end of a connection: calls by number, and a thread that hands what arrives to the
//! call that it belongs to.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use model::cancel::Cancel;
use model::error::{ErrorClass, PortError};

use super::frame::{self, DATA_BYTES_MAX, Frame, HEAD_BYTES_MAX};
use super::message::{self, Call, CallId, Event, FromMover, Reply, ToMover, WireError};
use super::{CALLS_MAX, WINDOW_BYTES, broken, gone};

/// Calls that this side has open at once; others wait.
const CALLS_OPEN_MAX: usize = CALLS_MAX / 2;
/// How often a waiting call looks whether it was asked to stop.
const CANCEL_LOOK: Duration = Duration::from_millis(100);

/// A connection to a mover. Dropping it ends the stream towards the mover, which then ends too.
pub struct Connection {
    writer: Mutex<Box<dyn Write + Send>>,
    calls: Arc<Calls>,
    permits: (Sender<()>, Receiver<()>),
}

/// What the reading thread shares with the callers.
#[derive(Default)]
struct Calls(Mutex<State>);

#[derive(Default)]
struct State {
    next: CallId,
    open: HashMap<CallId, Open>,
    /// Why nothing more will come.
    over: Option<(ErrorClass, &'static str, String)>,
}

struct Open {
    inbox: Sender<Arrived>,
    /// Bytes that arrived and were not taken in.
    waiting: Arc<AtomicUsize>,
}

/// What arrives for a call.
pub(super) enum Arrived {
    /// An event, the content that goes with it, and what both count for.
    Event(Event, Vec<u8>, usize),
    /// The end.
    End(Result<Reply, WireError>),
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over frames until the stream ends or a rule is broken.
    fn read(&self, stream: &mut dyn Read) {
        let error = loop {
            match Frame::read(stream) {
                Ok(Some(frame)) => match self.take(frame) {
                    Ok(()) => {}
                    Err(e) => break e,
                },
                Ok(None) => break gone("the mover ended"),
                Err(e) => break e,
            }
        };
        let mut state = self.state();
        state.over = Some((error.class, error.reason, error.chain()));
        // Their callers find the other end gone and then the reason here.
        state.open.clear();
    }

    fn take(&self, frame: Frame) -> Result<(), PortError> {
        let size = frame.size();
        let mut state = self.state();
        let (id, arrived) = match message::decode(&frame.head)? {
            FromMover::Event(id, event) => (id, Arrived::Event(event, frame.data, size)),
            FromMover::End(id, result) => (id, Arrived::End(result)),
        };
        if id >= state.next {
            return Err(broken(format!("call {id} was never made")));
        }
        // A call that was given up still has things on their way.
        let Some(open) = state.open.get(&id) else { return Ok(()) };
        if let Arrived::Event(..) = arrived {
            let waiting = open.waiting.fetch_add(size, Ordering::Relaxed) + size;
            if waiting > WINDOW_BYTES + HEAD_BYTES_MAX + DATA_BYTES_MAX {
                return Err(broken(format!("call {id} sends more than its window holds")));
            }
            // A caller that is just going away does not need it.
            let _ = open.inbox.send(arrived);
        } else if let Some(open) = state.open.remove(&id) {
            let _ = open.inbox.send(arrived);
        }
        Ok(())
    }
}

impl Connection {
    /// Greets the mover at the other end and begins to listen.
    pub fn open(
        mut reader: Box<dyn Read + Send>,
        mut writer: Box<dyn Write + Send>,
    ) -> Result<Arc<Self>, PortError> {
        frame::greet(&mut *writer)?;
        frame::greeted(&mut *reader)?;
        let calls = Arc::<Calls>::default();
        let listening = Arc::clone(&calls);
        std::thread::Builder::new()
            .name("mover-connection".to_owned())
            .spawn(move || listening.read(&mut *reader))
            .map_err(|e| PortError::transient("NoThread", "no thread to listen").with_source(e))?;
        let writer = Mutex::new(writer);
        Ok(Arc::new(Self { writer, calls, permits: bounded(CALLS_OPEN_MAX) }))
    }

    /// Begins a call.
    pub(super) fn call(&self, call: Call, data: &[u8]) -> Result<Running<'_>, PortError> {
        // Cannot fail: both ends of the channel are here.
        let _ = self.permits.0.send(());
        let (inbox, arrived) = unbounded();
        let waiting = Arc::<AtomicUsize>::default();
        let mut state = self.calls.state();
        let id = state.next;
        let mut running =
            Running { connection: self, id, arrived, waiting: Arc::clone(&waiting), ended: false };
        if state.over.is_none() {
            state.next += 1;
            state.open.insert(id, Open { inbox, waiting });
        }
        drop(state);
        if let Err(e) = self.send(&ToMover::Call(id, call), data) {
            running.ended = true;
            return Err(self.over().unwrap_or(e));
        }
        Ok(running)
    }

    fn send(&self, message: &ToMover, data: &[u8]) -> Result<(), PortError> {
        let head = message::encode(message)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&mut **writer, &head, data)
    }

    /// Why nothing more will come, if so.
    pub(super) fn over(&self) -> Option<PortError> {
        let state = self.calls.state();
        state.over.as_ref().map(|(class, reason, what)| PortError::new(*class, reason, what))
    }
}

/// A call under way. One that is dropped before its end is stopped.
pub(super) struct Running<'c> {
    connection: &'c Connection,
    id: CallId,
    arrived: Receiver<Arrived>,
    waiting: Arc<AtomicUsize>,
    ended: bool,
}

impl Running<'_> {
    /// Waits for what comes next.
    pub fn next(&mut self, cancel: &Cancel) -> Result<Arrived, PortError> {
        loop {
            match self.arrived.recv_timeout(CANCEL_LOOK) {
                Ok(Arrived::End(result)) => {
                    self.ended = true;
                    return Ok(Arrived::End(result));
                }
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    return Err(self.connection.over().unwrap_or_else(|| gone("it is over")));
                }
            }
        }
    }

    /// Waits for the end of a call that has no events.
    pub fn end(mut self) -> Result<Reply, PortError> {
        match self.next(&Cancel::default())? {
            Arrived::End(result) => Ok(result?),
            Arrived::Event(..) => Err(broken("a call of one answer sends more")),
        }
    }

    /// Says that something was taken in.
    pub fn taken(&self, size: usize) -> Result<(), PortError> {
        self.waiting.fetch_sub(size, Ordering::Relaxed);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.connection.send(&ToMover::Credit(self.id, size), &[])
    }

    /// Says whether the piece offered first is wanted.
    pub fn answer(&self, wanted: bool) -> Result<(), PortError> {
        self.connection.send(&ToMover::Answer(self.id, wanted), &[])
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.connection.calls.state().open.remove(&self.id);
        if !self.ended {
            // If it cannot be sent, the mover ends with the connection.
            let _ = self.connection.send(&ToMover::Cancel(self.id), &[]);
        }
        let _ = self.connection.permits.1.try_recv();
    }
}
