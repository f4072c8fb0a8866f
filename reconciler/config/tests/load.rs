//! From files to a desired state.
#![allow(clippy::unwrap_used)]

mod support;

use model::desired::{Keep, When};
use support::{QUICKSTART, load_tree, tree};

#[test]
fn the_quickstart_is_understood() {
    let loaded = load_tree(&tree(&[("mainstay.yaml", QUICKSTART)]));
    assert_eq!(loaded.diagnostics, vec![]);
    let desired = loaded.desired.unwrap();
    assert_eq!(desired.documents, 4);
    let address = "shop/uploads".parse().unwrap();
    let resource = &desired.resources[&address];
    let folder = resource.agent.tree.as_ref().unwrap();
    assert_eq!(folder.path, "/srv/uploads");
    assert_eq!(folder.largest_bytes, None);
    assert_eq!(resource.agent.with["path"], "/srv/uploads");
    let backup = &desired.backups[&"shop".parse().unwrap()];
    assert_eq!(backup.schedule.when, When::Every { seconds: 3_600 });
    assert_eq!(backup.resources.iter().collect::<Vec<_>>(), [&address]);
    let retention = backup.retention.as_ref().unwrap();
    assert_eq!((retention.name.as_str(), retention.daily), ("gfs-standard", Keep::Count(7)));
    assert_eq!(desired.origins["backup/shop"].line, 25);
    assert_eq!(desired.origins["resource/shop/uploads"].line, 18);
}

/// The examples of the documentation are one valid configuration together.
#[test]
fn the_documented_examples_are_valid() {
    let text = std::fs::read_to_string(support::top().join("docs/documents.md")).unwrap();
    let examples: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let kinds = examples.iter().flat_map(|e| e.lines()).filter(|l| l.starts_with("kind: "));
    let kinds: std::collections::BTreeSet<&str> = kinds.collect();
    assert_eq!(kinds.len(), mainstay_config::Kind::ALL.len(), "each kind has its example");
    let files = tree(&[("examples.yaml", &examples.join("---\n"))]);
    let loaded = load_tree(&files);
    assert_eq!(mainstay_config::render::text(&loaded.diagnostics, &files), "");
    assert_eq!(loaded.desired.unwrap().recoveries.len(), 1);
}

#[test]
fn what_comes_with_the_program_is_valid_and_names_itself() {
    let loaded = load_tree(&tree(&[]));
    assert_eq!(loaded.diagnostics, vec![]);
    let names: Vec<String> = loaded
        .documents
        .iter()
        .filter(|d| d.builtin && d.kind != mainstay_config::Kind::AgentTemplate)
        .map(|d| d.name.clone())
        .collect();
    for name in ["gfs-standard", "keep-last-5", "hourly-48", "nightly"] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
    let documents = std::fs::read_to_string(support::top().join("docs/documents.md")).unwrap();
    for name in names {
        assert!(documents.contains(&format!("`{name}`")), "{name} is not documented");
    }
}
