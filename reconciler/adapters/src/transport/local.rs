//! The machine that Mainstay runs on, as a transport.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::StreamSink;
use model::ports::mover::StreamSource;
use rustix::event::PollFlags;

use super::child::Running;
use super::streams::{Session, Sink, Source, no_pipe, too_long};
use super::verdict::Failed;
use super::{ANSWER_BYTES_MAX, Invocation, OWN_PROGRAM, OpenSession, Transport};
use crate::fault;

/// Variables of ours that commands see; everything else stays here, secrets above all.
const KEPT_VARIABLES: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ"];

/// Where programs are looked for when we have no `PATH`, as under some service supervisors.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Error rules match English texts, so commands speak it; UTF-8 keeps other names whole.
const LOCALE: &str = "C.UTF-8";

/// This machine.
#[derive(Clone, Debug)]
pub struct Local {
    own_program: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Local {
    /// Returns a transport. `own_program` is what the program `mainstay` means; `None` is the
    /// binary that runs. `environment` is that of this process, of which a safe part is passed
    /// on.
    pub fn new(
        own_program: Option<PathBuf>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, PortError> {
        let own_program = match own_program {
            Some(program) => program,
            None => std::env::current_exe()
                .map_err(|e| fault::io("cannot find this program's own file", e))?,
        };
        let mut variables: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept))
            .collect();
        if !variables.iter().any(|(name, _)| name == "PATH") {
            variables.push(("PATH".into(), PATH_DEFAULT.into()));
        }
        variables.push(("LANG".into(), LOCALE.into()));
        variables.push(("LC_ALL".into(), LOCALE.into()));
        Ok(Self { own_program, variables })
    }

    fn start(&self, invocation: &Invocation, cancel: &Cancel) -> Result<Running, PortError> {
        use std::os::unix::ffi::OsStrExt as _;
        let Some((program, arguments)) = invocation.argv.split_first() else {
            return Err(PortError::terminal("EmptyCommand", "a command has no program"));
        };
        if invocation.argv.iter().any(|argument| argument.contains('\0')) {
            return Err(PortError::terminal("BadArgument", "an argument contains a zero byte"));
        }
        tracing::debug!(argv = ?invocation.argv, "run");
        let mut command = match program.as_str() {
            OWN_PROGRAM => Command::new(&self.own_program),
            other => Command::new(other),
        };
        command.args(arguments).env_clear().current_dir("/");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        for (name, value) in &invocation.env {
            command.env(name, std::ffi::OsStr::from_bytes(value));
        }
        Running::start(command, invocation, cancel)
    }
}

impl Transport for Local {
    fn run(&self, invocation: &Invocation, cancel: &Cancel) -> Result<Vec<u8>, Failed> {
        let mut running = self.start(invocation, cancel)?;
        let mut stdin = running.stdin().ok_or_else(|| no_pipe(&running))?;
        let mut stdout = running.stdout().ok_or_else(|| no_pipe(&running))?;
        let input = invocation.input.clone();
        // A command that does not read its input shows that in how it ends.
        std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            running.ready(&stdout, PollFlags::IN)?;
            let count = match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fault::io("cannot read an answer", error).into()),
            };
            if answer.len() + count > ANSWER_BYTES_MAX {
                return Err(too_long(&running).into());
            }
            answer.extend_from_slice(&buffer[..count]);
        }
        running.wait()?;
        Ok(answer)
    }

    fn source(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<Box<dyn StreamSource>, PortError> {
        let mut running = self.start(invocation, cancel)?;
        if let Some(mut stdin) = running.stdin() {
            let input = invocation.input.clone();
            std::thread::spawn(move || {
                let _ = stdin.write_all(&input);
            });
        }
        Ok(Box::new(Source::new(running)?))
    }

    fn sink(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<Box<dyn StreamSink>, PortError> {
        Ok(Box::new(Sink::new(self.start(invocation, cancel)?)?))
    }

    fn session(
        &self,
        invocation: &Invocation,
        cancel: &Cancel,
    ) -> Result<(Vec<u8>, Box<dyn OpenSession>), Failed> {
        let running = self.start(invocation, cancel)?;
        let (line, session) = Session::open(running, invocation.input.clone())?;
        Ok((line, Box::new(session)))
    }
}
