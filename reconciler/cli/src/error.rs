//! The one error of the command line: what happened, how to mend it, with which code it ends.

use model::diagnostic::Diagnostic;
use model::error::PortError;
use model::ports::source::ConfigTree;
use operations::ApplyError;
use operations::recovery::EndError;
use runtime::PassError;

use crate::exit::Exit;

/// An error on its way to the terminal.
#[derive(Debug)]
pub struct CliError {
    /// What happened, with its causes.
    pub message: String,
    /// How to mend it.
    pub hints: Vec<String>,
    /// Findings in the configuration, with the files.
    pub diagnostics: Option<(Vec<Diagnostic>, Box<ConfigTree>)>,
    /// The code.
    pub exit: Exit,
}

impl CliError {
    /// Returns an error with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), diagnostics: None, exit: Exit::Error }
    }

    /// Returns an error of wrong arguments.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// Returns an error that is a defect of Mainstay.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(message).hint("this is a defect: please report it")
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<PortError> for CliError {
    fn from(error: PortError) -> Self {
        let mut out = Self::new(error.chain());
        out.hints.extend(error.hint.clone());
        out
    }
}

impl From<PassError> for CliError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Fetch(cause) => {
                let mut out =
                    Self::new(format!("the configuration could not be read: {}", cause.chain()));
                out.hints.extend(cause.hint.clone());
                out
            }
            PassError::Invalid { diagnostics, tree } => Self {
                diagnostics: Some((diagnostics, tree)),
                ..Self::new("the configuration is not valid")
            },
            PassError::State(cause) => {
                let mut out = Self::new(format!("the state could not be used: {}", cause.chain()));
                out.hints.extend(cause.hint.clone());
                out
            }
        }
    }
}

impl From<ApplyError> for CliError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Pass(error) => error.into(),
            ApplyError::Port(error) => error.into(),
            ApplyError::Stale(_) => {
                Self::new(error.to_string()).hint("make a new plan with `mainstay plan`")
            }
            ApplyError::Declined => Self::new(error.to_string()),
        }
    }
}

impl From<EndError> for CliError {
    fn from(error: EndError) -> Self {
        match error {
            EndError::Pass(error) => error.into(),
            EndError::Port(error) => error.into(),
            EndError::None(_) => {
                Self::new(error.to_string()).hint("`mainstay status` names those that wait")
            }
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
