//! The formats for machines, on one configuration with errors and odd characters.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use mainstay_config::render;
use model::diagnostic::Diagnostic;
use support::{QUICKSTART, Tree, golden, load_tree, tree};

fn findings() -> (Vec<Diagnostic>, Tree) {
    let odd = "apiVersion: mainstay.dev/v1\nkind: Host\nmetadata: { name: here }\nspec: { \
               \"<a&b>: %0A,::error\\e[31m\": 1, connection: local }\n";
    let unprotected = QUICKSTART.replace("application: shop", "types: [sqlite, directory]");
    let unprotected = unprotected.replace("retention", "retenton");
    let files = tree(&[("a b/mainstay.yaml", &unprotected), ("odd,file.yaml", odd)]);
    (load_tree(&files).diagnostics, files)
}

fn check(name: &str, text: &str) {
    golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name), text);
}

#[test]
fn json() {
    let (found, _) = findings();
    let text = render::json(&found);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["version"], render::JSON_VERSION);
    assert_eq!(value["diagnostics"].as_array().unwrap().len(), found.len());
    check("found.json", &text);
}

#[test]
fn sarif() {
    let (found, _) = findings();
    let text = render::sarif(&found);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["runs"][0]["results"].as_array().unwrap().len(), found.len());
    check("found.sarif", &text);
}

#[test]
fn junit() {
    let (found, files) = findings();
    let text = render::junit(&found, &files);
    assert!(!text.contains('\u{1b}'));
    check("found.xml", &text);
}

#[test]
fn github() {
    let (found, _) = findings();
    let text = render::github(&found);
    assert!(
        text.lines().all(|line| line.starts_with("::error ") || line.starts_with("::warning "))
    );
    assert_eq!(text.lines().count(), found.len());
    check("found.github.txt", &text);
}
