//! AgentTemplates: [`Library`] compiles and checks each once; [`Template::render`] makes the typed
//! commands of one resource of it. Called by `lower`.

mod check;
pub mod engine;
pub mod parameters;
mod render;

use std::collections::BTreeMap;

use minijinja::Environment;
use model::diagnostic::Diagnostic;
use model::digest::Digest;
use model::id::Name;

use crate::diagnostics::Place;
use crate::documents::AgentTemplateSpec;
use crate::source::Document;
use crate::spans::Node;

pub use render::{Rendered, Where};

/// One AgentTemplate, ready to render.
pub struct Template<'d> {
    name: Name,
    spec: &'d AgentTemplateSpec,
    digest: Digest,
    file: &'d str,
    root: &'d Node,
    env: Environment<'static>,
    /// It was found wrong, so rendering it would only repeat that.
    broken: bool,
}

impl<'d> Template<'d> {
    /// Compiles and checks a template, and adds what is wrong with it.
    pub(crate) fn compile(
        document: &'d Document,
        name: Name,
        spec: &'d AgentTemplateSpec,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut template = Self {
            name,
            spec,
            digest: document.digest.clone().unwrap_or_else(|| Digest::from("")),
            file: &document.file,
            root: &document.root,
            env: engine::environment(),
            broken: false,
        };
        let before = found.len();
        check::check(&mut template, found);
        let is_error = |d: &Diagnostic| d.severity == model::diagnostic::Severity::Error;
        template.broken = found[before..].iter().any(is_error);
        template
    }

    fn place(&self, pointer: &str) -> Place {
        Place::new(self.file, self.root.find(&format!("/spec{pointer}"), false))
    }

    fn place_key(&self, pointer: &str) -> Place {
        Place::new(self.file, self.root.find(&format!("/spec{pointer}"), true))
    }

    /// Returns the names of the parameters.
    pub fn parameter_names(&self) -> Vec<&str> {
        self.spec.parameters.keys().map(String::as_str).collect()
    }
}

/// The templates that a configuration can use, by name.
pub type Library<'d> = BTreeMap<String, Template<'d>>;
