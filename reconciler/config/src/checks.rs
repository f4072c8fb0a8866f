//! Asks whether the configuration makes sense as a whole: what no single document can say.

use model::diagnostic::Diagnostic;

use crate::lower::Lowered;
use crate::source::Document;

/// Adds what does not fit together.
pub fn check(_lowered: &Lowered, _documents: &[Document], _found: &mut Vec<Diagnostic>) {}
