//! The mover's side of reading: pieces are offered as they are cut, and wait here for an answer, so
//! that a distant engine does not slow the reading down by its way there and back.

use std::collections::VecDeque;

use crossbeam_channel::Receiver;
use model::error::PortError;
use model::ports::mover::{BlobHash, ReadOutcome, ReadSink};

use super::message::Event;
use super::serve::Outlet;
use super::{OFFERS_MAX, WINDOW_BYTES};

/// Pieces that wait for an answer.
pub(super) struct Offers<'o> {
    outlet: &'o Outlet<'o>,
    answers: Receiver<bool>,
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl<'o> Offers<'o> {
    pub fn new(outlet: &'o Outlet<'o>, answers: Receiver<bool>) -> Self {
        Self { outlet, answers, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Waits for all answers and sends what is wanted.
    pub fn settle(&mut self) -> Result<(), PortError> {
        while !self.waiting.is_empty() {
            self.wait()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), PortError> {
        // The other end closes when the call shall stop.
        let wanted = self.answers.recv().map_err(|_| PortError::cancelled())?;
        self.answered(wanted)
    }

    fn answered(&mut self, wanted: bool) -> Result<(), PortError> {
        let Some(piece) = self.waiting.pop_front() else { return Ok(()) };
        self.bytes -= piece.len();
        if wanted { self.outlet.event(Event::Data, &piece) } else { Ok(()) }
    }
}

fn number(file: usize) -> u32 {
    u32::try_from(file).unwrap_or(u32::MAX)
}

impl ReadSink for Offers<'_> {
    fn wants(&mut self, _hash: &BlobHash, _length: u32) -> bool {
        // That is asked for later; until then it stays here.
        true
    }

    fn blob(
        &mut self,
        file: usize,
        hash: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        while let Ok(wanted) = self.answers.try_recv() {
            self.answered(wanted)?;
        }
        while !self.waiting.is_empty()
            && (self.waiting.len() >= OFFERS_MAX || self.bytes + length as usize > WINDOW_BYTES)
        {
            self.wait()?;
        }
        self.waiting.push_back(data.unwrap_or_default().to_vec());
        self.bytes += length as usize;
        self.outlet.event(Event::Offer(number(file), *hash, length), &[])
    }

    fn restart(&mut self, file: usize) -> Result<(), PortError> {
        self.outlet.event(Event::Restart(number(file)), &[])
    }

    fn end(&mut self, file: usize, outcome: ReadOutcome) -> Result<(), PortError> {
        self.outlet.event(Event::FileEnd(number(file), outcome), &[])
    }
}
