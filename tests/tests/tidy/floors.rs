//! The floors of the house: which crate may know which, and what each must never contain.

use crate::hold;
use crate::repo::{Source, root, sources};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

/// Every crate by folder, and the crates of this workspace that it may depend on.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("config", &["model"]),
    ("plan", &["model"]),
    ("mover", &["model"]),
    ("repository", &["model", "mover"]),
    ("adapters", &["model", "config", "mover", "repository"]),
    ("runtime", &["model", "config", "plan"]),
    ("operations", &["model", "config", "plan", "runtime"]),
    ("server", &["model", "operations", "runtime"]),
    (
        "cli",
        &[
            "model",
            "config",
            "plan",
            "mover",
            "repository",
            "adapters",
            "runtime",
            "operations",
            "server",
        ],
    ),
    ("testkit", &["model", "plan", "runtime", "operations"]),
    ("tests", &["model"]),
];

/// What any crate may use in its tests beyond its floor.
const FOR_TESTS_ONLY: &[&str] = &["tests", "testkit"];

/// Crates that must not be below a crate of ours, not even through another.
const NEVER_BELOW: &[(&str, &[&str])] = &[
    ("model", &["tokio", "git2", "rusqlite"]),
    ("config", &["tokio", "git2", "rusqlite"]),
    ("plan", &["tokio", "git2", "rusqlite"]),
    ("mover", &["tokio", "git2", "rusqlite", "axum"]),
    ("repository", &["tokio", "git2", "rusqlite"]),
    ("runtime", &["git2", "rusqlite", "axum"]),
    ("operations", &["git2", "rusqlite", "axum", "clap"]),
    ("server", &["git2", "rusqlite", "clap"]),
    ("testkit", &["git2", "rusqlite", "axum", "clap"]),
];

/// The crates that the product is built on. Each does real work in some crate of ours.
const FOUNDATIONS: &[&str] = &[
    "git2",
    "serde",
    "serde_yaml",
    "jsonschema",
    "tokio",
    "petgraph",
    "minijinja",
    "blake3",
    "zstd",
    "tracing",
];

/// A crate with less code than this is an empty room: it names what it will use, and uses nothing.
const BEGUN_TOKENS_MIN: usize = 100;

fn metadata() -> &'static Metadata {
    static METADATA: OnceLock<Metadata> = OnceLock::new();
    METADATA.get_or_init(|| {
        MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec()
            .expect("cargo describes the workspace")
    })
}

/// The folder of a workspace package: the name by which this file speaks of it.
fn folder(package: &Package) -> &str {
    package.manifest_path.parent().and_then(|dir| dir.file_name()).expect("lies in a folder")
}

/// One dependency of a crate of ours on another, by folder.
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    for_tests: bool,
}

fn edges(metadata: &Metadata) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let ours = metadata.packages.iter().find(|other| *other.name == dependency.name);
            let for_tests = dependency.kind == DependencyKind::Development;
            let from = folder(package);
            edges.extend(ours.map(|other| Edge { from, to: folder(other), for_tests }));
        }
    }
    edges
}

#[test]
fn crates_know_only_what_their_floor_allows() {
    hold(
        "move the code to the floor where both sides may be known, or pass what is needed through \
         a port of `model`. A new crate gets its row in `FLOORS`.",
        edges(metadata()).iter().filter_map(breach).collect(),
    );
}

fn breach(edge: &Edge) -> Option<String> {
    let Edge { from, to, for_tests } = edge;
    let (_, below) = FLOORS.iter().find(|(name, _)| name == from)?;
    // The end-to-end suite looks at the product from outside and from within. A crate names itself
    // to open its test doors, which are a feature, to its own integration tests.
    let may_in_tests = FOR_TESTS_ONLY.contains(to) || *from == "tests" || from == to;
    let allowed = below.contains(to) || (*for_tests && may_in_tests);
    let how = if *for_tests { "in its tests" } else { "as a dependency" };
    (!allowed).then(|| format!("`{from}` must not know `{to}` {how}"))
}

#[test]
fn every_crate_has_its_floor() {
    let here: BTreeSet<&str> = metadata().packages.iter().map(folder).collect();
    let listed: BTreeSet<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    let differ = here.symmetric_difference(&listed);
    hold(
        "give the crate its row in `FLOORS`, or take out the row of a crate that is gone.",
        differ
            .map(|name| format!("`{name}` is in only one of `FLOORS` and the workspace"))
            .collect(),
    );
}

#[test]
fn nothing_forbidden_lies_below_a_crate() {
    let mut problems = Vec::new();
    for (name, banned) in NEVER_BELOW {
        let below = all_below(name);
        let found = banned.iter().filter(|banned| below.contains(**banned));
        problems.extend(found.map(|banned| {
            format!("`{name}` contains {banned}: cargo tree -p mainstay-{name} -i {banned}")
        }));
    }
    hold(
        "do that work in `adapters`, behind a port; or turn off the feature that pulls it in.",
        problems,
    );
}

/// The names of all crates that the production code of ours named `name` is built from.
fn all_below(name: &str) -> BTreeSet<String> {
    let listed = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", &format!("mainstay-{name}")])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "cargo tree of {name}: {said}");
    let text = String::from_utf8(listed.stdout).expect("crate names are ASCII");
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(&format!("mainstay-{name}")), "cargo tree of {name} lists itself");
    names
}

#[test]
fn every_foundation_does_real_work() {
    let declared = |foundation: &str| -> Vec<&str> {
        let packages = metadata().packages.iter();
        packages.filter(|package| declares(package, foundation)).map(folder).collect()
    };
    let problems = FOUNDATIONS
        .iter()
        .filter_map(|name| idle_foundation(name, &declared(name), sources()))
        .collect();
    hold("use it for what it does best, in the crate whose job that is.", problems);
}

fn declares(package: &Package, foundation: &str) -> bool {
    package.dependencies.iter().any(|dependency| {
        let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
        name == foundation && dependency.kind == DependencyKind::Normal
    })
}

fn idle_foundation(foundation: &str, declared: &[&str], sources: &[Source]) -> Option<String> {
    if declared.is_empty() {
        return Some(format!("{foundation}: no crate depends on it"));
    }
    let of = |name: &str| -> Vec<&Source> {
        sources.iter().filter(|source| source.crate_name() == Some(name)).collect()
    };
    let uses = |name: &&&str| of(name).iter().any(|s| !s.lines_with(foundation).is_empty());
    let begun = |name: &&&str| {
        of(name).iter().map(|source| source.tokens.len()).sum::<usize>() >= BEGUN_TOKENS_MIN
    };
    let used = declared.iter().any(|name| uses(&name));
    let all_begun = declared.iter().all(|name| begun(&name));
    (!used && all_begun).then(|| format!("{foundation}: declared by {declared:?}, used by none"))
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let without = metadata().packages.iter().filter(|package| {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("cargo read it");
        !manifest.contains("[lints]\nworkspace = true\n")
    });
    hold(
        "add `[lints]` with `workspace = true` to its Cargo.toml.",
        without.map(|package| folder(package).to_owned()).collect(),
    );
}

#[test]
fn each_rule_notices_its_mistake() {
    let edge = |from, to, for_tests| Edge { from, to, for_tests };
    assert!(breach(&edge("runtime", "adapters", false)).is_some());
    assert!(breach(&edge("runtime", "adapters", true)).is_some());
    assert!(breach(&edge("adapters", "plan", false)).is_some());
    assert!(breach(&edge("cli", "tests", false)).is_some());
    assert!(breach(&edge("cli", "tests", true)).is_none());
    assert!(breach(&edge("repository", "mover", false)).is_none());

    let code = "fn a() { zstd::encode_all(b, 3); }".repeat(20);
    let repository = |text: &str| vec![Source::parse("reconciler/repository/src/a.rs", text)];
    let idle = |sources: &[Source]| idle_foundation("zstd", &["repository"], sources);
    assert!(idle(&repository(&code)).is_none());
    assert!(idle(&repository(&code.replace("zstd", "lz4"))).is_some());
    assert!(idle(&repository("")).is_none(), "a crate that has not begun");
    assert!(idle_foundation("zstd", &[], &repository(&code)).is_some());
    assert!(all_below("adapters").contains("git2"), "what is below is really seen");
}
