//! Log lines on standard error: structured JSON for the daemon, text for people who ask with `-v`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::args::{Command, Format, Global};

/// Starts logging. `MAINSTAY_LOG` takes a tracing filter and wins over `-v`.
pub fn start(global: &Global, command: &Command) {
    let daemon = matches!(command, Command::Daemon(_));
    let default = match (daemon, global.verbose) {
        (true, 0) => "info",
        (false, 0) => "off",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let filter =
        EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let json = daemon || global.format == Format::Json;
    let started = if json {
        builder.json().flatten_event(true).with_target(false).try_init()
    } else {
        builder.with_target(false).with_ansi(false).try_init()
    };
    // A second start happens only in tests of this binary's own functions.
    drop(started);
}
