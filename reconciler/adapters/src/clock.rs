//! The system's clock behind the port. Wired in by the command line; tests hand in another.

use std::time::Duration;

use model::Timestamp;
use model::ports::Boxed;
use model::ports::clock::Clock;

/// The machine's own time.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machines_time_conforms() {
        testkit::conformance::clock::conformance(&System).await;
    }

    #[tokio::test]
    async fn time_goes_on() {
        let before = System.now();
        System.sleep(Duration::from_millis(1)).await;
        assert!(System.now() > before);
    }
}
