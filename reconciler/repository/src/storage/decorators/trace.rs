//! Tells of every request: a span and an event for whoever listens, counters for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::error::PortError;
use model::ports::storage::{FileKind, NOT_FOUND, Storage};

use super::{Answer, Call, Pacing, Rule, decorator};

/// What went to and came from a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Requests that failed, but for files that were not there.
    pub errors: u64,
    /// Bytes of files written; those of failed writes are not counted.
    pub bytes_up: u64,
    /// Bytes of files read.
    pub bytes_down: u64,
}

pub(crate) struct Trace {
    location: String,
    pacing: Arc<dyn Pacing>,
    requests: AtomicU64,
    errors: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

decorator! {
    /// Storage whose requests are seen. Names and sizes are told, contents and credentials never.
    Traced, Trace
}

impl Traced {
    /// Wraps a storage.
    pub fn new(inner: Arc<dyn Storage>, pacing: Arc<dyn Pacing>) -> Self {
        let rule = Trace {
            location: inner.location(),
            pacing,
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
        };
        Self { inner, rule }
    }

    /// Returns the traffic so far.
    pub fn traffic(&self) -> Traffic {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            requests: get(&self.rule.requests),
            errors: get(&self.rule.errors),
            bytes_up: get(&self.rule.bytes_up),
            bytes_down: get(&self.rule.bytes_down),
        }
    }
}

impl Rule for Trace {
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let _span = tracing::trace_span!(
            "storage",
            location = self.location,
            operation = call.operation.word(),
            kind = call.kind.map_or("", FileKind::folder),
            name = call.name,
        )
        .entered();
        let begun = self.pacing.elapsed();
        let answer = act();
        let took_ms = self.pacing.elapsed().saturating_sub(begun).as_millis() as u64;
        self.requests.fetch_add(1, Ordering::Relaxed);
        match &answer {
            Ok(answer) => {
                let down = call.bytes_down + answer.bytes();
                self.bytes_up.fetch_add(call.bytes_up, Ordering::Relaxed);
                self.bytes_down.fetch_add(down, Ordering::Relaxed);
                tracing::trace!(took_ms, up = call.bytes_up, down, "done");
            }
            Err(error) if error.reason == NOT_FOUND => tracing::trace!(took_ms, "not there"),
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(took_ms, reason = error.reason, "failed: {}", error.chain());
            }
        }
        answer
    }
}
