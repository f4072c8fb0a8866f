//! One SSH connection with the SFTP protocol on it, made by the user's own `ssh`, so that its
//! configuration, agent, jump hosts and known hosts hold here as well. Host keys are checked
//! strictly whatever the configuration says.

use std::future::Future;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::error::PortError;
use model::remote::Sftp as Spec;
use openssh_sftp_client::{Error, Sftp, SftpOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longest time for a connection to come up, in seconds.
const CONNECT_S: u64 = 30;
/// Longest time that one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// Most of what ssh says that is kept, in bytes.
const SAID_BYTES_MAX: usize = 8 << 10;

/// A connection.
pub struct Connection {
    /// The protocol.
    pub sftp: Sftp,
    /// Becomes true when ssh has ended.
    ended: watch::Receiver<bool>,
    said: Arc<Mutex<String>>,
}

/// Why a request failed.
pub enum Fault {
    /// The server's answer.
    Answer(Error),
    /// The connection is gone or stuck.
    Gone,
}

fn command(spec: &Spec) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
    command.args(["-o", &format!("ConnectTimeout={CONNECT_S}")]);
    // A line that died is noticed within a minute.
    command.args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]);
    command.args(["-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no"]);
    if let Some(file) = &spec.config_file {
        command.args(["-F", file]);
    }
    if let Some(port) = spec.port {
        command.args(["-p", &port.to_string()]);
    }
    if let Some(user) = &spec.user {
        command.args(["-l", user]);
    }
    if let Some(file) = &spec.identity_file {
        command.args(["-i", file, "-o", "IdentitiesOnly=yes"]);
    }
    if let Some(file) = &spec.known_hosts {
        command.args(["-o", &format!("UserKnownHostsFile={file}")]);
        command.args(["-o", "GlobalKnownHostsFile=/dev/null"]);
    }
    command.args(["-s", "--", &spec.host, "sftp"]);
    // Its messages are told apart by their words.
    command.env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn listen(mut stderr: impl AsyncRead + Unpin, said: Arc<Mutex<String>>) {
    let mut part = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut part).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&String::from_utf8_lossy(&part[..count]));
        if said.len() > SAID_BYTES_MAX {
            let mut from = said.len() - SAID_BYTES_MAX;
            while !said.is_char_boundary(from) {
                from += 1;
            }
            said.drain(..from);
        }
    }
}

/// Waits for ssh's end and tells of it; ends ssh when nobody uses the connection any more.
async fn attend(
    mut child: Child,
    tell: watch::Sender<bool>,
    listening: tokio::task::JoinHandle<()>,
) {
    tokio::select! {
        _ = child.wait() => {
            // What it said is read to the end before anybody is told that it ended.
            let _ = tokio::time::timeout(Duration::from_secs(5), listening).await;
            let _ = tell.send(true);
        }
        () = tell.closed() => {
            let _ = child.kill().await;
        }
    }
}

impl Connection {
    /// Connects; `what` says for what.
    pub async fn open(spec: &Spec, what: &str) -> Result<Self, PortError> {
        let mut child = command(spec).spawn().map_err(|error| {
            PortError::terminal("NoSsh", format!("{what}: ssh cannot be run"))
                .with_hint("install the OpenSSH client, and have `ssh` on the PATH")
                .with_source(error)
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(PortError::terminal("Internal", format!("{what}: ssh has no pipes")));
        };
        let said = Arc::new(Mutex::new(String::new()));
        let listening = tokio::spawn(listen(stderr, said.clone()));
        let (tell, mut ended) = watch::channel(false);
        tokio::spawn(attend(child, tell, listening));
        let limit = Duration::from_secs(2 * CONNECT_S);
        let hello = Sftp::new(stdin, stdout, SftpOptions::new());
        let sftp = match tokio::time::timeout(limit, hello).await {
            Ok(Ok(sftp)) => sftp,
            Ok(Err(error)) => {
                // ssh is about to end, and says why.
                let _ = tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await;
                let explained = explain(what, &words(&said));
                // What ssh says tells more than that its pipe ended.
                return Err(match std::error::Error::source(&explained) {
                    Some(_) => explained,
                    None => explained.with_source(error),
                });
            }
            Err(_) => return Err(explain(what, &words(&said))),
        };
        Ok(Self { sftp, ended, said })
    }

    /// Runs a request, for as long as the connection lives and no longer than is sensible.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        let mut ended = self.ended.clone();
        tokio::select! {
            done = work => match done {
                Ok(value) => Ok(value),
                Err(error @ Error::SftpError(..)) => Err(Fault::Answer(error)),
                Err(error @ Error::UnsupportedExtension(_)) => Err(Fault::Answer(error)),
                Err(error) => {
                    tracing::debug!("the SFTP connection broke: {error}");
                    Err(Fault::Gone)
                }
            },
            _ = ended.wait_for(|ended| *ended) => Err(Fault::Gone),
            () = tokio::time::sleep(REQUEST_MAX) => Err(Fault::Gone),
        }
    }

    /// Returns whether it can still be used.
    pub fn lives(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Returns the error of a connection that is gone.
    pub fn gone(&self, what: &str) -> PortError {
        explain(what, &words(&self.said))
    }
}

fn words(said: &Mutex<String>) -> String {
    said.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Returns the error that ssh's words mean.
fn explain(what: &str, said: &str) -> PortError {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let what = what.to_owned();
    let error = if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "host key for"]) {
        PortError::terminal("HostKeyChanged", what).with_hint(
            "the host shows another key than the known one: somebody may be in between; if it was \
             set up anew, put its new key into known_hosts",
        )
    } else if has(&["Host key verification failed", "No matching host key", "host key is known"]) {
        PortError::terminal("HostKeyUnknown", what).with_hint(
            "put the host's key into known_hosts: `ssh-keyscan HOST`, and compare its fingerprint \
             with what the host's administrator says",
        )
    } else if has(&["Permission denied", "Too many authentication failures"]) {
        PortError::terminal("WrongCredentials", what)
            .with_hint("the host accepts none of the keys that ssh offers: see `ssh -v HOST`")
    } else if has(&["Could not resolve hostname"]) {
        PortError::transient("HostUnknown", what)
            .with_hint("the host's name does not resolve: check its spelling and the network")
    } else if has(&["Connection refused", "timed out", "No route to host", "Network is unreach"]) {
        PortError::transient("Unreachable", what)
            .with_hint("no SSH server answers there: check host and port")
    } else if has(&["subsystem request failed"]) {
        PortError::terminal("NoSftp", what).with_hint("the SSH server offers no `sftp` subsystem")
    } else if has(&["Bad configuration option", "not accessible", "bad permissions", "too open"]) {
        PortError::terminal("BadSshSettings", what).with_hint("see what ssh says")
    } else {
        PortError::transient("ConnectionLost", what)
    };
    match said.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => error.with_source(format!("ssh: {}", line.trim().escape_debug())),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_understood() {
        let table = [
            ("Host key verification failed.\r\n", "HostKeyUnknown"),
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nx", "HostKeyChanged"),
            ("u@h: Permission denied (publickey).", "WrongCredentials"),
            ("ssh: Could not resolve hostname nowhere: Name or", "HostUnknown"),
            ("ssh: connect to host h port 1: Connection refused", "Unreachable"),
            ("subsystem request failed on channel 0", "NoSftp"),
            ("", "ConnectionLost"),
        ];
        for (said, reason) in table {
            assert_eq!(explain("cannot", said).reason, reason, "{said}");
        }
    }

    #[test]
    fn a_host_that_looks_like_an_option_is_none() {
        let spec = Spec {
            host: "-oProxyCommand=touch /tmp/owned".to_owned(),
            port: Some(22),
            user: None,
            path: "/srv".to_owned(),
            identity_file: None,
            known_hosts: None,
            config_file: None,
        };
        let command = command(&spec);
        let words: Vec<_> = command.as_std().get_args().collect();
        let dashes = words.iter().position(|word| *word == "--").unwrap();
        assert_eq!(words[dashes + 1], spec.host.as_str());
    }
}
