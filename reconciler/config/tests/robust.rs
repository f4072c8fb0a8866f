//! Whatever the bytes are, reading them ends, says something or yields a state, and says the same
//! again.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use mainstay_config::render;
use proptest::collection::vec;
use proptest::prelude::*;
use support::{QUICKSTART, Tree, load_tree, tree};

/// Loads and prints in every way, twice; the two must agree.
fn survives(tree: &Tree) {
    let print = || {
        let loaded = load_tree(tree);
        assert_eq!(
            loaded.desired.is_none(),
            loaded.diagnostics.iter().any(|d| d.severity == model::diagnostic::Severity::Error)
        );
        [
            render::text(&loaded.diagnostics, tree),
            render::json(&loaded.diagnostics),
            render::sarif(&loaded.diagnostics),
            render::junit(&loaded.diagnostics, tree),
            render::github(&loaded.diagnostics),
        ]
    };
    assert_eq!(print(), print());
}

/// All valid documents there are: the base, a template, and one of each other kind.
fn seed() -> Vec<u8> {
    let mut seed = QUICKSTART.as_bytes().to_vec();
    seed.extend(std::fs::read(support::top().join("templates/directory.yaml")).unwrap());
    seed.extend(b"\n---\napiVersion: mainstay.dev/v1\nkind: Recovery\nmetadata: { name: r }\nspec: &s { resource: shop/uploads, token: a, point: { at: 2026-01-01T00:00:00Z } }\n");
    seed.extend(b"---\napiVersion: mainstay.dev/v1\nkind: Hold\nmetadata: { name: h }\nspec: { scope: all, owner: o, reason: r }\n");
    seed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..400)) {
        survives(&[("a.yaml".to_owned(), bytes)].into());
    }

    #[test]
    fn arbitrary_yaml(text in "[-:{}\\[\\]&*!|>'\"%@`#, \\n\\ta-c0-9~<?]{0,120}") {
        survives(&tree(&[("a.yaml", &text)]));
    }

    #[test]
    fn mutated_documents(edits in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6)) {
        let mut bytes = seed();
        for (at, byte, how) in edits {
            let index = at.index(bytes.len());
            match how {
                0 => bytes[index] = byte,
                1 if bytes.len() > 1 => { bytes.remove(index); }
                1 | 2 => bytes.insert(index, b"\n:{}[]&*!|>-\"' "[usize::from(byte) % 15]),
                _ => bytes.truncate(index.max(1)),
            }
        }
        survives(&[("a.yaml".to_owned(), bytes)].into());
    }
}

#[test]
fn nothing_is_valid_and_asks_for_nothing() {
    let loaded = load_tree(&Tree::new());
    assert_eq!(loaded.diagnostics, vec![]);
    assert_eq!(loaded.desired.unwrap().documents, 0);
}

#[test]
fn files_of_other_tools_are_left_alone() {
    let loaded = load_tree(&tree(&[
        ("mainstay.yaml", QUICKSTART),
        (".github/workflows/ci.yaml", "on: push\n"),
        (".gitlab-ci.yml", "a: [\n"),
        ("README.md", "# nothing"),
        ("empty.yaml", "# only a comment\n---\n...\n"),
    ]));
    assert_eq!(loaded.diagnostics, vec![]);
    let loaded = load_tree(&tree(&[(".mainstay/a.yaml", QUICKSTART)]));
    assert_eq!(loaded.desired.unwrap().documents, 4);
}

#[test]
fn where_documents_lie_does_not_matter() {
    let whole = load_tree(&tree(&[("a.yaml", QUICKSTART)])).desired.unwrap();
    let mut parts: Vec<&str> = QUICKSTART.split("---\n").collect();
    parts.reverse();
    let files: Vec<(String, Vec<u8>)> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| (format!("folder/{i}.yml"), part.replace('\n', "\r\n").into_bytes()))
        .collect();
    let scattered = load_tree(&files.into_iter().collect()).desired.unwrap();
    assert_eq!(whole.digest(), scattered.digest());
}

#[test]
fn quotes_around_booleans_and_numbers_are_asked_for() {
    let text = "apiVersion: mainstay.dev/v1\nkind: Host\nmetadata: { name: a, labels: { a: true, \
                b: 1, c: null, d: \"no\" } }\nspec: { connection: local }\n";
    assert_eq!(
        support::codes(text),
        ["3:35 type-mismatch", "3:44 type-mismatch", "3:47 value-missing"]
    );
}

#[test]
fn many_documents_are_quick() {
    const DOCUMENTS: usize = 3_500;
    let mut files = tree(&[("base.yaml", QUICKSTART)]);
    for n in 0..DOCUMENTS {
        let text = format!(
            "apiVersion: mainstay.dev/v1\nkind: Application\nmetadata: {{ name: app-{n} \
             }}\nspec:\n  resources:\n    - name: files\n      type: directory\n      target: \
             host/here\n      with: {{ path: /srv/app-{n} }}\n      dependsOn: [shop/uploads]\n"
        );
        files.insert(format!("apps/{n}.yaml"), text.into_bytes());
    }
    let backup = "apiVersion: mainstay.dev/v1\nkind: Backup\nmetadata: { name: all }\nspec: { \
                  select: { all: true }, retention: gfs-standard }\n";
    files.insert("backup.yaml".to_owned(), backup.as_bytes().to_vec());
    let begun = Instant::now();
    let loaded = load_tree(&files);
    let took = begun.elapsed();
    println!("{DOCUMENTS} documents took {took:?}");
    assert_eq!(loaded.diagnostics, vec![]);
    assert_eq!(loaded.desired.unwrap().resources.len(), DOCUMENTS + 1);
    // Unoptimised and on a busy machine; what it must catch is a square in the number of documents.
    assert!(took.as_secs() < 60, "{took:?}");
}
