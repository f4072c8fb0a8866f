//! Ctrl-C and SIGTERM: the first asks to stop at the next safe border, the second ends at once.

use model::cancel::Cancel;
use tokio::signal::unix::{SignalKind, signal};

/// Returns a flag that the first signal sets. The second ends the process with 130; everything that
/// was running is safe to be cut off anywhere.
pub fn cancel_on_signals(say: impl Fn(&str) + Send + 'static) -> Cancel {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let mut count = 0;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            count += 1;
            if count == 1 {
                say("stopping at the next safe border; once more to stop at once");
                flag.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    cancel
}
