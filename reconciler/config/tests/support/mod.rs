//! Trees of files for tests, and the documents that come with the program.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_config::{Loaded, load};
use model::id::CommitId;

pub type Tree = BTreeMap<String, Vec<u8>>;

/// Returns the top of the workspace.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the files below a folder, by their path from `from`.
pub fn files(from: &Path, folder: &Path) -> Tree {
    let mut tree = Tree::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.extend(files(from, &path));
        } else {
            let name = path.strip_prefix(from).unwrap().to_str().unwrap().to_owned();
            tree.insert(name, std::fs::read(&path).unwrap());
        }
    }
    tree
}

/// Returns the documents that come with the program.
pub fn builtin() -> Tree {
    let top = top();
    let mut tree = files(&top, &top.join("templates"));
    tree.extend(files(&top, &top.join("policies")));
    tree
}

pub fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

pub fn load_tree(tree: &Tree) -> Loaded {
    load(tree, &builtin(), CommitId::from("worktree"))
}

/// Loads one file and returns its diagnostics as `line:column code`.
pub fn codes(text: &str) -> Vec<String> {
    let loaded = load_tree(&tree(&[("mainstay.yaml", text)]));
    loaded
        .diagnostics
        .iter()
        .map(|d| format!("{}:{} {}", d.origin.line, d.origin.column, d.code))
        .collect()
}

/// A small configuration in which nothing is wrong.
pub const QUICKSTART: &str = "\
apiVersion: mainstay.dev/v1
kind: Host
metadata: { name: here }
spec: { connection: local }
---
apiVersion: mainstay.dev/v1
kind: Repository
metadata: { name: local }
spec:
  storage: { local: { path: /var/lib/backups/local } }
  password: { secret: repository-password }
---
apiVersion: mainstay.dev/v1
kind: Application
metadata: { name: shop }
spec:
  resources:
    - name: uploads
      type: directory
      target: host/here
      with: { path: /srv/uploads }
---
apiVersion: mainstay.dev/v1
kind: Backup
metadata: { name: shop }
spec:
  select: { application: shop }
  schedule: \"@every 1h\"
  repositories: [local]
  retention: gfs-standard
";

/// Compares a text with a golden file, or writes it when `UPDATE_GOLDEN` is set.
pub fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        text,
        want,
        "{} differs; write it anew with UPDATE_GOLDEN=1 cargo test -p mainstay-config",
        path.display(),
    );
}
