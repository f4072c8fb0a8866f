//! Bounds what is asked of a storage: requests at once, requests a second, bytes a second.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use model::error::PortError;
use model::ports::storage::Storage;

use super::{Answer, Call, Pacing, Rule, decorator};

/// What a storage is spared. `None` is no limit; zero counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests at once.
    pub connections: Option<usize>,
    /// Requests a second.
    pub requests_per_s: Option<u64>,
    /// Bytes written a second.
    pub upload_bytes_per_s: Option<u64>,
    /// Bytes read a second.
    pub download_bytes_per_s: Option<u64>,
}

/// A budget that fills with time. What is taken beyond it is waited for by whoever comes next, so
/// that the mean holds whatever the size of one request.
struct Budget {
    per_s: u64,
    /// When the budget is even again.
    even_at: Mutex<Duration>,
}

impl Budget {
    fn new(per_s: u64) -> Self {
        Self { per_s: per_s.max(1), even_at: Mutex::default() }
    }

    /// Takes an amount and returns how long to wait before it may be used.
    fn take(&self, now: Duration, amount: u64) -> Duration {
        let mut even_at = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (*even_at).max(now);
        *even_at = from + Duration::from_secs_f64(amount as f64 / self.per_s as f64);
        from.saturating_sub(now)
    }
}

/// Places for requests at once.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

struct Place<'a>(&'a Places);

impl Places {
    fn take(&self) -> Place<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

pub(crate) struct Limit {
    connections: Option<usize>,
    places: Option<Places>,
    requests: Option<Budget>,
    up: Option<Budget>,
    down: Option<Budget>,
    pacing: Arc<dyn Pacing>,
}

decorator! {
    /// Storage that is asked no more than its limits allow; who comes too early waits.
    Limited, Limit
}

impl Limited {
    /// Wraps a storage.
    pub fn new(inner: Arc<dyn Storage>, limits: Limits, pacing: Arc<dyn Pacing>) -> Self {
        let connections = limits.connections.map(|count| count.max(1));
        let places =
            connections.map(|count| Places { free: Mutex::new(count), freed: Condvar::new() });
        let rule = Limit {
            connections,
            places,
            requests: limits.requests_per_s.map(Budget::new),
            up: limits.upload_bytes_per_s.map(Budget::new),
            down: limits.download_bytes_per_s.map(Budget::new),
            pacing,
        };
        Self { inner, rule }
    }
}

impl Limit {
    fn charge(&self, budget: Option<&Budget>, amount: u64) {
        let Some(budget) = budget.filter(|_| amount > 0) else { return };
        let wait = budget.take(self.pacing.elapsed(), amount);
        if !wait.is_zero() {
            self.pacing.wait(wait);
        }
    }
}

impl Rule for Limit {
    fn connections(&self, inner: usize) -> usize {
        self.connections.map_or(inner, |limit| limit.min(inner).max(1))
    }

    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let _place = self.places.as_ref().map(Places::take);
        self.charge(self.requests.as_ref(), 1);
        self.charge(self.up.as_ref(), call.bytes_up);
        self.charge(self.down.as_ref(), call.bytes_down);
        let answer = act()?;
        // How large a whole file is shows only now; whoever comes next waits for it.
        if let Some(down) = self.down.as_ref().filter(|_| answer.bytes() > 0) {
            down.take(self.pacing.elapsed(), answer.bytes());
        }
        Ok(answer)
    }
}
