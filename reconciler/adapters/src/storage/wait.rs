//! Blocks threads of the engine on async clients: one small runtime for all storages of the
//! process, and the machine's time and chance for decorators.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::error::PortError;
use repository::storage::decorators::Pacing;
use tokio::runtime::Runtime;

/// Threads that move bytes between sockets and memory. The work is done by the engine's own; two
/// serve a 10 Gbit/s line.
const THREADS: usize = 2;

fn runtime() -> Result<&'static Runtime, PortError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("storage")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| {
        PortError::transient("NoThreads", format!("the storage threads did not start: {error}"))
    })
}

/// Runs a future to its end and blocks the calling thread meanwhile. The caller may itself be on a
/// thread of another runtime: nothing of it is used.
pub fn wait<T, F>(work: F) -> Result<T, PortError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, PortError>> + Send + 'static,
{
    let (tell, told) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody listens any more when the caller's thread was torn down: then nobody minds.
        let _ = tell.send(work.await);
    });
    told.recv().unwrap_or_else(|_| {
        Err(PortError::terminal("Internal", "a storage request ended unexpectedly")
            .with_hint("this is a defect of Mainstay: please report it"))
    })
}

/// The machine's own time and chance.
pub struct Machine {
    begun: Instant,
}

impl Default for Machine {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Pacing for Machine {
    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn wait(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn random(&self) -> f64 {
        let mut bytes = [0; 4];
        // Without randomness all clients come back at the same time, which is only less polite.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_another_runtime_may_wait() {
        let outer = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = outer.block_on(async { wait(async { Ok(7) }) });
        assert_eq!(got.unwrap(), 7);
    }

    #[test]
    fn a_panic_is_an_error() {
        let got = wait::<(), _>(async { panic!("as the test wants") });
        assert_eq!(got.unwrap_err().reason, "Internal");
    }
}
