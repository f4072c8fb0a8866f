//! A command's output as a source, its input as a sink, and a command that stays open. Made by the
//! local transport, used by the engine's threads.

use std::io::{self, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use model::error::PortError;
use model::ports::agents::StreamSink;
use model::ports::mover::StreamSource;
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::child::Running;
use super::verdict::Failed;
use super::{ANSWER_BYTES_MAX, OpenSession};
use crate::fault;

/// How long a session may take to end once its input is closed.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(60);

/// Standard output of a command.
pub(super) struct Source {
    running: Running,
    stdout: ChildStdout,
    failed: Option<PortError>,
}

impl Source {
    pub(super) fn new(mut running: Running) -> Result<Self, PortError> {
        let stdout = running.stdout().ok_or_else(|| no_pipe(&running))?;
        Ok(Self { running, stdout, failed: None })
    }
}

impl StreamSource for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(error) = self.running.ready(&self.stdout, PollFlags::IN) {
            let told = io::Error::other(error.chain());
            self.failed = Some(error);
            return Err(told);
        }
        self.stdout.read(buffer)
    }

    fn finish(mut self: Box<Self>) -> Result<(), PortError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.running.wait()?),
        }
    }
}

/// Standard input of a command.
pub(super) struct Sink {
    running: Running,
    stdin: Option<ChildStdin>,
    failed: Option<PortError>,
}

impl Sink {
    pub(super) fn new(mut running: Running) -> Result<Self, PortError> {
        let stdin = running.stdin().ok_or_else(|| no_pipe(&running))?;
        let failed = |e: rustix::io::Errno| fault::io("cannot set up a pipe", e.into());
        let flags = fcntl_getfl(&stdin).map_err(failed)?;
        fcntl_setfl(&stdin, flags | OFlags::NONBLOCK).map_err(failed)?;
        drain(running.stdout());
        Ok(Self { running, stdin: Some(stdin), failed: None })
    }

    fn refuse(&mut self, error: PortError) -> io::Error {
        self.stdin = None;
        let told = io::Error::new(io::ErrorKind::BrokenPipe, error.chain());
        self.failed = Some(error);
        told
    }

    /// The command stopped reading: its own words say why.
    fn broken(&mut self) -> io::Error {
        self.stdin = None;
        let error = match self.running.wait() {
            Err(failed) => failed.error,
            Ok(()) => PortError::terminal(
                "InputNotTaken",
                format!("`{}` ended before it had read all", self.running.program()),
            ),
        };
        self.refuse(error)
    }
}

impl StreamSink for Sink {
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(stdin) = &mut self.stdin else {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            };
            match stdin.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.running.ready(&*stdin, PollFlags::OUT) {
                        return Err(self.refuse(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(self.broken());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), PortError> {
        self.stdin = None;
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.running.wait()?),
        }
    }
}

/// A command that stays open until its standard input is closed.
pub(super) struct Session {
    running: Running,
    stdin: Option<ChildStdin>,
}

impl Session {
    /// Gives it its input and waits for its one line.
    ///
    /// A session reads lines while its input stays open, so the last one gets its end.
    pub(super) fn open(
        mut running: Running,
        mut input: Vec<u8>,
    ) -> Result<(Vec<u8>, Self), Failed> {
        if input.last().is_some_and(|last| *last != b'\n') {
            input.push(b'\n');
        }
        let mut stdin = running.stdin().ok_or_else(|| no_pipe(&running))?;
        let mut stdout = running.stdout().ok_or_else(|| no_pipe(&running))?;
        // A thread, for a command may speak before it has read all. Input that is not taken shows
        // in how the command ends.
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input).and_then(|()| stdin.flush());
            stdin
        });
        let line = read_line(&mut running, &mut stdout)?;
        let Some(line) = line else {
            drop(writer.join());
            running.wait()?;
            return Err(PortError::terminal(
                "NoAnswer",
                format!("`{}` ended without its line of facts", running.program()),
            )
            .into());
        };
        drain(Some(stdout));
        let stdin = writer.join().ok();
        Ok((line, Self { running, stdin }))
    }
}

impl OpenSession for Session {
    fn close(mut self: Box<Self>) -> Result<(), PortError> {
        self.stdin = None;
        self.running.limit(CLOSE_TIME_MAX);
        Ok(self.running.wait()?)
    }

    fn abandon(mut self: Box<Self>) {
        self.stdin = None;
        self.running.end();
    }
}

/// Reads up to a line break; `None` when the output ends before.
fn read_line(
    running: &mut Running,
    stdout: &mut ChildStdout,
) -> Result<Option<Vec<u8>>, PortError> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        running.ready(&*stdout, PollFlags::IN)?;
        let count = match stdout.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault::io("cannot read a command's answer", error)),
        };
        if count == 0 {
            return Ok(None);
        }
        line.extend_from_slice(&buffer[..count]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(Some(line));
        }
        if line.len() > ANSWER_BYTES_MAX {
            return Err(too_long(running));
        }
    }
}

pub(super) fn too_long(running: &Running) -> PortError {
    PortError::terminal(
        "AnswerTooLong",
        format!("`{}` answered with more than {ANSWER_BYTES_MAX} bytes", running.program()),
    )
}

pub(super) fn no_pipe(running: &Running) -> PortError {
    PortError::terminal("Internal", format!("`{}` has no pipe", running.program()))
}

/// Reads and drops what comes, so that the command never waits for a reader.
fn drain(stdout: Option<ChildStdout>) {
    if let Some(mut stdout) = stdout {
        std::thread::spawn(move || {
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
    }
}
