//! What every clock must do.

use std::time::Duration;

use model::ports::clock::Clock;

/// Runs the suite; it sleeps some milliseconds of the clock's own time.
///
/// # Panics
/// Panics when the clock breaks a rule.
pub async fn conformance(clock: &dyn Clock) {
    let first = clock.now();
    let second = clock.now();
    assert!(second >= first, "time does not run backwards by itself");
    let wanted = Duration::from_millis(3);
    clock.sleep(wanted).await;
    let slept = clock.now().duration_since(second);
    let wanted_ms = i128::try_from(wanted.as_millis()).unwrap_or(0);
    assert!(slept.as_millis() >= wanted_ms, "it sleeps at least as long as it is asked to");
    let before = clock.now();
    clock.sleep(Duration::ZERO).await;
    assert!(clock.now() >= before, "no time is a time to sleep as well");
}
