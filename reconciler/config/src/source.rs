//! Cuts files into documents and reads each one's head. Called by `load`; after it, every document
//! has a kind, a name, a tree of spans and, where its structure holds, a typed `spec`.

use std::collections::BTreeMap;

use model::diagnostic::{Diagnostic, Origin};
use model::digest::Digest;
use serde_json::Value;

use crate::diagnostics::{self as d, Place};
use crate::documents::{
    API_GROUP, API_VERSION, KINDS_ELSEWHERE, KINDS_LATER, Kind, Metadata, Spec,
};
use crate::spans::{self, Flaw, Node, Spot};
use crate::{explain, schema};

/// Largest file. A hundred thousand lines of YAML are about this much.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// Largest document. A thousand resources are about 300 KiB.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Most documents in a tree: several times the largest fleet that the design speaks of.
pub const DOCUMENTS_MAX: usize = 200_000;

/// A document whose kind and name are known.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub file: String,
    /// The kind.
    pub kind: Kind,
    /// The name as written; empty when it has none.
    pub name: String,
    /// Labels of the metadata.
    pub labels: BTreeMap<String, String>,
    /// Where everything is.
    pub root: Node,
    /// The `spec`; `None` when its structure does not hold, which was then said.
    pub spec: Option<Spec>,
    /// Digest of the `spec` as written, for templates.
    pub digest: Option<Digest>,
    /// Names of the resources of an Application whose structure does not hold.
    pub resources_broken: Vec<String>,
    /// It comes with the program.
    pub builtin: bool,
}

impl Document {
    /// Returns where a JSON pointer's value is.
    pub fn place(&self, pointer: &str) -> Place {
        Place::new(&self.file, self.root.find(pointer, false))
    }

    /// Returns where a JSON pointer's key is.
    pub fn place_key(&self, pointer: &str) -> Place {
        Place::new(&self.file, self.root.find(pointer, true))
    }

    /// Returns where the document's name is.
    pub fn place_name(&self) -> Place {
        self.place("/metadata/name")
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Sources {
    /// The documents, in the order of their files and lines; those of the program last.
    pub documents: Vec<Document>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// Threads that read files. A number, not the machine's count of cores, because that would have to
/// be asked from the environment; the result is the same with any.
const READERS: usize = 4;

/// Files below which one thread reads all: starting others would take longer.
const FILES_ALONE: usize = 64;

/// A file to read: the path as it is shown, its bytes, and whether it comes with the program.
type File<'f> = (String, &'f [u8], bool);

/// Reads the files of a config repository and those that come with the program.
pub fn read(tree: &BTreeMap<String, Vec<u8>>, builtin: &BTreeMap<String, Vec<u8>>) -> Sources {
    let own = tree.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice(), false));
    let builtin = builtin
        .iter()
        .map(|(path, bytes)| (format!("{}{path}", d::BUILTIN_PREFIX), bytes.as_slice(), true));
    let files: Vec<File<'_>> = own.chain(builtin).filter(|(path, ..)| is_yaml(path)).collect();
    if files.len() < FILES_ALONE {
        return read_files(&files);
    }
    let parts = std::thread::scope(|scope| {
        let readers: Vec<_> = files
            .chunks(files.len().div_ceil(READERS))
            .map(|part| scope.spawn(move || read_files(part)))
            .collect();
        let join = |reader: std::thread::ScopedJoinHandle<'_, Sources>| {
            // A panic goes on in this thread, as it would have without the others.
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        readers.into_iter().map(join).collect::<Vec<Sources>>()
    });
    let mut sources = Sources::default();
    for part in parts {
        sources.documents.extend(part.documents);
        sources.diagnostics.extend(part.diagnostics);
    }
    if let Some(extra) = sources.documents.get(DOCUMENTS_MAX) {
        sources.diagnostics.push(d::documents_too_many(extra.place(""), DOCUMENTS_MAX));
        sources.documents.truncate(DOCUMENTS_MAX);
    }
    sources
}

fn read_files(files: &[File<'_>]) -> Sources {
    let mut sources = Sources::default();
    for (path, bytes, builtin) in files {
        read_file(path, bytes, *builtin, &mut sources);
    }
    sources
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

/// Returns whether a path is one that other tools own: CI definitions, editor settings.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

fn read_file(path: &str, bytes: &[u8], builtin: bool, sources: &mut Sources) {
    if is_hidden(path) && !mentions_group(bytes) {
        return;
    }
    let top = Place::new(path, Spot { line: 1, column: 1, width: 1 });
    if bytes.len() > FILE_BYTES_MAX {
        sources.diagnostics.push(d::file_too_large(top, bytes.len(), FILE_BYTES_MAX));
        return;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let place = Place::new(path, Spot { line, column: 1, width: 1 });
            sources.diagnostics.push(d::file_not_utf8(place));
            return;
        }
    };
    for (line, chunk) in chunks(text) {
        if sources.documents.len() >= DOCUMENTS_MAX {
            sources.diagnostics.push(d::documents_too_many(top, DOCUMENTS_MAX));
            return;
        }
        let place = Place::new(path, Spot { line, column: 1, width: 1 });
        if chunk.len() > DOCUMENT_BYTES_MAX {
            sources.diagnostics.push(d::document_too_large(place, chunk.len(), DOCUMENT_BYTES_MAX));
        } else {
            read_document(path, line, chunk, builtin, sources);
        }
    }
}

/// Returns whether a file speaks of our documents at all; what counts for files that other tools
/// own.
fn mentions_group(bytes: &[u8]) -> bool {
    let group = API_GROUP.as_bytes();
    bytes.windows(group.len()).any(|window| window == group)
}

/// Cuts a file into documents: a line that begins with `---` or `...` is a border wherever it
/// stands (YAML forbids such a line even in block texts), so that a mistake in one document leaves
/// the others readable. Returns each with the number of its first line.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut line_first) = (0, 1);
    let (mut offset, mut line) = (0, 1u32);
    for part in text.split_inclusive('\n') {
        if is_border(part, "---") {
            chunks.push((line_first, &text[start..offset]));
            (start, line_first) = (offset, line);
        } else if is_border(part, "...") {
            chunks.push((line_first, &text[start..offset]));
            (start, line_first) = (offset + part.len(), line + 1);
        }
        offset += part.len();
        line += 1;
    }
    chunks.push((line_first, &text[start..]));
    chunks.retain(|(_, chunk)| chunk.lines().any(is_content));
    chunks
}

fn is_border(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Returns whether a line is more than a border, a comment, a directive or nothing.
fn is_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim_start();
    !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
}

fn read_document(file: &str, line: u32, chunk: &str, builtin: bool, sources: &mut Sources) {
    let parsed = spans::parse(chunk, line);
    let fatal = parsed.flaws.iter().any(|(_, flaw)| flaw.is_fatal());
    for (spot, flaw) in &parsed.flaws {
        sources.diagnostics.push(d::flaw(Place::new(file, *spot), file, flaw));
    }
    let Some(root) = parsed.root.filter(|_| !fatal) else { return };
    let value: Value = match serde_yaml::from_str(chunk) {
        Ok(value) => value,
        Err(error) => {
            let place = match error.location() {
                Some(at) => Place::new(
                    file,
                    Spot {
                        line: line + u32::try_from(at.line()).unwrap_or(1).saturating_sub(1),
                        column: u32::try_from(at.column()).unwrap_or(1),
                        width: 1,
                    },
                ),
                None => Place::new(file, root.spot),
            };
            sources.diagnostics.push(d::yaml_syntax(place, &error.to_string()));
            return;
        }
    };
    let loose: Vec<Origin> = parsed
        .flaws
        .iter()
        .filter(|(_, flaw)| matches!(flaw, Flaw::Boolean(_)))
        .map(|(spot, _)| Place::new(file, *spot).origin)
        .collect();
    let Some(kind) = head(file, &root, &value, &mut sources.diagnostics) else { return };
    let document = body(file, kind, root, value, builtin, &loose, &mut sources.diagnostics);
    sources.documents.push(document);
}

/// Reads `apiVersion` and `kind`.
fn head(file: &str, root: &Node, value: &Value, found: &mut Vec<Diagnostic>) -> Option<Kind> {
    let place = |pointer: &str| Place::new(file, root.find(pointer, false));
    let Some(version) = value.get("apiVersion").and_then(Value::as_str) else {
        found.push(d::document_foreign(place("")));
        return None;
    };
    if !version.starts_with(API_GROUP) {
        found.push(d::document_foreign(place("/apiVersion")));
        return None;
    }
    if version != API_VERSION {
        found.push(d::api_version_unknown(place("/apiVersion"), version));
        return None;
    }
    let Some(text) = value.get("kind").and_then(Value::as_str) else {
        found.push(d::kind_missing(place("/kind")));
        return None;
    };
    if let Some(kind) = Kind::parse(text) {
        return Some(kind);
    }
    if KINDS_LATER.contains(&text) {
        found.push(d::kind_not_yet(place("/kind"), text));
        return None;
    }
    let elsewhere =
        KINDS_ELSEWHERE.iter().find(|(theirs, _)| *theirs == text).map(|(_, ours)| *ours);
    let ours = Kind::ALL.iter().map(|kind| kind.as_str());
    let near = elsewhere.or_else(|| d::nearest(text, ours));
    found.push(d::kind_unknown(place("/kind"), text, near));
    None
}

/// Holds the document against its schema and reads its `spec`.
fn body(
    file: &str,
    kind: Kind,
    root: Node,
    mut value: Value,
    builtin: bool,
    loose: &[Origin],
    found: &mut Vec<Diagnostic>,
) -> Document {
    let before = found.len();
    let valid = schema::is_valid(kind, &value);
    if !valid {
        explain::explain(kind, file, &root, &value, found);
        // What is a loose boolean was said to be one already; that it has the wrong type follows.
        let mut index = 0;
        found.retain(|diagnostic| {
            index += 1;
            index <= before || !loose.contains(&diagnostic.origin)
        });
    }
    let metadata: Metadata = value
        .get_mut("metadata")
        .map(Value::take)
        .and_then(|metadata| serde_json::from_value(metadata).ok())
        .unwrap_or_default();
    let spec = value.get_mut("spec").map(Value::take);
    let mut document = Document {
        file: file.to_owned(),
        kind,
        name: metadata.name,
        labels: metadata.labels,
        root,
        spec: None,
        digest: None,
        resources_broken: Vec::new(),
        builtin,
    };
    let spec = spec.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !valid {
        document.resources_broken = resource_names(&spec);
        return document;
    }
    document.digest = (kind == Kind::AgentTemplate).then(|| Digest::of("agent-template", &spec));
    match kind.read(spec) {
        Ok(spec) => document.spec = Some(spec),
        // The schema comes from the same types, so this is a value that only one of them can
        // refuse.
        Err(error) => {
            found.push(d::document_shape(document.place_key("/spec"), &error.to_string()))
        }
    }
    document
}

/// Returns the names of resources in a `spec` that could not be read, so that references to them
/// are not reported as well.
fn resource_names(spec: &Value) -> Vec<String> {
    let resources = spec.get("resources").and_then(Value::as_array);
    let names = resources.into_iter().flatten().filter_map(|r| r.get("name")?.as_str());
    names.map(str::to_owned).collect()
}
