//! The one error shape that crosses a port; every adapter returns it, the runtime acts on its
//! class.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClass {
    /// May pass by itself: try again with backoff.
    Transient,
    /// Somebody else must finish or allow something first: look again later, without a fault.
    Waiting,
    /// Will not pass by itself: a person or a new commit must change something.
    Terminal,
    /// The caller asked to stop.
    Cancelled,
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Waiting => "waiting",
            Self::Terminal => "terminal",
            Self::Cancelled => "cancelled",
        })
    }
}

/// An error from an outside system: class, stable reason word, what happened, how to mend it.
///
/// `Display` is a lowercase fragment that never repeats its source.
#[derive(Debug)]
pub struct PortError {
    /// What a caller can do about it.
    pub class: ErrorClass,
    /// A stable word for programs and metrics, in CamelCase: `WrongPassword`, `DiskFull`.
    pub reason: &'static str,
    /// What happened, without secrets.
    pub message: String,
    /// How to mend it, where that is known.
    pub hint: Option<String>,
    /// How long the other side asked to be left alone before the next try.
    pub retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// Returns an error of the given class.
    pub fn new(class: ErrorClass, reason: &'static str, message: impl Into<String>) -> Self {
        Self { class, reason, message: message.into(), hint: None, retry_after: None, source: None }
    }

    /// Returns an error that may pass by itself.
    pub fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, reason, message)
    }

    /// Returns an error that waits for somebody else.
    pub fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Waiting, reason, message)
    }

    /// Returns an error that will not pass by itself.
    pub fn terminal(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Terminal, reason, message)
    }

    /// Returns the error of work that was asked to stop.
    pub fn cancelled() -> Self {
        Self::new(ErrorClass::Cancelled, "Cancelled", "stopped as asked")
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds how long the other side asked to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the message with all its causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
