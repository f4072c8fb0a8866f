//! The exit codes of all commands, in one place; documented in `docs/commands.md`.

use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `plan`: nothing to do.
    Success,
    /// It failed, or something was partial.
    Error,
    /// `plan`: there is something to do. `apply`: some steps still wait.
    Changes,
    /// Destructive steps wait for approval.
    Approval,
    /// Something could not be observed.
    Incomplete,
    /// The arguments were wrong.
    Usage,
}

impl Exit {
    /// Returns the number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::Approval => 3,
            Self::Incomplete => 4,
            // Clap's own 2 would read as "changes"; 64 is EX_USAGE of sysexits.h.
            Self::Usage => 64,
        }
    }

    /// Returns the code for a number that an operation gave.
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Success,
            2 => Self::Changes,
            3 => Self::Approval,
            4 => Self::Incomplete,
            _ => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
