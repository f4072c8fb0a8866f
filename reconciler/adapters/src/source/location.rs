//! Where a git repository lies: a checked URL or path without credentials. Parsed for the git
//! source.

use std::fmt;

use model::error::PortError;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A path or a `file://` URL.
    Local,
    /// `https://`, or `http://` to this machine.
    Https,
    /// `ssh://` or `user@host:path`.
    Ssh,
}

/// A place of a git repository; safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    text: String,
    pub(super) reach: Reach,
    /// Host and port of an SSH location.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The port of sshd where none is named.
const SSH_PORT: u16 = 22;

impl Location {
    /// Checks a location: an absolute path, `file://`, `https://`, `ssh://` or `user@host:path`.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let make = |reach, host: &str, port| {
            Ok(Self { text: text.to_owned(), reach, host: host.to_owned(), port })
        };
        if text.starts_with('/') || text.starts_with("file:///") {
            return make(Reach::Local, "", 0);
        }
        if let Some(rest) = text.strip_prefix("https://") {
            refuse_credentials(rest)?;
            return make(Reach::Https, authority(rest), 0);
        }
        if let Some(rest) = text.strip_prefix("http://") {
            refuse_credentials(rest)?;
            let host = authority(rest).rsplit_once(':').map_or(authority(rest), |(host, _)| host);
            if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
                return make(Reach::Https, host, 0);
            }
            return Err(bad("plain http lets anybody on the way change what is protected")
                .with_hint("use https:// or ssh://"));
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            let authority = authority(rest);
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            if user.contains(':') {
                return Err(password());
            }
            let (host, port) = split_port(host)?;
            return make(Reach::Ssh, host, port);
        }
        match text.split_once(':') {
            Some((before, path))
                if before.contains('@') && !before.contains('/') && !path.starts_with("//") =>
            {
                let host = before.rsplit_once('@').map_or(before, |(_, host)| host);
                make(Reach::Ssh, host, SSH_PORT)
            }
            _ => Err(bad("it is neither an absolute path nor a URL that is known")
                .with_hint("use /path, file://, https://, ssh:// or user@host:path")),
        }
    }

    /// Returns it as git wants it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

fn split_port(host: &str) -> Result<(&str, u16), PortError> {
    if let Some(inner) = host.strip_prefix('[') {
        let (address, after) =
            inner.split_once(']').ok_or_else(|| bad("a `[` of its host is not closed"))?;
        return Ok((address, parse_port(after.strip_prefix(':'))?));
    }
    match host.split_once(':') {
        Some((host, port)) => Ok((host, parse_port(Some(port))?)),
        None => Ok((host, SSH_PORT)),
    }
}

fn parse_port(port: Option<&str>) -> Result<u16, PortError> {
    match port {
        None | Some("") => Ok(SSH_PORT),
        Some(text) => text.parse().map_err(|_| bad("its port is no number")),
    }
}

fn refuse_credentials(rest: &str) -> Result<(), PortError> {
    if authority(rest).contains('@') { Err(password()) } else { Ok(()) }
}

/// The text itself is left out: it may hold a password.
fn bad(why: &str) -> PortError {
    PortError::terminal("BadLocation", format!("the git location cannot be used: {why}"))
}

fn password() -> PortError {
    PortError::terminal("CredentialsInUrl", "the git location carries credentials")
        .with_hint("take them out and name a secret with the token instead")
}
