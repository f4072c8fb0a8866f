//! The mover as a program: serves one connection over its standard input and output, and ends with
//! it. Brought to a host and run there by whoever connects; it knows no keys and no policy.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use model::error::PortError;

fn serve() -> Result<(), PortError> {
    // Without the standard handles' buffers: frames are read and written whole.
    let plain = |fd: std::os::fd::BorrowedFd<'_>| {
        fd.try_clone_to_owned().map(File::from).map_err(|e| {
            PortError::terminal("NoStream", "standard input or output is closed").with_source(e)
        })
    };
    let mut input = plain(std::io::stdin().as_fd())?;
    let output = plain(std::io::stdout().as_fd())?;
    mainstay_mover::wire::serve(&mut input, Box::new(output))
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Standard output belongs to the connection.
            let _ = writeln!(std::io::stderr(), "mainstay-mover: {}", e.chain());
            ExitCode::FAILURE
        }
    }
}
