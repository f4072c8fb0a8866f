//! `mainstay daemon`.

use std::sync::Arc;
use std::time::Duration;

use adapters::clock::System;
use model::ports::clock::Clock;
use operations::owner;
use runtime::daemon::{DaemonOptions, PassListener, PassReport};
use runtime::{Observer, Unobserved};
use server::Board;

use super::duration_s;
use crate::args::{DaemonArgs, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;
use crate::wire::{hostname, wire};

pub async fn run(global: &Global, args: &DaemonArgs, ui: &Ui) -> Result<Exit, CliError> {
    let interval_s = duration_s(&args.interval)?;
    if interval_s == 0 {
        return Err(CliError::usage("--interval must be at least 1s"));
    }
    let wired = wire(global)?;
    let owner = owner("daemon", &hostname(), System.now());
    let lease = runtime::resume::begin_writing(&wired.world, &owner).await?;
    let cancel = cancel_on_signals(|text| tracing::info!("{text}"));
    let board = Arc::new(Board::new(i64::try_from(interval_s).unwrap_or(i64::MAX)));
    if args.listen != "none" {
        let address =
            server::serve(&args.listen, board.clone(), Arc::new(System)).await.map_err(|e| {
                CliError::new(format!("{}: {e}", args.listen))
                    .hint("give another address with --listen, or `--listen none`")
            })?;
        tracing::info!(%address, "serving /healthz, /readyz and /metrics");
    }
    let listener = Notify { board };
    let options =
        DaemonOptions { interval: Duration::from_secs(interval_s), passes_max: args.passes };
    let observer: Arc<dyn Observer> = Arc::new(Unobserved);
    // Ready means that it works, not that the first pass ended: a first backup can take hours, and
    // systemd would give up waiting. `/readyz` says more.
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let passes =
        runtime::daemon::run(&wired.world, &*lease, &options, &observer, &listener, &cancel).await;
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(passes, "ended");
    drop(ui.clone());
    Ok(Exit::Success)
}

/// Tells systemd what each pass did.
struct Notify {
    board: Arc<Board>,
}

impl PassListener for Notify {
    fn passed(&self, report: &PassReport<'_>) {
        self.board.passed(report);
        let status = match (&report.error, report.summary) {
            (Some(error), _) => format!("last pass failed: {error}"),
            (None, Some(summary)) => format!(
                "last pass: {} done, {} failed, {} waiting",
                summary.done,
                summary.failed,
                summary.waiting.len()
            ),
            (None, None) => "last pass did nothing".to_owned(),
        };
        tell_systemd(&[sd_notify::NotifyState::Status(&status)]);
    }
}

/// Without systemd this does nothing.
fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}
