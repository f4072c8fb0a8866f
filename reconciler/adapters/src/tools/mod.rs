//! What built-in templates call as `mainstay tool …`: work that no program on the target does. The
//! command line only hands over arguments and pipes.

mod sqlite;

use std::io::{Read, Write};

use model::error::PortError;

/// The exit code of a tool that did its work.
pub const DONE: u8 = 0;

/// The exit code of a tool that did not; standard error begins with a stable reason word.
pub const FAILED: u8 = 1;

/// The exit code of wrong usage.
pub const USAGE: u8 = 64;

/// Runs the tool that the arguments name, such as `sqlite probe -- /srv/app.db`, and returns the
/// exit code.
pub fn run(
    args: &[String],
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let result = match args.split_first() {
        Some((tool, rest)) if tool == "sqlite" => sqlite::run(rest, stdin, stdout),
        _ => Err(usage("mainstay tool sqlite VERB [--token T] [--scratch DIR] [--] [PATH]")),
    };
    match result {
        Ok(()) => DONE,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(stderr, "{}: {}", error.reason, error.chain());
            if error.reason == "Usage" { USAGE } else { FAILED }
        }
    }
}

fn usage(text: &str) -> PortError {
    PortError::terminal("Usage", text)
}
