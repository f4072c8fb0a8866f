//! The mover's end of a connection: takes calls, runs each on a thread of its own over the files of
//! this machine, and sends no more than the windows allow.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{SourceMover, TargetMover, WalkEvent};

use super::frame::{self, Frame, HEAD_BYTES_MAX};
use super::message::{self, Call, CallId, Event, FromMover, Reply, TargetCall, ToMover, WireError};
use super::offers::Offers;
use super::{CALLS_MAX, OFFERS_MAX, WINDOW_BYTES, broken};
use crate::{LocalSource, LocalTarget};

/// The largest piece that is compared in place, in bytes.
pub(super) const MATCH_BYTES_MAX: u32 = 64 << 20;
/// Names that are sent at once.
const NAMES_MAX: usize = 4096;

/// Serves one connection until its other end is closed; calls that still run are stopped then.
pub fn serve(reader: &mut dyn Read, mut writer: Box<dyn Write + Send>) -> Result<(), PortError> {
    frame::greet(&mut *writer)?;
    frame::greeted(reader)?;
    let shared = Arc::new(Shared {
        writer: Mutex::new(writer),
        calls: Mutex::default(),
        targets: Mutex::default(),
        source: LocalSource::default(),
    });
    let mut crew = Crew::new(Arc::clone(&shared));
    let ended = loop {
        match Frame::read(reader) {
            Ok(Some(frame)) => match shared.take(frame, &mut crew) {
                Ok(()) => {}
                Err(e) => break Err(e),
            },
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    for call in lock(&shared.calls).values() {
        call.stop();
    }
    ended
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Shared {
    writer: Mutex<Box<dyn Write + Send>>,
    calls: Mutex<HashMap<CallId, Arc<Running>>>,
    targets: Mutex<HashMap<Vec<u8>, Arc<LocalTarget>>>,
    source: LocalSource,
}

/// A call under way.
pub(super) struct Running {
    pub(super) cancel: Cancel,
    /// Bytes that were sent and not taken in.
    sent: Mutex<usize>,
    opened: Condvar,
    /// Closed when the call shall stop.
    answers: Mutex<Option<Sender<bool>>>,
}

impl Running {
    fn stop(&self) {
        self.cancel.cancel();
        lock(&self.answers).take();
        let _held = lock(&self.sent);
        self.opened.notify_all();
    }

    /// Waits until so many bytes fit the window.
    fn enter(&self, bytes: usize) -> Result<(), PortError> {
        let full = |sent: &mut usize| {
            *sent > 0 && *sent + bytes > WINDOW_BYTES && !self.cancel.is_cancelled()
        };
        let sent = self.opened.wait_while(lock(&self.sent), full);
        let mut sent = sent.unwrap_or_else(PoisonError::into_inner);
        self.cancel.check()?;
        *sent += bytes;
        Ok(())
    }

    fn credit(&self, bytes: u32) {
        let mut sent = lock(&self.sent);
        *sent = sent.saturating_sub(bytes as usize);
        self.opened.notify_all();
    }
}

/// Threads that run calls. There is always one for each call, as calls wait for each other: the
/// engine takes in a walk only as its reads go on.
struct Crew {
    shared: Arc<Shared>,
    spare: Arc<Mutex<usize>>,
    jobs: (Sender<Job>, Receiver<Job>),
}

struct Job {
    id: CallId,
    call: Call,
    data: Vec<u8>,
    running: Arc<Running>,
    answers: Receiver<bool>,
}

impl Crew {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, spare: Arc::default(), jobs: unbounded() }
    }

    fn run(&mut self, job: Job) -> Result<(), PortError> {
        let mut spare = lock(&self.spare);
        if *spare > 0 {
            *spare -= 1;
        } else {
            let (shared, jobs) = (Arc::clone(&self.shared), self.jobs.1.clone());
            let spare = Arc::clone(&self.spare);
            let thread = std::thread::Builder::new().name("mover-call".to_owned());
            let work = move || {
                for job in jobs {
                    shared.run(job);
                    *lock(&spare) += 1;
                }
            };
            thread.spawn(work).map_err(|e| {
                PortError::transient("NoThread", "no thread to run a call").with_source(e)
            })?;
        }
        drop(spare);
        // Cannot fail: the receiving end is here too.
        let _ = self.jobs.0.send(job);
        Ok(())
    }
}

impl Shared {
    fn take(&self, frame: Frame, crew: &mut Crew) -> Result<(), PortError> {
        let running = |id: CallId| lock(&self.calls).get(&id).map(Arc::clone);
        match message::decode(&frame.head)? {
            ToMover::Call(id, call) => {
                let (sender, answers) = bounded(OFFERS_MAX);
                let running = Arc::new(Running {
                    cancel: Cancel::default(),
                    sent: Mutex::default(),
                    opened: Condvar::default(),
                    answers: Mutex::new(Some(sender)),
                });
                let mut calls = lock(&self.calls);
                if calls.contains_key(&id) {
                    return Err(broken(format!("call {id} is made twice")));
                }
                if calls.len() >= CALLS_MAX {
                    return Err(PortError::terminal("TooManyCalls", "too many calls at once"));
                }
                calls.insert(id, Arc::clone(&running));
                drop(calls);
                crew.run(Job { id, call, data: frame.data, running, answers })
            }
            // What comes for a call that has just ended comes too late.
            ToMover::Answer(id, wanted) => match running(id) {
                Some(running) => match &*lock(&running.answers) {
                    Some(answers) if answers.try_send(wanted).is_err() => {
                        Err(broken("more answers than offers"))
                    }
                    _ => Ok(()),
                },
                None => Ok(()),
            },
            ToMover::Credit(id, bytes) => {
                if let Some(running) = running(id) {
                    running.credit(bytes);
                }
                Ok(())
            }
            ToMover::Cancel(id) => {
                if let Some(running) = running(id) {
                    running.stop();
                }
                Ok(())
            }
        }
    }

    /// Runs a call and sends its end.
    fn run(&self, job: Job) {
        let Job { id, call, data, running, answers } = job;
        let outlet = Outlet { shared: self, id, running: &running };
        let done = catch_unwind(AssertUnwindSafe(|| self.act(call, &data, &outlet, answers)));
        let result = done.unwrap_or_else(|_| {
            Err(PortError::terminal("Internal", "the mover failed within itself"))
        });
        lock(&self.calls).remove(&id);
        let end = FromMover::End(id, result.map_err(WireError::from));
        // Where it cannot be sent, nobody is left to take it.
        let _ = self.send(&end, &[]);
    }

    fn send(&self, message: &FromMover, data: &[u8]) -> Result<(), PortError> {
        let head = message::encode(message)?;
        frame::write(&mut **lock(&self.writer), &head, data)
    }

    fn act(
        &self,
        call: Call,
        data: &[u8],
        outlet: &Outlet<'_>,
        answers: Receiver<bool>,
    ) -> Result<Reply, PortError> {
        match call {
            Call::Walk(request) => {
                let cancel = &outlet.running.cancel;
                self.source.walk(&request, cancel, &mut |events| outlet.walked(events))?;
                Ok(Reply::Done)
            }
            Call::Read(files, chunking) => {
                let mut offers = Offers::new(outlet, answers);
                self.source.read(&files, chunking, &outlet.running.cancel, &mut offers)?;
                offers.settle()?;
                Ok(Reply::Done)
            }
            Call::Target(root, call) => self.target(&root, call, data, outlet),
        }
    }

    fn open_target(&self, root: &[u8]) -> Result<Arc<LocalTarget>, PortError> {
        if let Some(target) = lock(&self.targets).get(root) {
            return Ok(Arc::clone(target));
        }
        let target = Arc::new(LocalTarget::open(Path::new(OsStr::from_bytes(root)))?);
        lock(&self.targets).insert(root.to_vec(), Arc::clone(&target));
        Ok(target)
    }

    fn target(
        &self,
        root: &[u8],
        call: TargetCall,
        data: &[u8],
        outlet: &Outlet<'_>,
    ) -> Result<Reply, PortError> {
        let target = self.open_target(root)?;
        let done = |()| Reply::Done;
        match call {
            TargetCall::Open => Ok(Reply::Done),
            TargetCall::MakeDirectory(path) => target.make_directory(&path).map(done),
            TargetCall::PrepareFile(path, size, overwrite) => {
                target.prepare_file(&path, size, overwrite).map(Reply::Prepared)
            }
            TargetCall::Matching(path, pieces) => {
                if pieces.iter().any(|piece| piece.1 > MATCH_BYTES_MAX) {
                    return Err(broken("a piece is too large to be compared"));
                }
                target.matching(&path, &pieces).map(Reply::Matches)
            }
            TargetCall::WriteAt(path, offset, fresh) => {
                target.write_at(&path, offset, data, fresh).map(done)
            }
            TargetCall::WriteFile(path, entry, overwrite) => {
                target.write_file(&path, &entry, &[data], overwrite).map(Reply::Problems)
            }
            TargetCall::MakeSpecial(path, entry, overwrite) => {
                target.make_special(&path, &entry, overwrite).map(Reply::Problems)
            }
            TargetCall::HardLink(existing, path) => target.hard_link(&existing, &path).map(done),
            TargetCall::SetMetadata(path, entry) => {
                target.set_metadata(&path, &entry).map(Reply::Problems)
            }
            TargetCall::Names(path) => {
                for some in target.names(&path)?.chunks(NAMES_MAX) {
                    outlet.event(Event::Names(some.to_vec()), &[])?;
                }
                Ok(Reply::Done)
            }
            TargetCall::Remove(path) => target.remove(&path).map(done),
            TargetCall::Sync => target.sync().map(done),
        }
    }
}

/// Where a call's events leave.
pub(super) struct Outlet<'s> {
    shared: &'s Shared,
    id: CallId,
    pub(super) running: &'s Running,
}

impl Outlet<'_> {
    /// Sends an event once it fits the window.
    pub fn event(&self, event: Event, data: &[u8]) -> Result<(), PortError> {
        let head = message::encode(&FromMover::Event(self.id, event))?;
        self.running.enter(head.len() + data.len())?;
        frame::write(&mut **lock(&self.shared.writer), &head, data)
    }

    /// Sends what a walk met, in as many frames as it needs.
    fn walked(&self, mut events: Vec<WalkEvent>) -> Result<(), PortError> {
        let mut halves = Vec::new();
        loop {
            let event = FromMover::Event(self.id, Event::Walked(events));
            let head = message::encode(&event)?;
            if head.len() <= HEAD_BYTES_MAX {
                self.running.enter(head.len())?;
                frame::write(&mut **lock(&self.shared.writer), &head, &[])?;
                match halves.pop() {
                    Some(next) => events = next,
                    None => return Ok(()),
                }
                continue;
            }
            let FromMover::Event(_, Event::Walked(mut all)) = event else { return Ok(()) };
            if all.len() < 2 {
                let what = "the attributes of one entry do not fit a frame";
                return Err(PortError::terminal("TooLarge", what));
            }
            halves.push(all.split_off(all.len() / 2));
            events = all;
        }
    }
}
