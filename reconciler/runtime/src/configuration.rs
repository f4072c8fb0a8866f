//! A fetched tree to a desired state: the one place where the rule stands that a configuration with
//! an error in it is not used at all. Called by the pass and by commands that need no pass.

use std::collections::BTreeMap;

use model::desired::Desired;
use model::diagnostic::{Diagnostic, Severity};
use model::ports::source::ConfigTree;

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What it asks for.
    pub desired: Desired,
    /// Warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the commit came from.
    pub reference: String,
}

/// Loads a tree; `builtin` are the documents that come with the program.
///
/// # Errors
/// Everything that is wrong, and the files, to show the lines.
pub fn load(
    tree: ConfigTree,
    builtin: &BTreeMap<String, Vec<u8>>,
) -> Result<Configuration, (Vec<Diagnostic>, Box<ConfigTree>)> {
    let loaded = config::load(&tree.files, builtin, tree.commit.clone());
    let failed = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    match loaded.desired {
        Some(desired) if !failed => Ok(Configuration {
            desired,
            diagnostics: loaded.diagnostics,
            reference: tree.reference,
        }),
        _ => Err((loaded.diagnostics, Box::new(tree))),
    }
}
