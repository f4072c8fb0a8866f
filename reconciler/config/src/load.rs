//! From the bytes of a commit to its desired state and all that is wrong with it: the one entry.

use std::collections::BTreeMap;

use model::desired::Desired;
use model::diagnostic::{Diagnostic, Origin, Severity};
use model::id::CommitId;

use crate::documents::Kind;
use crate::source::Sources;
use crate::{checks, lower, source};

/// Most diagnostics that are kept; nobody reads more, and a hostile tree could ask for millions.
pub const DIAGNOSTICS_MAX: usize = 10_000;

/// What a commit says.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The desired state; `None` when a diagnostic is an error, because what is only partly
    /// understood must not be acted on.
    pub desired: Option<Desired>,
    /// What is wrong, by file, line and column.
    pub diagnostics: Vec<Diagnostic>,
    /// Every document whose kind was understood, by kind and name.
    pub documents: Vec<DocumentSummary>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentSummary {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where its name is written; files of documents that come with the program begin with
    /// `builtin:`.
    pub origin: Origin,
    /// It comes with the program.
    pub builtin: bool,
    /// For a document that comes with the program: the config repository has one of the same kind
    /// and name, which is used instead. For one of the config repository: it takes the place of
    /// one that comes with the program.
    pub overrides: bool,
}

/// Reads a commit: `tree` from path to bytes, and the documents that come with the program, which
/// are there by name unless the tree has its own of that kind and name.
///
/// Nothing outside the arguments is looked at, and the order of files does not matter.
pub fn load(
    tree: &BTreeMap<String, Vec<u8>>,
    builtin: &BTreeMap<String, Vec<u8>>,
    commit: CommitId,
) -> Loaded {
    let Sources { documents, mut diagnostics } = source::read(tree, builtin);
    let (lowered, found) = lower::lower(&documents, commit);
    diagnostics.extend(found);
    checks::check(&lowered, &documents, &mut diagnostics);
    diagnostics.iter_mut().for_each(defuse);
    diagnostics.sort();
    diagnostics.dedup();
    diagnostics.truncate(DIAGNOSTICS_MAX);
    let wrong = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Loaded {
        desired: (!wrong).then_some(lowered.desired),
        diagnostics,
        documents: summaries(&documents),
    }
}

/// Replaces what a terminal or a log would obey in texts that quote the configuration.
fn defuse(diagnostic: &mut Diagnostic) {
    for text in [&mut diagnostic.message, &mut diagnostic.help] {
        if text.contains(|c: char| c.is_control()) {
            *text = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        }
    }
}

fn summaries(documents: &[source::Document]) -> Vec<DocumentSummary> {
    let mut owners: BTreeMap<(Kind, &str), [bool; 2]> = BTreeMap::new();
    for document in documents {
        let key = (document.kind, document.name.as_str());
        owners.entry(key).or_default()[usize::from(document.builtin)] = true;
    }
    let summary = |document: &source::Document| DocumentSummary {
        kind: document.kind,
        name: document.name.clone(),
        origin: document.place_name().origin,
        builtin: document.builtin,
        overrides: owners.get(&(document.kind, document.name.as_str())) == Some(&[true, true]),
    };
    let mut summaries: Vec<DocumentSummary> = documents.iter().map(summary).collect();
    summaries.sort();
    summaries
}
