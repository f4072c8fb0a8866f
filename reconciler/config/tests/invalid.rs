//! The corpus of invalid documents: one mistake a file, each with what is said of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mainstay_config::diagnostics::CODES;
use mainstay_config::render;
use support::{Tree, files, golden, load_tree, top};

/// The design asks for this many at least.
const FILES_MIN: usize = 60;

/// Codes of trees larger than a repository should hold, and the one for what the other codes
/// forgot.
const NOT_IN_CORPUS: [&str; 4] =
    ["documents-too-many", "document-too-large", "file-too-large", "document-shape"];

fn corpus() -> PathBuf {
    top().join("tests/invalid")
}

fn base() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/base.yaml")).unwrap()
}

/// Returns the entries of the corpus as name and tree.
fn entries() -> Vec<(String, Tree)> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            entries.push((name, files(&path, &path)));
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let bytes = std::fs::read(&path).unwrap();
            let mut tree = Tree::new();
            if !bytes.starts_with(b"# alone\n") {
                tree.insert("base.yaml".to_owned(), base());
            }
            tree.insert(format!("{name}.yaml"), bytes);
            entries.push((name, tree));
        }
    }
    entries.sort();
    entries
}

#[test]
fn the_base_is_valid() {
    let loaded = load_tree(&[("base.yaml".to_owned(), base())].into());
    assert_eq!(render::text(&loaded.diagnostics, &Tree::new()), "");
}

#[test]
fn every_mistake_is_explained() {
    let entries = entries();
    assert!(entries.len() >= FILES_MIN);
    for (name, tree) in entries {
        let loaded = load_tree(&tree);
        assert!(!loaded.diagnostics.is_empty(), "{name} is not invalid");
        golden(&corpus().join(format!("{name}.txt")), &render::text(&loaded.diagnostics, &tree));
    }
}

#[test]
fn every_code_occurs() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (_, tree) in entries() {
        seen.extend(load_tree(&tree).diagnostics.into_iter().map(|d| d.code));
    }
    seen.extend(NOT_IN_CORPUS.map(str::to_owned));
    let missing: Vec<&str> =
        CODES.iter().map(|code| code.code).filter(|code| !seen.contains(*code)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn no_secret_is_repeated() {
    for (name, tree) in entries() {
        let diagnostics = load_tree(&tree).diagnostics;
        for output in [
            render::text(&diagnostics, &tree),
            render::json(&diagnostics),
            render::sarif(&diagnostics),
            render::junit(&diagnostics, &tree),
            render::github(&diagnostics),
        ] {
            assert!(!output.contains("hunter2"), "{name}: {output}");
        }
    }
}
