//! The clock of one actor: the world's time and how far it is off. It sleeps at least as long as it
//! is asked to; short sleeps of somebody who only waits are longer, as on a busy machine.

use std::time::Duration;

use jiff::Timestamp;
use model::ports::Boxed;
use model::ports::clock::Clock;

use super::Ports;

/// A daemon that rests looks every half second whether it is woken; here it looks this often.
const NAP_MS: i64 = 4 * 60_000;

/// See the module.
pub struct SimulatedClock(pub Ports);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let ms = self.0.world.lock().clock_ms(self.0.actor);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'_, ()> {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let time = self.0.world.lock().time.clone();
        Box::pin(time.sleep_ms(ms.max(NAP_MS)))
    }
}
