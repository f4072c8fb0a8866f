//! No secret is ever written anywhere: state, journal, plans, logs, repositories, error texts.

use std::fs;
use std::path::Path;

use mainstay_tests::mainstay::{PASSWORD, World};

fn search(folder: &Path, skip: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path == skip {
            continue;
        }
        if path.is_dir() {
            search(&path, skip, found);
        } else {
            let content = fs::read(&path).unwrap();
            let content = zstd_or_plain(&content);
            if content.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

/// Journal segments are frames of compressed records; `zstd -d` would need whole frames, so the
/// product's own `history` is what is searched for them, below.
fn zstd_or_plain(content: &[u8]) -> Vec<u8> {
    content.to_vec()
}

#[test]
fn the_password_is_nowhere() {
    let world = World::with_folder();
    world.run(&["plan", "--out", world.path("plan.json").to_str().unwrap()]).ends(2);
    let mut said = String::new();
    for words in [
        vec!["-vvv", "apply"],
        vec!["-vvv", "backup", "shop/uploads"],
        vec!["-vvv", "status"],
        vec!["history", "--format", "json"],
        vec!["explain", "shop/uploads"],
    ] {
        let run = world.run(&words);
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    }
    // A wrong password, and a missing one, must not print what was tried.
    world.secret("repository-password", &format!("{PASSWORD}-wrong"));
    let wrong = world.run(&["-vvv", "status"]);
    said.push_str(&wrong.stdout);
    said.push_str(&wrong.stderr);
    assert!(said.contains("password"), "the runs said something: {said}");
    assert!(!said.contains(PASSWORD), "a secret was printed");
    let mut found = Vec::new();
    search(world.path("").as_path(), &world.path("secrets"), &mut found);
    assert!(found.is_empty(), "a secret was written: {found:?}");
}
