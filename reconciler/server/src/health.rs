//! What the daemon last did, kept for whoever asks; written after each pass.

use std::sync::{Arc, OnceLock, RwLock};

use model::Timestamp;
use runtime::Pass;
use runtime::daemon::{PassListener, PassReport};
use runtime::execute::Summary;

use crate::metrics;

/// A daemon whose last good pass is older than this many intervals is not healthy: one may be slow,
/// two in a row may be a long backup, more is a fault.
const INTERVALS_MAX: i64 = 10;

/// What was seen last.
#[derive(Clone, Debug, Default)]
struct Seen {
    passes: u64,
    passes_failed: u64,
    last: Option<Timestamp>,
    last_good: Option<Timestamp>,
    last_error: Option<String>,
    last_seconds: f64,
    steps_done: u64,
    steps_failed: u64,
    of_pass: Option<Arc<OfPass>>,
}

/// The metrics of one pass, worded when somebody asks: they speak of every resource, and a pass
/// over a fleet that stands still must not.
#[derive(Debug)]
struct OfPass {
    pass: Pass,
    summary: Option<Summary>,
    at: Timestamp,
    text: OnceLock<String>,
}

impl OfPass {
    fn text(&self) -> &str {
        self.text.get_or_init(|| metrics::of_pass(&self.pass, self.summary.as_ref(), self.at))
    }
}

/// The daemon's notice board.
#[derive(Debug)]
pub struct Board {
    seen: RwLock<Seen>,
    interval_s: i64,
}

impl Board {
    /// Returns an empty board of a daemon with this interval in seconds.
    pub fn new(interval_s: i64) -> Self {
        Self { seen: RwLock::new(Seen::default()), interval_s }
    }

    /// Returns whether the daemon is alive: it made a pass not too long ago, or has just begun.
    pub fn healthy(&self, now: Timestamp) -> Result<(), String> {
        let seen = self.read();
        let Some(last) = seen.last else { return Ok(()) };
        let age = now.as_second() - last.as_second();
        // A long backup is work, not death: only a daemon that has stopped passing is reported.
        let limit = self.interval_s.max(60) * INTERVALS_MAX;
        if age > limit && seen.last_error.is_some() {
            return Err(format!("no pass for {age} s"));
        }
        Ok(())
    }

    /// Returns whether the daemon can do its work: the last pass reached a plan.
    pub fn ready(&self) -> Result<(), String> {
        let seen = self.read();
        match (&seen.last_error, seen.last) {
            (Some(error), _) => Err(error.clone()),
            (None, None) => Err("the first pass is under way".into()),
            (None, Some(_)) => Ok(()),
        }
    }

    /// Returns everything as Prometheus text.
    pub fn metrics(&self) -> String {
        let seen = self.read();
        let mut text = metrics::Text::default();
        text.counter("mainstay_passes_total", "Passes made.", seen.passes);
        text.counter("mainstay_passes_failed_total", "Passes without a plan.", seen.passes_failed);
        text.counter("mainstay_steps_done_total", "Steps that succeeded.", seen.steps_done);
        text.counter(
            "mainstay_steps_failed_total",
            "Steps that failed or were partial.",
            seen.steps_failed,
        );
        text.gauge(
            "mainstay_pass_duration_seconds",
            "How long the last pass took.",
            seen.last_seconds,
        );
        if let Some(good) = seen.last_good {
            text.gauge_int(
                "mainstay_last_successful_pass_timestamp_seconds",
                "When the last pass reached a plan.",
                good.as_second(),
            );
        }
        text.finish() + seen.of_pass.as_ref().map_or("", |of| of.text())
    }

    fn read(&self) -> Seen {
        // A poisoned board still holds the last good values.
        self.seen.read().map_or_else(|e| e.into_inner().clone(), |seen| seen.clone())
    }
}

impl PassListener for Board {
    fn passed(&self, report: &PassReport<'_>) {
        let mut seen = match self.seen.write() {
            Ok(seen) => seen,
            Err(poisoned) => poisoned.into_inner(),
        };
        seen.passes += 1;
        seen.last = Some(report.at);
        seen.last_seconds = report.seconds;
        seen.last_error.clone_from(&report.error);
        if report.error.is_some() {
            seen.passes_failed += 1;
        } else {
            seen.last_good = Some(report.at);
        }
        if let Some(summary) = report.summary {
            seen.steps_done += summary.done;
            seen.steps_failed += summary.failed;
        }
        if let Some(pass) = report.pass {
            seen.of_pass = Some(Arc::new(OfPass {
                pass: pass.clone(),
                summary: report.summary.cloned(),
                at: report.at,
                text: OnceLock::new(),
            }));
        }
    }
}
