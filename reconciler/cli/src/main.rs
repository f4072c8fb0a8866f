//! The binary `mainstay`: arguments, wiring of adapters into the runtime, rendering, exit codes.
//!
//! Must not contain: logic. What a command decides is decided in `plan`; what it does is done in
//! `operations` and `runtime`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod demo;
mod error;
mod exit;
mod human;
mod logging;
mod progress;
#[cfg(test)]
mod reference;
mod signals;
mod ui;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let ui = ui::Ui::new(&args.global);
    logging::start(&args.global, &args.command);
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                ui.error(&error::CliError::internal(format!("the runtime did not start: {error}")));
                return exit::Exit::Error.into();
            }
        };
    let code = runtime.block_on(commands::run(args, &ui));
    // Blocking work that was cancelled ends by itself; nothing waits for it here.
    runtime.shutdown_background();
    match code {
        Ok(exit) => exit.into(),
        Err(error) => {
            ui.error(&error);
            error.exit.into()
        }
    }
}
