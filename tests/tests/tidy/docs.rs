//! The guides keep pace with the tree.

use crate::hold;
use crate::repo::{files, root};
use std::path::{Path, PathBuf};

#[test]
fn the_guides_mention_every_crate() {
    let text = |path: &PathBuf| std::fs::read_to_string(root().join(path)).expect("UTF-8 text");
    let is_guide = |path: &&PathBuf| {
        path.starts_with("docs") && path.extension().is_some_and(|ext| ext == "md")
    };
    let guides: String = files().iter().filter(is_guide).map(text).collect();
    hold(
        "say in docs/ what the crate is for, with its folder's name in backticks.",
        crates().iter().filter_map(|name| unmentioned(name, &guides)).collect(),
    );
}

#[test]
fn the_code_map_mentions_every_crate() {
    let map = Path::new("docs/ARCHITECTURE.md");
    if files().iter().any(|path| path == map) {
        let text = std::fs::read_to_string(root().join(map)).expect("UTF-8 text");
        hold(
            "give the crate its place in the code map of docs/ARCHITECTURE.md.",
            crates().iter().filter_map(|name| unmentioned(name, &text)).collect(),
        );
    }
}

/// The folders under `reconciler/`, each a crate.
fn crates() -> Vec<String> {
    let manifest = |path: &PathBuf| {
        let folder = path.strip_prefix("reconciler").ok()?.parent()?;
        path.ends_with("Cargo.toml").then(|| folder.to_str().expect("UTF-8").to_owned())
    };
    let names: Vec<String> = files().iter().filter_map(manifest).collect();
    assert!(names.contains(&"model".to_owned()), "the crates are found");
    names
}

fn unmentioned(name: &str, guides: &str) -> Option<String> {
    let forms = [format!("`{name}`"), format!("`{name}/"), format!("reconciler/{name}")];
    (!forms.iter().any(|form| guides.contains(form))).then(|| format!("`{name}` is nowhere"))
}

#[test]
fn the_rule_notices_its_mistake() {
    assert!(unmentioned("plan", "the plan is").is_some());
    assert!(unmentioned("plan", "the crate `plan` decides").is_none());
    assert!(unmentioned("plan", "see `reconciler/plan/src`").is_none());
}
