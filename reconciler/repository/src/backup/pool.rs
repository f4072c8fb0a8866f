//! The threads of a backup: they read batches of files through the mover, and seal pieces of large
//! ones that another thread cuts.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use model::error::PortError;
use model::ports::mover::BlobHash;
use mover::pages::PageBuffer;

use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::session::{Sealer, Session};

/// Lots of pieces that wait for a thread.
const LOTS_WAITING_MAX: usize = 4;
/// Bytes from which on a lot is handed over: one piece that is cut by content, or many of a
/// database's. Each lot has this as a rule, a piece's eight MiB more at the most.
const LOT_BYTES: usize = 512 << 10;
/// Batches that wait for a thread.
const BATCHES_WAITING_MAX: usize = 4;

/// Pieces of large files, one behind the other, on their way to another thread. What lies together
/// in a file then lies together in its pack, too.
#[derive(Default)]
struct Lot {
    /// Each with where it ends.
    pieces: Vec<(Id, usize)>,
    data: PageBuffer,
}

impl Lot {
    fn length(&self) -> usize {
        self.pieces.last().map_or(0, |(_, end)| *end)
    }

    fn add(&mut self, id: Id, piece: &[u8]) {
        let (begin, end) = (self.length(), self.length() + piece.len());
        self.data.grow(end.max(LOT_BYTES))[begin..end].copy_from_slice(piece);
        self.pieces.push((id, end));
    }
}

/// What the threads of one backup share.
pub(super) struct Pool<'s, 'a, J> {
    session: &'s Session<'a>,
    jobs: Receiver<J>,
    lots: Receiver<Lot>,
    spare: Mutex<Vec<Lot>>,
}

/// One thread's side of the pool.
pub(super) struct Worker<'p, 's, 'a, J> {
    pool: &'p Pool<'s, 'a, J>,
    lots: Sender<Lot>,
    /// Gathers what is handed over next.
    lot: Lot,
    sealer: Sealer,
}

impl<'s, 'a, J: Send> Pool<'s, 'a, J> {
    /// Runs `feed`, which sends jobs, beside threads that run `work` on each. The first error of
    /// any of them is what the session reports.
    pub fn run(
        session: &'s Session<'a>,
        threads: usize,
        work: impl Fn(&mut Worker<'_, 's, 'a, J>, J) -> Result<(), PortError> + Sync,
        feed: impl FnOnce(&mut Feeder<'_, 's, 'a, J>) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let (job_sender, jobs) = bounded(BATCHES_WAITING_MAX);
        let (lot_sender, lots) = bounded(LOTS_WAITING_MAX);
        let pool = Pool { session, jobs, lots, spare: Mutex::default() };
        let done = std::thread::scope(|scope| {
            let pool = &pool;
            let work = &work;
            let handles: Vec<_> = (0..threads.max(1))
                .map(|_| {
                    let lots = lot_sender.clone();
                    scope.spawn(move || {
                        if let Err(e) = crate::caught(|| pool.serve(lots, work)) {
                            session.fail(e);
                            // The feeder must not wait for a thread that is gone.
                            for _ in pool.jobs.iter() {}
                        }
                    })
                })
                .collect();
            let feeding = (|| {
                let worker = Worker {
                    pool,
                    lots: lot_sender,
                    lot: Lot::default(),
                    sealer: Sealer::new(session.store, BlobKind::Data)?,
                };
                let mut feeder = Feeder { jobs: job_sender, worker };
                let fed = feed(&mut feeder).and_then(|()| feeder.worker.flush());
                session.retire(feeder.worker.sealer);
                fed
            })();
            for handle in handles {
                // Its panic, if any, is the session's failure already.
                drop(handle.join());
            }
            feeding
        });
        if let Err(e) = done {
            session.fail(e);
        }
        session.check()
    }

    fn serve(
        &self,
        lots: Sender<Lot>,
        work: &(impl Fn(&mut Worker<'_, 's, 'a, J>, J) -> Result<(), PortError> + Sync),
    ) -> Result<(), PortError> {
        let sealer = Sealer::new(self.session.store, BlobKind::Data)?;
        let mut worker = Worker { pool: self, lots, lot: Lot::default(), sealer };
        loop {
            select! {
                recv(self.lots) -> lot => if let Ok(lot) = lot {
                    worker.seal(lot)?;
                },
                recv(self.jobs) -> job => match job {
                    Ok(job) => {
                        self.session.check()?;
                        work(&mut worker, job)?;
                    }
                    Err(_) => break,
                },
            }
        }
        // No more jobs: only those that still read can send lots.
        let Worker { lots, mut sealer, .. } = worker;
        drop(lots);
        while let Ok(lot) = self.lots.recv() {
            self.seal(&mut sealer, lot)?;
        }
        self.session.retire(sealer);
        Ok(())
    }

    fn seal(&self, sealer: &mut Sealer, mut lot: Lot) -> Result<(), PortError> {
        let mut from = 0;
        for (id, to) in &lot.pieces {
            self.session.put(sealer, id, &lot.data[from..*to])?;
            from = *to;
        }
        lot.pieces.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < LOTS_WAITING_MAX {
            spare.push(lot);
        }
        Ok(())
    }

    fn spare(&self) -> Lot {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

impl<'s, 'a, J: Send> Worker<'_, 's, 'a, J> {
    pub fn session(&self) -> &'s Session<'a> {
        self.pool.session
    }

    fn seal(&mut self, lot: Lot) -> Result<(), PortError> {
        self.pool.seal(&mut self.sealer, lot)
    }

    /// Sends what has gathered to a thread that is free, or writes it here. Must be called before
    /// the job ends: nobody else knows what waits here.
    pub fn flush(&mut self) -> Result<(), PortError> {
        if self.lot.pieces.is_empty() {
            return Ok(());
        }
        let next = self.pool.spare();
        let lot = std::mem::replace(&mut self.lot, next);
        match self.lots.try_send(lot) {
            Ok(()) => Ok(()),
            Err(unsent) => self.seal(unsent.into_inner()),
        }
    }

    /// Writes a claimed blob, here or, with `share`, on another thread that is free.
    pub fn put(&mut self, hash: &BlobHash, data: &[u8], share: bool) -> Result<(), PortError> {
        let id = Id(*hash);
        // A piece that makes a lot alone and finds no place is not copied for nothing.
        let alone = self.lot.pieces.is_empty() && data.len() >= LOT_BYTES;
        if !share || (alone && self.lots.is_full()) {
            return self.pool.session.put(&mut self.sealer, &id, data);
        }
        self.lot.add(id, data);
        if self.lot.length() >= LOT_BYTES { self.flush() } else { Ok(()) }
    }
}

/// The side that sends jobs; it can also write blobs itself.
pub(super) struct Feeder<'p, 's, 'a, J> {
    jobs: Sender<J>,
    pub worker: Worker<'p, 's, 'a, J>,
}

impl<J: Send> Feeder<'_, '_, '_, J> {
    /// Hands a job to the threads; waits while they are busy.
    pub fn send(&self, job: J) -> Result<(), PortError> {
        self.worker.pool.session.check()?;
        self.jobs
            .send(job)
            .map_err(|_| PortError::terminal("Internal", "the backup's threads are gone"))
    }
}
