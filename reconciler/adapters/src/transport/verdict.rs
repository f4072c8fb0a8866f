//! Reads how a command ended: its exit status, and what it wrote to standard error by the
//! template's rules. Used by everything that waits for a command.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use model::agent::{ErrorRule, ErrorRuleClass};
use model::error::PortError;
use model::ports::secrets::SecretValue;

use crate::fault;

/// What of standard error goes into a message, in bytes; more belongs in a log.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// What stands in the place of a secret.
const REDACTED: &[u8] = b"***";

/// A command that did not end well.
#[derive(Debug)]
pub struct Failed {
    /// The error.
    pub error: PortError,
    /// A rule says: the resource is provably not there.
    pub absent: bool,
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self { error, absent: false }
    }
}

impl From<Failed> for PortError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Takes secrets out of what a command said.
pub(super) fn scrub(mut text: Vec<u8>, secrets: &[SecretValue]) -> Vec<u8> {
    let mut values: Vec<&[u8]> =
        secrets.iter().map(SecretValue::expose).filter(|value| !value.is_empty()).collect();
    // The longest first: one value may be the begin of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values {
        let mut clean = Vec::with_capacity(text.len());
        let mut rest = text.as_slice();
        while let Some(at) = rest.windows(value.len()).position(|window| window == value) {
            clean.extend_from_slice(&rest[..at]);
            clean.extend_from_slice(REDACTED);
            rest = &rest[at + value.len()..];
        }
        clean.extend_from_slice(rest);
        text = clean;
    }
    text
}

/// Returns the error of a command that ended badly, by the first rule that fits what it said.
pub(super) fn failed(
    program: &str,
    status: ExitStatus,
    stderr: &[u8],
    rules: &[ErrorRule],
) -> Failed {
    let said = String::from_utf8_lossy(stderr);
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("`{program}` ended with status {code}"),
        (None, Some(signal)) => format!("`{program}` was ended by signal {signal}"),
        (None, None) => format!("`{program}` ended in an unknown way"),
    };
    let said_end = end_of(said.trim());
    let message = if said_end.is_empty() { how } else { format!("{how}: {said_end}") };
    let Some(rule) = rules.iter().find(|rule| said.contains(&rule.contains)) else {
        return PortError::transient("CommandFailed", message).into();
    };
    let reason = fault::word(&rule.reason);
    let error = match rule.class {
        ErrorRuleClass::Transient => PortError::transient(reason, message),
        ErrorRuleClass::Waiting => PortError::waiting(reason, message),
        ErrorRuleClass::Terminal | ErrorRuleClass::Absent => PortError::terminal(reason, message),
    };
    let error = if rule.hint.is_empty() { error } else { error.with_hint(rule.hint.clone()) };
    Failed { error, absent: rule.class == ErrorRuleClass::Absent }
}

fn end_of(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
