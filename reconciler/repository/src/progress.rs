//! Counting of progress from many threads, sent on at a bounded rate.

use std::sync::atomic::{AtomicU64, Ordering};

use model::ports::mover::Problem;
use model::progress::{Counts, Progress, ProgressSink};

/// Bytes done between two reports.
const REPORT_BYTES: u64 = 8 << 20;
/// Files done between two reports.
const REPORT_FILES: u64 = 256;

/// Counts of one operation.
pub(crate) struct Meter<'a> {
    sink: &'a dyn ProgressSink,
    pub files_done: AtomicU64,
    pub files_total: AtomicU64,
    pub bytes_done: AtomicU64,
    pub bytes_total: AtomicU64,
    pub bytes_new: AtomicU64,
    pub bytes_stored: AtomicU64,
    pub errors: AtomicU64,
    mark: AtomicU64,
}

impl<'a> Meter<'a> {
    pub fn new(sink: &'a dyn ProgressSink) -> Self {
        Self {
            sink,
            files_done: AtomicU64::new(0),
            files_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            bytes_new: AtomicU64::new(0),
            bytes_stored: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            mark: AtomicU64::new(0),
        }
    }

    pub fn phase(&self, name: &str) {
        self.sink.event(Progress::Phase { name: name.to_owned() });
    }

    pub fn counts(&self) -> Counts {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counts {
            files_done: get(&self.files_done),
            files_total: get(&self.files_total),
            bytes_done: get(&self.bytes_done),
            bytes_total: get(&self.bytes_total),
            bytes_new: get(&self.bytes_new),
            bytes_stored: get(&self.bytes_stored),
            errors: get(&self.errors),
        }
    }

    /// Adds to what is done and reports when enough has gathered.
    pub fn done(&self, files: u64, bytes: u64) {
        let files = self.files_done.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let now = files / REPORT_FILES + bytes / REPORT_BYTES;
        let before = self.mark.load(Ordering::Relaxed);
        let moved = now > before
            && self
                .mark
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if moved {
            self.report();
        }
    }

    pub fn report(&self) {
        self.sink.event(Progress::Counts(self.counts()));
    }

    pub fn problem(&self, problem: &Problem) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.sink.event(Progress::ItemFailed {
            item: problem.path.escape_ascii().to_string(),
            error: problem.message.clone(),
        });
    }
}
