//! Tries again what may pass by itself, with growing pauses.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::error::{ErrorClass, PortError};
use model::ports::storage::{ALREADY_EXISTS, DISK_FULL, FileKind, NOT_FOUND, Storage};

use super::{Answer, Call, Each, Operation, Pacing, Rule, decorator};

/// How often and for how long a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub tries_max: u32,
    /// Pause after the first failure; each one after it is twice as long.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// No try begins later than this after the first one. A server that asks to be left alone for
    /// longer is believed, and the request given up.
    pub total_max: Duration,
}

impl Default for RetryPolicy {
    /// Ten tries in at most a quarter of an hour: a server that restarts is waited for, one that is
    /// gone is reported by the same run.
    fn default() -> Self {
        Self {
            tries_max: 10,
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(60),
            total_max: Duration::from_secs(15 * 60),
        }
    }
}

impl RetryPolicy {
    /// Returns the pause after the n-th failure, counted from 1: between half of the doubled pause
    /// and all of it, so that many clients do not come back at once.
    fn pause(&self, failures: u32, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(30));
        let whole = self.pause_first.saturating_mul(doubled).min(self.pause_max);
        whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

pub(crate) struct Retry {
    policy: RetryPolicy,
    pacing: Arc<dyn Pacing>,
}

decorator! {
    /// Storage whose requests are tried again while their error is transient.
    ///
    /// A write whose answer was lost is found done by the next try, and counts as done: when the
    /// file is there with the same bytes, or the deleted one is gone.
    Retrying, Retry
}

impl Retrying {
    /// Wraps a storage.
    pub fn new(inner: Arc<dyn Storage>, policy: RetryPolicy, pacing: Arc<dyn Pacing>) -> Self {
        Self { inner, rule: Retry { policy, pacing } }
    }
}

fn is_worth_a_try(error: &PortError) -> bool {
    error.class == ErrorClass::Transient && error.reason != DISK_FULL
}

fn give_up(error: PortError, call: &Call<'_>, tries: u32, spent: Duration) -> PortError {
    let folder = call.kind.map_or("", FileKind::folder);
    let name = if call.name.is_empty() { String::new() } else { format!("/{}", call.name) };
    let message = format!(
        "cannot {} {folder}{name}: gave up after {tries} tries in {:.1} s",
        call.operation.word(),
        spent.as_secs_f64()
    );
    let mut last = PortError::new(error.class, error.reason, message);
    last.hint.clone_from(&error.hint);
    last.retry_after = error.retry_after;
    last.with_source(error)
}

impl Retry {
    /// Calls `act` with the number of tries before it, until it succeeds or fails for good.
    fn until_done<T>(
        &self,
        call: &Call<'_>,
        mut act: impl FnMut(u32) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let begun = self.pacing.elapsed();
        let mut tries = 0;
        loop {
            let error = match act(tries) {
                Err(error) if is_worth_a_try(&error) => error,
                done => return done,
            };
            tries += 1;
            let spent = self.pacing.elapsed().saturating_sub(begun);
            if tries >= self.policy.tries_max {
                return Err(give_up(error, call, tries, spent));
            }
            let pause = self.policy.pause(tries, self.pacing.random());
            let pause = error.retry_after.map_or(pause, |asked| asked.max(pause));
            if spent.saturating_add(pause) > self.policy.total_max {
                return Err(give_up(error, call, tries, spent));
            }
            tracing::debug!(
                operation = call.operation.word(),
                kind = call.kind.map_or("", FileKind::folder),
                name = call.name,
                tries,
                pause_ms = pause.as_millis() as u64,
                reason = error.reason,
                "storage request failed, trying again: {}",
                error.chain()
            );
            self.pacing.wait(pause);
        }
    }
}

/// Returns whether a stored file is the one that was to be written.
fn is_ours(
    inner: &dyn Storage,
    kind: FileKind,
    name: &str,
    data: &[u8],
) -> Result<bool, PortError> {
    if kind == FileKind::Config {
        // Everybody's has the same name, and two may be made at once.
        return match inner.load(kind, name, data.len() as u64) {
            Ok(stored) => Ok(stored == data),
            Err(error) if error.class == ErrorClass::Transient => Err(error),
            Err(_) => Ok(false),
        };
    }
    // The name is the digest of the content, and files are visible only when whole.
    Ok(inner.stat(kind, name)? == data.len() as u64)
}

/// Returns a file's name as a number. A listing that begins anew leaves out what it had handed
/// over; 16 bytes of a digest tell files apart, and a million of them take 35 MB.
fn short(name: &str) -> u128 {
    let digits = name.get(..name.len().min(32)).unwrap_or_default();
    u128::from_str_radix(digits, 16).unwrap_or_default()
}

impl Rule for Retry {
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        self.until_done(call, |_| act())
    }

    fn list(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        each: &mut Each<'_>,
    ) -> Result<(), PortError> {
        let mut seen = HashSet::new();
        let mut stopped = None;
        let done = self.until_done(&Call::new(Operation::List, kind, ""), |_| {
            let listed = inner.list(kind, &mut |file| {
                if !seen.insert(short(&file.name)) {
                    return Ok(());
                }
                each(file).map_err(|error| {
                    // The caller's own error is no fault of the storage: the listing just ends.
                    stopped = Some(error);
                    PortError::cancelled()
                })
            });
            if stopped.is_some() { Ok(()) } else { listed }
        });
        stopped.map_or(done, Err)
    }

    fn save(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        let call = Call::new(Operation::Save, kind, name);
        self.until_done(&call, |tries| match inner.save(kind, name, data, sha256) {
            Err(e) if e.reason == ALREADY_EXISTS && tries > 0 => {
                if is_ours(inner, kind, name, data)? { Ok(()) } else { Err(e) }
            }
            done => done,
        })
    }

    fn delete(&self, inner: &dyn Storage, kind: FileKind, name: &str) -> Result<(), PortError> {
        let call = Call::new(Operation::Delete, kind, name);
        self.until_done(&call, |tries| match inner.delete(kind, name) {
            Err(e) if e.reason == NOT_FOUND && tries > 0 => Ok(()),
            done => done,
        })
    }
}
