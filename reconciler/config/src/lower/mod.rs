//! Makes the desired state of the documents: names are resolved, defaults filled in, texts read,
//! templates rendered. Called by `load`; nothing here stops at the first mistake.

mod applications;
mod backups;
mod erasures;
mod places;
mod recoveries;
mod selection;
mod storage;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use model::desired::Desired;
use model::diagnostic::Diagnostic;
use model::id::{Address, CommitId, Name};

use crate::diagnostics::{self as d, Place};
use crate::documents::{Kind, Spec};
use crate::source::Document;
use crate::spans;
use crate::template::{Library, Template};

/// What the documents say, as far as it holds, and what checks need to know of how it was written.
pub struct Lowered {
    /// The desired state.
    pub desired: Desired,
    /// Where the resources are written.
    pub written: BTreeMap<Address, Written>,
    /// Applications and resources that exist and could not be read: nothing is said of what refers
    /// to them.
    pub broken: Broken,
}

/// Where a resource is written, and what of it the desired state does not hold.
pub struct Written {
    /// The document.
    pub document: usize,
    /// The pointer of the resource in it.
    pub pointer: String,
    /// What its copies must be, beyond their number.
    pub copies: crate::documents::CopiesSpec,
}

/// What exists and could not be read.
#[derive(Default)]
pub struct Broken {
    /// Resources.
    pub resources: BTreeSet<(String, String)>,
    /// Documents.
    pub documents: BTreeSet<(Kind, String)>,
    /// Backups whose retention could not be read.
    pub retention: BTreeSet<Name>,
}

impl Broken {
    /// Returns whether a resource exists and could not be read.
    pub fn has(&self, address: &Address) -> bool {
        let key = (address.application.as_str().to_owned(), address.resource.as_str().to_owned());
        self.resources.contains(&key)
    }
}

/// A value in a document.
#[derive(Clone)]
pub struct At<'d> {
    /// The document.
    pub document: &'d Document,
    /// The pointer of the value.
    pub pointer: String,
}

impl<'d> At<'d> {
    /// Returns the `spec` of a document.
    pub fn spec(document: &'d Document) -> Self {
        Self { document, pointer: "/spec".to_owned() }
    }

    /// Returns a field of the value.
    pub fn at(&self, key: &str) -> Self {
        let pointer = format!("{}/{}", self.pointer, spans::escape(key));
        Self { document: self.document, pointer }
    }

    /// Returns an item of the value.
    pub fn item(&self, index: usize) -> Self {
        Self { document: self.document, pointer: format!("{}/{index}", self.pointer) }
    }

    /// Returns where the value is.
    pub fn place(&self) -> Place {
        self.document.place(&self.pointer)
    }

    /// Returns where its key is.
    pub fn place_key(&self) -> Place {
        self.document.place_key(&self.pointer)
    }

    /// Returns the last part of its path, for messages.
    pub fn name(&self) -> String {
        crate::explain::human(&self.pointer)
    }
}

/// The documents by kind and name, and what was found so far.
pub struct Lowering<'d> {
    documents: &'d [Document],
    index: BTreeMap<(Kind, &'d str), usize>,
    templates: Library<'d>,
    lowered: Lowered,
    found: Vec<Diagnostic>,
}

/// Makes the desired state.
pub fn lower(documents: &[Document], commit: CommitId) -> (Lowered, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let index = index(documents, &mut found);
    let mut desired = Desired::empty(commit);
    desired.documents = documents.iter().filter(|document| !document.builtin).count() as u64;
    let lowered = Lowered { desired, written: BTreeMap::new(), broken: Broken::default() };
    let mut lowering = Lowering { documents, index, templates: Library::new(), lowered, found };
    lowering.broken();
    lowering.templates();
    // What is referred to comes before what refers to it.
    for kind in [
        Kind::Host,
        Kind::Repository,
        Kind::Application,
        Kind::Schedule,
        Kind::RetentionPolicy,
        Kind::Backup,
        Kind::Trigger,
        Kind::Recovery,
        Kind::RecoveryPolicy,
        Kind::Guardrail,
        Kind::Hold,
        Kind::Erasure,
    ] {
        lowering.kind(kind);
    }
    (lowering.lowered, lowering.found)
}

/// Finds documents by kind and name; the config repository's own come before those of the program.
fn index<'d>(
    documents: &'d [Document],
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<(Kind, &'d str), usize> {
    let mut index = BTreeMap::new();
    for (number, document) in documents.iter().enumerate() {
        let key = (document.kind, document.name.as_str());
        let Some(&first) = index.get(&key) else {
            index.insert(key, number);
            continue;
        };
        let first: &Document = &documents[first];
        if document.builtin || document.name.is_empty() {
            continue;
        }
        let diagnostic =
            d::name_duplicate(document.place_name(), document.kind.as_str(), &document.name);
        found.push(d::related(diagnostic, first.place_name(), "the other one"));
    }
    index
}

impl<'d> Lowering<'d> {
    /// Lowers the documents of a kind, in the order of their names.
    fn kind(&mut self, kind: Kind) {
        let of_kind = |(key, &number): (&(Kind, &str), &usize)| (key.0 == kind).then_some(number);
        let numbers: Vec<usize> = self.index.iter().filter_map(of_kind).collect();
        for number in numbers {
            match kind {
                Kind::Host => self.host(number),
                Kind::Repository => self.repository(number),
                Kind::Application => self.application(number),
                Kind::Schedule | Kind::RetentionPolicy => self.policy_document(number),
                Kind::Backup => self.backup(number),
                Kind::Trigger => self.trigger(number),
                Kind::Recovery => self.recovery(number),
                Kind::RecoveryPolicy => self.recovery_policy(number),
                Kind::Guardrail => self.guardrail(number),
                Kind::Hold => self.hold(number),
                Kind::Erasure => self.erasure(number),
                // Templates are compiled before everything else.
                Kind::AgentTemplate => {}
            }
        }
    }

    /// Remembers what exists and could not be read.
    fn broken(&mut self) {
        for (&(kind, name), &number) in &self.index {
            let document = &self.documents[number];
            if document.spec.is_none() {
                self.lowered.broken.documents.insert((kind, name.to_owned()));
                for resource in &document.resources_broken {
                    let key = (name.to_owned(), resource.clone());
                    self.lowered.broken.resources.insert(key);
                }
            }
        }
    }

    fn templates(&mut self) {
        for (&(kind, text), &number) in &self.index {
            let document: &'d Document = &self.documents[number];
            if kind != Kind::AgentTemplate {
                continue;
            }
            let Some(Spec::AgentTemplate(spec)) = &document.spec else { continue };
            let Some(name) = text::name(document.place_name(), text, &mut self.found) else {
                continue;
            };
            let template = Template::compile(document, name, spec, &mut self.found);
            self.templates.insert(text.to_owned(), template);
        }
    }

    /// Returns a document's name and records where it is.
    fn claim(&mut self, document: &'d Document) -> Option<Name> {
        let name = text::name(document.place_name(), &document.name, &mut self.found)?;
        let key = format!("{}/{name}", document.kind.as_str().to_lowercase());
        self.lowered.desired.origins.insert(key, document.place_name().origin);
        Some(name)
    }

    /// Returns the document of a kind that a text names, or says that there is none. A document
    /// that could not be read is silently `None`.
    fn document(&mut self, kind: Kind, name: &str, at: Place) -> Option<&'d Document> {
        if let Some(&number) = self.index.get(&(kind, name)) {
            return Some(&self.documents[number]);
        }
        let known = self.names(kind);
        self.found.push(d::reference_unknown(at, kind.as_str(), name, &known));
        None
    }

    /// Returns the names of the documents of a kind.
    fn names(&self, kind: Kind) -> Vec<&'d str> {
        self.index.keys().filter(|key| key.0 == kind).map(|key| key.1).collect()
    }
}
