//! Commands that only read documents: init, validate in all its shapes, graph, schema, templates.

use mainstay_tests::mainstay::World;

#[test]
fn what_init_writes_is_valid() {
    let world = World::new();
    world.run(&["init", "fresh"]).ends(0).says("mainstay.yaml");
    world.run(&["validate", "fresh"]).ends(0);
    // A second time it refuses and changes nothing.
    world.run(&["init", "fresh"]).ends(1).says("exists");
}

#[test]
fn findings_come_in_every_shape() {
    let world = World::with_folder();
    let broken = world.documents().replace("repositories: [local]", "repositories: [lokal]");
    world.document("mainstay.yaml", &broken);
    let text = world.run(&["validate"]).ends(1);
    text.says("lokal").says("did you mean").says("mainstay.yaml:");
    let json = world.run(&["validate", "--output", "json"]).ends(1).json();
    assert!(json["diagnostics"].as_array().is_some_and(|d| !d.is_empty()), "{json}");
    let sarif = world.run(&["validate", "--output", "sarif"]).ends(1).json();
    assert_eq!(sarif["version"], "2.1.0");
    world.run(&["validate", "--output", "junit"]).ends(1).says("<testsuite");
    world.run(&["validate", "--output", "github"]).ends(1).says("::error file=");
}

#[test]
fn the_graph_is_drawn() {
    let world = World::with_folder();
    world.run(&["graph"]).ends(0).says("shop/uploads");
    world.run(&["graph", "--as", "dot"]).ends(0).says("digraph");
    world.run(&["graph", "--as", "mermaid"]).ends(0).says("graph");
}

#[test]
fn built_in_documents_are_shown() {
    let world = World::new();
    world.run(&["schema"]).ends(0).says("Backup");
    world.run(&["schema", "Backup"]).ends(0).says("\"$schema\"");
    world.run(&["templates", "list"]).ends(0).says("postgres").says("sqlite");
    world.run(&["templates", "show", "directory"]).ends(0).says("kind: AgentTemplate");
    world.run(&["version"]).ends(0).says("mainstay ");
    world.run(&["completions", "bash"]).ends(0).says("mainstay");
}

#[test]
fn wrong_usage_is_64() {
    let world = World::new();
    world.run(&["plan", "--no-such-option"]).ends(64);
    world.run(&["restore"]).ends(64);
    world.run(&["backup", "not-an-address"]).ends(64);
}

#[test]
fn every_example_is_valid() {
    let world = World::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        world.run(&["validate", path.to_str().unwrap()]).ends(0).says("0 errors, 0 warnings");
        seen += 1;
    }
    assert!(seen >= 5, "examples are there");
}

#[test]
fn a_type_of_ones_own_is_backed_up_and_brought_back() {
    let world = World::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/own-type");
    let example = std::fs::canonicalize(example).unwrap().display().to_string();
    let read = |name: &str| std::fs::read_to_string(format!("{example}/{name}")).unwrap();
    let top = world.top();
    let documents = read("mainstay.yaml")
        .replace("/var/backups/mainstay", &format!("{top}/backups"))
        .replace("/srv/desk/notes.txt", &format!("{top}/data/notes.txt"));
    world.document("mainstay.yaml", &documents);
    let template = read("notes-template.yaml");
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/templates.md");
    assert!(std::fs::read_to_string(guide).unwrap().contains(&template), "the guide shows it");
    let tool = format!("{example}/notesctl");
    world.document("notes-template.yaml", &template.replace("/usr/local/bin/notesctl", &tool));
    world.commit("protect the notes");
    world.write("data/notes.txt", "milk\nbread\n");
    world.run(&["apply"]).ends(0);
    std::fs::remove_file(world.path("data/notes.txt")).unwrap();
    assert_eq!(world.condition("desk/notes"), "lost");
    world.run(&["apply"]).ends(0);
    assert_eq!(world.read("data/notes.txt"), "milk\nbread\n");
    assert_eq!(world.condition("desk/notes"), "healthy");
    world.judge();
}
