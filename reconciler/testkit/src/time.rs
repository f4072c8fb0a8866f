//! Time that passes only when everybody waits: the next timer fires when no task can go on. Called
//! by the executor whenever it would sleep.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Timers that fire in one simulation, at the most. A run of some simulated weeks needs a
/// hundredth; one that needs more does not come to rest.
pub const FIRINGS_MAX: u64 = 400_000;

/// The time of one simulated world. Clones share it.
#[derive(Clone, Default)]
pub struct Time(Arc<Mutex<Timers>>);

#[derive(Default)]
struct Timers {
    now_ms: i64,
    fired: u64,
    next: u64,
    waiting: BTreeMap<(i64, u64), Waker>,
}

impl Time {
    /// Returns a time that begins at this many milliseconds since 1970.
    pub fn starting_at(now_ms: i64) -> Self {
        let time = Self::default();
        time.lock().now_ms = now_ms;
        time
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.lock().now_ms
    }

    /// Returns a future that is ready after so many milliseconds.
    pub fn sleep_ms(&self, ms: i64) -> Sleep {
        let at = self.now_ms().saturating_add(ms.max(0));
        Sleep { time: self.clone(), at, key: None }
    }

    /// Lets the next timer fire. Returns false when none waits, or when too many have fired.
    pub fn advance(&self) -> bool {
        let mut timers = self.lock();
        if timers.fired >= FIRINGS_MAX {
            return false;
        }
        let Some(((at, _), waker)) = timers.waiting.pop_first() else { return false };
        timers.fired += 1;
        timers.now_ms = timers.now_ms.max(at);
        drop(timers);
        waker.wake();
        true
    }

    /// Returns whether more timers fired than a world that comes to rest needs.
    pub fn is_exhausted(&self) -> bool {
        self.lock().fired >= FIRINGS_MAX
    }
}

/// See [`Time::sleep_ms`].
pub struct Sleep {
    time: Time,
    at: i64,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut timers = time.lock();
        if timers.now_ms >= self.at {
            if let Some(key) = self.key.take() {
                timers.waiting.remove(&(self.at, key));
            }
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            timers.next += 1;
            timers.next
        });
        timers.waiting.insert((self.at, key), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.time.lock().waiting.remove(&(self.at, key));
        }
    }
}

/// Runs a future to its end on this thread, in simulated time. `None`: everybody waited for ever,
/// or too long.
pub fn run<T: 'static>(time: &Time, work: impl Future<Output = T> + 'static) -> Option<T> {
    let idle = time.clone();
    let stuck = Arc::new(Mutex::new((false, None::<Waker>)));
    let told = stuck.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || {
            if !idle.advance() {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.0 = true;
                if let Some(waker) = told.1.take() {
                    waker.wake();
                }
            }
        })
        .build()
        .ok()?;
    let mut work = Box::pin(work);
    runtime.block_on(std::future::poll_fn(move |context| {
        if let Poll::Ready(value) = work.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        let mut stuck = stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if stuck.0 {
            return Poll::Ready(None);
        }
        stuck.1 = Some(context.waker().clone());
        Poll::Pending
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_jumps_to_the_next_timer() {
        let time = Time::starting_at(1_000);
        let inner = time.clone();
        let order = run(&time, async move {
            let (a, b) = (inner.clone(), inner.clone());
            let late = tokio::spawn(async move {
                a.sleep_ms(3_600_000).await;
                a.now_ms()
            });
            let early = tokio::spawn(async move {
                b.sleep_ms(5).await;
                b.now_ms()
            });
            (early.await.unwrap(), late.await.unwrap())
        });
        assert_eq!(order, Some((1_005, 3_601_000)));
    }

    #[test]
    fn waiting_for_ever_is_noticed() {
        let time = Time::default();
        assert_eq!(run(&time, std::future::pending::<()>()), None);
    }
}
