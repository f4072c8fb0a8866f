//! Asks whether the configuration makes sense as a whole: what no single document can say.

mod dependencies;
mod promises;
mod storage;

use model::diagnostic::Diagnostic;
use model::id::Address;

use crate::documents::{ResourceSpec, Spec};
use crate::lower::{At, Lowered};
use crate::source::Document;

/// Adds what does not fit together.
pub fn check(lowered: &Lowered, documents: &[Document], found: &mut Vec<Diagnostic>) {
    let whole = Whole { lowered, documents };
    dependencies::check(&whole, found);
    storage::check(&whole, found);
    promises::check(&whole, found);
}

/// The configuration and how it is written.
struct Whole<'a> {
    lowered: &'a Lowered,
    documents: &'a [Document],
}

impl<'a> Whole<'a> {
    /// Returns how a resource is written, and where.
    fn written(&self, address: &Address) -> Option<(&'a ResourceSpec, At<'a>)> {
        let written = self.lowered.written.get(address)?;
        let document = &self.documents[written.document];
        let Some(Spec::Application(application)) = &document.spec else { return None };
        let index: usize = written.pointer.rsplit('/').next()?.parse().ok()?;
        let resource = application.resources.get(index)?;
        Some((resource, At { document, pointer: written.pointer.clone() }))
    }
}
