//! Reads the tree: which files belong to it, and each Rust file as a [`Source`].

use crate::tokens::{Function, Token, lex};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One Rust file of the tree.
pub struct Source {
    /// Path from the top of the tree, with forward slashes.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    pub functions: Vec<Function>,
    /// Modules that this file declares for tests only, as paths without extension.
    test_modules: Vec<String>,
    /// True for files that are compiled into tests, examples and benches alone.
    pub is_test: bool,
}

impl Source {
    /// Reads `text` as the file `path`.
    pub fn parse(path: &str, text: &str) -> Self {
        let lexed = lex(text).unwrap_or_else(|why| panic!("{path}: not Rust: {why}"));
        let folder = module_folder(path);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: lexed.tokens,
            functions: lexed.functions,
            test_modules: lexed
                .test_modules
                .into_iter()
                .map(|name| format!("{folder}/{name}"))
                .collect(),
            is_test: !is_production(path),
        }
    }

    /// The workspace crate whose production code this file belongs to, by folder name.
    pub fn crate_name(&self) -> Option<&str> {
        let mut parts = self.path.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("reconciler"), Some(name), Some("src")) if !self.is_test => Some(name),
            _ => None,
        }
    }

    /// The lines on which `pattern` stands in code that is not for tests alone.
    pub fn lines_with(&self, pattern: &str) -> Vec<usize> {
        if self.is_test { Vec::new() } else { find(&self.tokens, pattern, false) }
    }

    /// The lines on which `pattern` stands, in tests too.
    pub fn lines_with_in_tests_too(&self, pattern: &str) -> Vec<usize> {
        find(&self.tokens, pattern, true)
    }
}

fn find(tokens: &[Token], pattern: &str, tests_too: bool) -> Vec<usize> {
    let wanted = words(pattern);
    tokens
        .windows(wanted.len())
        .filter(|window| tests_too || !window[0].in_test)
        .filter(|window| window.iter().zip(&wanted).all(|(token, word)| token.text == *word))
        .map(|window| window[0].line)
        .collect()
}

/// Splits a pattern such as `env::var` or `#[ignore` as tokens are split.
fn words(pattern: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let word_bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_bytes.max(first.len_utf8()));
        words.push(word);
        rest = after;
    }
    assert!(!words.is_empty(), "an empty pattern is everywhere");
    words
}

/// The folder in which the modules declared by the file `path` lie.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    }
}

/// Production code is what lies in a crate's `src`; the end-to-end member is tests throughout.
fn is_production(path: &str) -> bool {
    path.starts_with("reconciler/") && path.split('/').nth(2) == Some("src")
}

/// The top folder of the tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace")
}

/// Every file that git tracks, or would on the next `git add`, from the top of the tree.
pub fn files() -> &'static [PathBuf] {
    static FILES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FILES.get_or_init(|| {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(root())
            .output()
            .expect("git is installed (tests/run installs it)");
        let said = String::from_utf8_lossy(&listed.stderr);
        assert!(listed.status.success(), "the tidy test lists the tree with git: {said}");
        let names = String::from_utf8(listed.stdout).expect("file names of the tree are UTF-8");
        // A file that is deleted but not yet staged is still listed; it has nothing to check.
        names
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| root().join(path).symlink_metadata().is_ok_and(|m| m.is_file()))
            .collect()
    })
}

/// Every Rust file of the tree.
pub fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(root().join(path)).expect("a Rust file is UTF-8");
            Source::parse(path.to_str().expect("listed as UTF-8"), &text)
        };
        let is_rust = |path: &&PathBuf| path.extension().is_some_and(|ext| ext == "rs");
        mark_test_modules(files().iter().filter(is_rust).map(read).collect())
    })
}

/// Marks the files that are reached only through `#[cfg(test)] mod name;`.
pub fn mark_test_modules(mut sources: Vec<Source>) -> Vec<Source> {
    let declared: Vec<String> = sources.iter().flat_map(|s| s.test_modules.clone()).collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        source.is_test |= declared.iter().any(|test_module| {
            module == test_module || module.starts_with(&format!("{test_module}/"))
        });
    }
    sources
}

#[test]
fn test_code_is_told_from_production_code() {
    let sources = mark_test_modules(vec![
        Source::parse("reconciler/plan/src/lib.rs", "mod graph; #[cfg(test)] mod checks;"),
        Source::parse("reconciler/plan/src/graph.rs", "#[cfg(test)] mod tests;"),
        Source::parse("reconciler/plan/src/graph/tests.rs", "mod deep;"),
        Source::parse("reconciler/plan/src/graph/tests/deep.rs", ""),
        Source::parse("reconciler/plan/src/checks.rs", ""),
        Source::parse("reconciler/plan/tests/whole.rs", ""),
    ]);
    let tests: Vec<bool> = sources.iter().map(|source| source.is_test).collect();
    assert_eq!(tests, [false, false, true, true, true, true]);
}
