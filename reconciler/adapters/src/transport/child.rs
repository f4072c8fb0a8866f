//! One running command: its process group, its standard error, its deadline. Called by the local
//! transport; everything that a command starts in its group ends with it.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::agent::ErrorRule;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::secrets::SecretValue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::verdict::{self, Failed};
use super::{Invocation, STDERR_BYTES_MAX};
use crate::fault;

/// How often a wait looks whether somebody asked to stop.
const TICK: Duration = Duration::from_millis(100);

/// How long a command may take to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A running command. Dropped, it is ended by force and reaped.
pub(super) struct Running {
    child: Child,
    alive: OwnedFd,
    group: Pid,
    status: Option<ExitStatus>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    program: String,
    secrets: Vec<SecretValue>,
    rules: Arc<[ErrorRule]>,
    deadline: Instant,
    timeout: Duration,
    cancel: Cancel,
}

impl Running {
    /// Starts a command with all three streams as pipes, in a process group of its own.
    pub(super) fn start(
        mut command: Command,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<Self, PortError> {
        cancel.check()?;
        let program = invocation.argv.first().cloned().unwrap_or_default();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| not_started(&program, e))?;
        let group = Pid::from_child(&child);
        let alive = match pidfd_open(group, PidfdFlags::empty()) {
            Ok(alive) => alive,
            Err(error) => {
                // Not watched, it cannot be ended in time: end it at once.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                return Err(fault::io(format!("cannot watch `{program}`"), error.into()));
            }
        };
        let stderr = child.stderr.take().map(|pipe| std::thread::spawn(move || keep_end(pipe)));
        Ok(Self {
            child,
            alive,
            group,
            status: None,
            stderr,
            program,
            secrets: invocation.secrets.clone(),
            rules: invocation.rules.clone(),
            deadline: Instant::now() + invocation.timeout,
            timeout: invocation.timeout,
            cancel: cancel.clone(),
        })
    }

    /// Hands out standard input.
    pub(super) fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Hands out standard output.
    pub(super) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Gives it a new time limit from here on.
    pub(super) fn limit(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.deadline = Instant::now() + timeout;
    }

    /// Waits until a pipe is ready, the deadline has passed or somebody asked to stop.
    pub(super) fn ready(&mut self, pipe: impl AsFd, flags: PollFlags) -> Result<(), PortError> {
        loop {
            if wait_for(pipe.as_fd(), flags, TICK)? {
                return Ok(());
            }
            if self.status.is_none() && wait_for(self.alive.as_fd(), PollFlags::IN, Duration::ZERO)?
            {
                // It has ended, and something that it left behind holds the pipe.
                let _ = kill_process_group(self.group, Signal::KILL);
            }
            self.check()?;
        }
    }

    /// Ends it by force when its time is over or somebody asked to stop.
    fn check(&mut self) -> Result<(), PortError> {
        let error = if self.cancel.is_cancelled() {
            PortError::cancelled()
        } else if Instant::now() >= self.deadline {
            PortError::transient(
                "TimedOut",
                format!("`{}` did not end within {:?}", self.program, self.timeout),
            )
            .with_hint("give the command more time, or find out what it waits for")
        } else {
            return Ok(());
        };
        self.end();
        Err(error)
    }

    /// Waits for its end and returns the verdict.
    pub(super) fn wait(&mut self) -> Result<(), Failed> {
        while self.status.is_none() && !wait_for(self.alive.as_fd(), PollFlags::IN, TICK)? {
            self.check()?;
        }
        let status = self.reap()?;
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let stderr = verdict::scrub(stderr, &self.secrets);
        Err(verdict::failed(&self.program, status, &stderr, &self.rules))
    }

    /// Ends the group: politely, then by force.
    pub(super) fn end(&mut self) {
        if self.status.is_some() {
            return;
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if wait_for(self.alive.as_fd(), PollFlags::IN, TICK).unwrap_or(true) {
                break;
            }
        }
        let _ = self.reap();
    }

    /// Ends what is left of the group and collects the status. The process number stays ours until
    /// it is collected, so no stranger can be hit.
    fn reap(&mut self) -> Result<ExitStatus, PortError> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self
            .child
            .wait()
            .map_err(|e| fault::io(format!("cannot wait for `{}`", self.program), e))?;
        self.status = Some(status);
        Ok(status)
    }

    /// Returns the program's name, for messages.
    pub(super) fn program(&self) -> &str {
        &self.program
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for one descriptor; `false` when the time is over.
fn wait_for(
    fd: std::os::fd::BorrowedFd<'_>,
    flags: PollFlags,
    time: Duration,
) -> Result<bool, PortError> {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let limit =
        Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: i64::from(time.subsec_nanos()) };
    match poll(&mut fds, Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(fault::io("cannot wait for a command", error.into())),
    }
}

fn not_started(program: &str, error: io::Error) -> PortError {
    let message = format!("cannot start `{program}`");
    let fault = match error.kind() {
        io::ErrorKind::NotFound => PortError::terminal("ProgramNotFound", message)
            .with_hint(format!("install `{program}`, or put its folder into PATH")),
        io::ErrorKind::PermissionDenied => PortError::terminal("PermissionDenied", message),
        _ => PortError::transient("NotStarted", message),
    };
    fault.with_source(error)
}

/// Reads a pipe to its end and keeps the last bytes.
fn keep_end(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                kept.extend_from_slice(&buffer[..count]);
                if kept.len() > 2 * STDERR_BYTES_MAX {
                    kept.drain(..kept.len() - STDERR_BYTES_MAX);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
    kept.drain(..surplus);
    kept
}
