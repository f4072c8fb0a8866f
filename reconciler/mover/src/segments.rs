//! Reading of a large file that is cut into pieces of one size: where pieces begin is known
//! beforehand, so segments of it are read and hashed by several threads and handed on in order.
//! The hash of what is read takes three quarters of the time in which nothing new is found.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use model::error::PortError;
use model::ports::mover::BlobHash;

use crate::chunk::CutError;
use crate::hash;
use crate::holes::HoleReader;
use crate::pages::PageBuffer;

/// Bytes of a segment, if a piece is not larger: what stays in the processor's second cache between
/// being read and being hashed.
const SEGMENT_BYTES: usize = 256 << 10;
/// Segments that one thread may be ahead of the one that is handed on next.
const AHEAD_MAX: usize = 4;
/// Helpers read where no more than one piece in so many is wanted.
const WANTED_PART: usize = 4;
/// Threads beside the caller's; the engine reads several files at once anyway.
const HELPERS_MAX: usize = 3;

/// A file that is read in segments.
pub struct Segments<'f, F> {
    /// The file.
    pub file: &'f F,
    /// Its length in bytes: no more is read.
    pub size: u64,
    /// Whether it may have holes.
    pub sparse: bool,
    /// Bytes of a piece, at least one.
    pub piece_bytes: usize,
}

/// A segment that was read and hashed.
#[derive(Default)]
struct Segment {
    buffer: PageBuffer,
    length: usize,
    hashes: Vec<BlobHash>,
}

type Done = (u64, io::Result<Segment>);

/// Takes a piece with its hash, and returns whether it was wanted.
pub type Each<'e> = dyn FnMut(&BlobHash, &[u8]) -> Result<bool, PortError> + 'e;

/// The side that hands segments on.
struct Front<'n> {
    /// The number of the next segment that nobody took.
    next: &'n AtomicU64,
    lend: Sender<Segment>,
    done: Receiver<Done>,
    /// How many segments are lent to helpers, and may be.
    lent: usize,
    ahead: usize,
    /// What was read before its turn, by number.
    ready: BTreeMap<u64, io::Result<Segment>>,
    /// Memory for further ones.
    own: Vec<Segment>,
}

impl Front<'_> {
    fn take(&mut self, (number, segment): Done) {
        self.lent -= 1;
        self.ready.insert(number, segment);
    }
}

/// How many threads may help on this machine.
pub fn helpers() -> usize {
    std::thread::available_parallelism().map_or(0, |n| (n.get() - 1).min(HELPERS_MAX))
}

impl<F: AsFd + Sync> Segments<'_, F> {
    fn segment_bytes(&self) -> usize {
        SEGMENT_BYTES.div_ceil(self.piece_bytes) * self.piece_bytes
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(self.segment_bytes() as u64)
    }

    /// Calls `each` with the hash and bytes of each piece, in order; it returns whether the piece
    /// is wanted. Others help only where little is: otherwise they are at work with what is new.
    /// Returns the bytes that were handed on: fewer than the size where the file is shorter
    /// meanwhile.
    pub fn run(&self, helpers: usize, each: &mut Each<'_>) -> Result<u64, CutError> {
        let next = AtomicU64::new(0);
        let ahead = AHEAD_MAX * helpers;
        let (lend, spare) = bounded(ahead);
        let (hand_over, done) = bounded(ahead);
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                let (spare, hand_over) = (spare.clone(), hand_over.clone());
                let next = &next;
                scope.spawn(move || self.help(next, &spare, &hand_over));
            }
            // When this side ends, early or not, helpers that wait for it must end, too.
            drop((spare, hand_over));
            let ready = BTreeMap::new();
            let front = Front { next: &next, lend, done, ahead, lent: 0, ready, own: Vec::new() };
            self.hand_on(front, each)
        })
    }

    /// Reads segments that nobody took, until there are no more or nobody wants them.
    fn help(&self, next: &AtomicU64, spare: &Receiver<Segment>, hand_over: &Sender<Done>) {
        while let Ok(segment) = spare.recv() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count()
                || hand_over.send((number, self.read(number, segment))).is_err()
            {
                return;
            }
        }
    }

    fn hand_on(&self, mut front: Front<'_>, each: &mut Each<'_>) -> Result<u64, CutError> {
        let mut total = 0;
        for number in 0..self.count() {
            let segment = self.segment(&mut front, number)?;
            let pieces = segment.buffer[..segment.length].chunks(self.piece_bytes);
            let mut wanted = 0;
            for (hash, piece) in segment.hashes.iter().zip(pieces) {
                wanted += usize::from(each(hash, piece).map_err(CutError::Sink)?);
            }
            total += segment.length as u64;
            if segment.length < self.expected(number) {
                break;
            }
            let little = wanted * WANTED_PART <= segment.hashes.len();
            front.own.push(segment);
            while little && front.lent < front.ahead {
                // Helpers are done when nobody takes it.
                if front.lend.send(front.own.pop().unwrap_or_default()).is_err() {
                    break;
                }
                front.lent += 1;
            }
        }
        Ok(total)
    }

    /// Returns a segment. Rather than wait for a helper, this thread reads one itself, within
    /// bounds.
    fn segment(&self, front: &mut Front<'_>, number: u64) -> Result<Segment, CutError> {
        loop {
            while let Ok(done) = front.done.try_recv() {
                front.take(done);
            }
            if let Some(segment) = front.ready.remove(&number) {
                return segment.map_err(CutError::Read);
            }
            let room = front.ready.len() < AHEAD_MAX.max(front.ahead);
            let taken = if room { front.next.fetch_add(1, Ordering::Relaxed) } else { u64::MAX };
            if taken < self.count() {
                let segment = self.read(taken, front.own.pop().unwrap_or_default());
                front.ready.insert(taken, segment);
                continue;
            }
            let gone = || PortError::terminal("Internal", "a reading thread is gone");
            let done = front.done.recv().map_err(|_| CutError::Sink(gone()))?;
            front.take(done);
        }
    }

    /// How many bytes a segment has.
    fn expected(&self, number: u64) -> usize {
        let left = self.size - number * self.segment_bytes() as u64;
        self.segment_bytes().min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn read(&self, number: u64, mut segment: Segment) -> io::Result<Segment> {
        let (from, wanted) = (number * self.segment_bytes() as u64, self.expected(number));
        let mut reader = HoleReader::from(self.file, from, self.size, self.sparse);
        let buffer = &mut segment.buffer.room(wanted)[..wanted];
        segment.length = 0;
        while segment.length < wanted {
            match reader.read(&mut buffer[segment.length..]) {
                Ok(0) => break,
                Ok(n) => segment.length += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        segment.hashes.clear();
        segment.hashes.extend(buffer[..segment.length].chunks(self.piece_bytes).map(hash::hash));
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// The hashes and bytes that are handed on, and how many bytes those are said to be.
    fn read(
        segments: &Segments<'_, File>,
        helpers: usize,
        wanted: bool,
    ) -> (Vec<BlobHash>, Vec<u8>, u64) {
        let (mut hashes, mut bytes) = (Vec::new(), Vec::new());
        let each = &mut |hash: &BlobHash, piece: &[u8]| {
            hashes.push(*hash);
            bytes.extend_from_slice(piece);
            Ok(wanted)
        };
        let length = segments.run(helpers, each).unwrap();
        (hashes, bytes, length)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pieces_are_those_of_the_file_in_order(
            size in 0usize..5_000_000,
            piece_bytes in prop_oneof![1usize..9000, Just(16 << 10), 200_000usize..2_000_000],
            holes in proptest::collection::vec(0usize..5_000_000, 0..3),
            helpers in 0usize..4,
            wanted: bool,
        ) {
            let mut content: Vec<u8> =
                (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
            let file = file(&content);
            for hole in holes {
                let end = (hole + 700_000).min(size);
                if hole < end {
                    content[hole..end].fill(0);
                    let range = (hole as u64, (end - hole) as u64);
                    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE
                        | rustix::fs::FallocateFlags::KEEP_SIZE;
                    rustix::fs::fallocate(&file, punch, range.0, range.1).unwrap();
                }
            }
            let segments = Segments { file: &file, size: size as u64, sparse: true, piece_bytes };
            let (hashes, bytes, length) = read(&segments, helpers, wanted);
            prop_assert!(bytes == content);
            prop_assert_eq!(length, size as u64);
            let expected: Vec<BlobHash> = content.chunks(piece_bytes).map(hash::hash).collect();
            prop_assert!(hashes == expected);
        }
    }

    #[test]
    fn a_file_that_shrank_ends_where_it_ends() {
        let content = vec![7; 3 << 20];
        let file = file(&content);
        file.set_len((1 << 20) + 5).unwrap();
        let segments = Segments { file: &file, size: 3 << 20, sparse: false, piece_bytes: 4096 };
        for (helpers, wanted) in [(0, false), (1, false), (3, false), (3, true)] {
            let (hashes, bytes, length) = read(&segments, helpers, wanted);
            assert!(bytes == content[..(1 << 20) + 5]);
            assert_eq!((length, hashes.len()), ((1 << 20) + 5, 257));
        }
    }

    #[test]
    fn who_takes_nothing_more_waits_for_nobody() {
        let file = file(&vec![7; 20 << 20]);
        let segments = Segments { file: &file, size: 20 << 20, sparse: false, piece_bytes: 4096 };
        for until in [0, 1, 100, 3000] {
            let mut seen = 0;
            let stopped = segments.run(3, &mut |_, _| {
                seen += 1;
                if seen > until { Err(PortError::cancelled()) } else { Ok(false) }
            });
            assert!(matches!(stopped, Err(CutError::Sink(e)) if e.reason == "Cancelled"));
            assert_eq!(seen, until + 1);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(folder.path()).unwrap();
        assert!(file.read_at(&mut [0; 9], 0).is_err());
        let segments = Segments { file: &file, size: 9 << 20, sparse: false, piece_bytes: 4096 };
        for helpers in [0, 2] {
            let failed = segments.run(helpers, &mut |_, _| panic!("nothing was read"));
            assert!(matches!(failed, Err(CutError::Read(_))));
        }
    }
}
