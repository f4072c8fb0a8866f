//! The threads of a backup: they read batches of files through the mover, and seal pieces of large
//! ones that another thread cuts.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use model::error::PortError;
use model::ports::mover::BlobHash;

use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::session::{Sealer, Session};

/// Pieces that wait for a thread; each has one MiB as a rule, eight at the most.
const PIECES_WAITING_MAX: usize = 4;
/// Batches that wait for a thread.
const BATCHES_WAITING_MAX: usize = 4;

/// A piece of a large file on its way to another thread.
struct Piece {
    id: Id,
    data: Vec<u8>,
}

/// What the threads of one backup share.
pub(super) struct Pool<'s, 'a, J> {
    session: &'s Session<'a>,
    jobs: Receiver<J>,
    pieces: Receiver<Piece>,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// One thread's side of the pool.
pub(super) struct Worker<'p, 's, 'a, J> {
    pool: &'p Pool<'s, 'a, J>,
    pieces: Sender<Piece>,
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
        let (piece_sender, pieces) = bounded(PIECES_WAITING_MAX);
        let pool = Pool { session, jobs, pieces, spare: Mutex::default() };
        let done = std::thread::scope(|scope| {
            let pool = &pool;
            let work = &work;
            let handles: Vec<_> = (0..threads.max(1))
                .map(|_| {
                    let pieces = piece_sender.clone();
                    scope.spawn(move || {
                        if let Err(e) = crate::caught(|| pool.serve(pieces, work)) {
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
                    pieces: piece_sender,
                    sealer: Sealer::new(session.store, BlobKind::Data)?,
                };
                let mut feeder = Feeder { jobs: job_sender, worker };
                let fed = feed(&mut feeder);
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
        pieces: Sender<Piece>,
        work: &(impl Fn(&mut Worker<'_, 's, 'a, J>, J) -> Result<(), PortError> + Sync),
    ) -> Result<(), PortError> {
        let sealer = Sealer::new(self.session.store, BlobKind::Data)?;
        let mut worker = Worker { pool: self, pieces, sealer };
        loop {
            select! {
                recv(self.pieces) -> piece => if let Ok(piece) = piece {
                    worker.seal_piece(piece)?;
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
        // No more jobs: only those that still read can send pieces.
        let Worker { pieces, mut sealer, .. } = worker;
        drop(pieces);
        while let Ok(piece) = self.pieces.recv() {
            self.session.put(&mut sealer, &piece.id, &piece.data)?;
            self.give_back(piece.data);
        }
        self.session.retire(sealer);
        Ok(())
    }

    fn give_back(&self, data: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < PIECES_WAITING_MAX {
            spare.push(data);
        }
    }
}

impl<'s, 'a, J: Send> Worker<'_, 's, 'a, J> {
    pub fn session(&self) -> &'s Session<'a> {
        self.pool.session
    }

    fn seal_piece(&mut self, piece: Piece) -> Result<(), PortError> {
        self.pool.session.put(&mut self.sealer, &piece.id, &piece.data)?;
        self.pool.give_back(piece.data);
        Ok(())
    }

    /// Writes a claimed blob, here or, with `share`, on another thread that is free.
    pub fn put(&mut self, hash: &BlobHash, data: &[u8], share: bool) -> Result<(), PortError> {
        let id = Id(*hash);
        if !share || self.pieces.is_full() {
            return self.pool.session.put(&mut self.sealer, &id, data);
        }
        let spare = self.pool.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut copy = spare.unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(data);
        match self.pieces.try_send(Piece { id, data: copy }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) => {
                self.seal_piece(piece)
            }
        }
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
