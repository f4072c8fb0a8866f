//! `mainstay daemon`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapters::clock::System;
use jiff::{SignedDuration, Timestamp};
use model::desired::Desired;
use model::ports::clock::Clock;
use operations::owner;
use plan::runbook::{runbook, stale};
use runtime::daemon::{DaemonOptions, PassListener, PassReport};
use runtime::{Observer, Pass, Unobserved};
use server::Board;
use tokio::sync::watch;

use super::duration_s;
use super::runbook::{on_paper, surroundings};
use crate::args::{DaemonArgs, Global, Paper};
use crate::error::CliError;
use crate::exit::Exit;
use crate::signals::cancel_on_signals;
use crate::ui::Ui;
use crate::wire::{Wired, hostname, wire};

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
    let (told, passes_made) = args.runbook.is_some().then(|| watch::channel(None)).unzip();
    let listener = Notify { board, told };
    let options =
        DaemonOptions { interval: Duration::from_secs(interval_s), passes_max: args.passes };
    let observer: Arc<dyn Observer> = Arc::new(Unobserved);
    // Ready means that it works, not that the first pass ended: a first backup can take hours, and
    // systemd would give up waiting. `/readyz` says more.
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let work = async {
        let world = &wired.world;
        let passes =
            runtime::daemon::run(world, &*lease, &options, &observer, &listener, &cancel).await;
        // Whoever follows the passes ends with them.
        drop(listener);
        passes
    };
    let (passes, ()) = match args.runbook.as_ref().zip(passes_made) {
        Some((file, made)) => tokio::join!(work, keep_runbook(global, &wired, file, made)),
        None => (work.await, ()),
    };
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(passes, "ended");
    drop(ui.clone());
    Ok(Exit::Success)
}

/// How long a runbook is trusted while nothing seems to happen: points may go by another hand.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Writes the runbook anew whenever the one in the file is not right any more. It is made from
/// passes that looked after something was done, so that a fleet that stands still costs nothing.
async fn keep_runbook(
    global: &Global,
    wired: &Wired,
    file: &Path,
    mut passes: watch::Receiver<Option<Made>>,
) {
    let paper = match file.extension().and_then(|e| e.to_str()) {
        Some("html") => Paper::Html,
        Some("txt") => Paper::Text,
        _ => Paper::Markdown,
    };
    let mut last: Option<(Arc<Desired>, Timestamp, u64)> = None;
    while passes.changed().await.is_ok() {
        let Some(Made { pass, before, .. }) = passes.borrow_and_update().clone() else { continue };
        let at = pass.plan.at;
        let idle = last.as_ref().is_some_and(|(desired, then, done)| {
            Arc::ptr_eq(desired, &pass.desired)
                && at.duration_since(*then) < LOOK_AGAIN
                && before == *done
        });
        if idle {
            continue;
        }
        last = Some((pass.desired.clone(), at, before));
        let seen = operations::whatif::seen(&wired.world, &pass).await;
        let around = surroundings(global, &wired.secrets, &seen.desired);
        let made = runbook(&seen.desired, &seen.observed, at, &seen.measured, &around);
        let printed = std::fs::read_to_string(file).unwrap_or_default();
        let why = stale(&printed, &made, &seen.observed);
        let Some(first) = why.first() else { continue };
        match adapters::durable::write_output(file, on_paper(&made, paper).as_bytes()) {
            Ok(()) => tracing::info!(file = %file.display(), "runbook written: {first}"),
            Err(error) => tracing::error!("the runbook was not written: {}", error.chain()),
        }
    }
}

/// Tells systemd what each pass did.
struct Notify {
    board: Arc<Board>,
    /// Whoever keeps a runbook.
    told: Option<watch::Sender<Option<Made>>>,
}

/// A pass, and how many steps were done before and after it looked at the world.
#[derive(Clone)]
struct Made {
    pass: Pass,
    before: u64,
    after: u64,
}

impl PassListener for Notify {
    fn passed(&self, report: &PassReport<'_>) {
        self.board.passed(report);
        if let (Some(told), Some(pass)) = (&self.told, report.pass) {
            let done = report.summary.map_or(0, |summary| summary.done);
            told.send_modify(|told| {
                let before = told.as_ref().map_or(0, |made| made.after);
                *told = Some(Made { pass: pass.clone(), before, after: before + done });
            });
        }
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
