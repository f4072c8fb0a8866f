//! Commands that ask: bundles taken along, what-if questions, retention, the runbook whose commands
//! bring data back with nothing but restic.

use std::fs;

use mainstay_tests::mainstay::{PASSWORD, World};
use serde_json::Value;

/// A world with a folder and a database, protected and proven.
fn protected() -> World {
    let world = World::new();
    for n in 0..5 {
        world.write(&format!("data/uploads/file {n}.txt"), &format!("content of {n}\n"));
    }
    sql(&world, "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT);");
    sql(&world, "INSERT INTO orders (what) VALUES ('tea'), ('milk');");
    let top = world.top();
    let database = format!(
        "    - name: orders\n      type: sqlite\n      target: host/here\n      with: {{ path: \
         \"{top}/data/orders.db\" }}\n"
    );
    let backup = "---\napiVersion: mainstay.dev/v1\nkind: Backup";
    let documents = world.documents().replace(backup, &format!("{database}{backup}"));
    let documents = documents.replace("@every 168h", "@every 1h");
    world.document("mainstay.yaml", &documents);
    world.commit("protect a folder and a database");
    world.run(&["apply"]).ends(0);
    world
}

fn sql(world: &World, statement: &str) -> String {
    let output = mainstay_tests::sqlite()
        .command()
        .arg(world.path("data/orders.db"))
        .arg(statement)
        .output()
        .expect("sqlite can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A plan without what depends on the instant at which it was made.
fn timeless(plan: &Value) -> Value {
    let mut plan = plan.clone();
    for field in ["id", "at", "observed"] {
        plan["plan"][field] = Value::Null;
    }
    for step in plan["plan"]["steps"].as_array_mut().expect("steps") {
        // A loss is counted up to the instant of planning.
        if let Some(seconds) = step.pointer_mut("/loss/seconds") {
            *seconds = Value::Null;
        }
    }
    for verdict in plan["plan"]["report"]["retention"].as_array_mut().expect("verdicts") {
        verdict["removableAt"] = Value::Null;
    }
    plan
}

#[test]
fn a_bundle_plans_and_answers_where_nothing_else_is() {
    let mut world = protected();
    fs::remove_dir_all(world.path("data/uploads")).expect("a folder");
    let home = world.plan();
    world.run(&["bundle", "-o", "today.bundle"]).ends(0).says("2 resources, 2 points");
    let bytes = fs::read(world.path("today.bundle")).expect("a bundle");
    // On a laptop: no config repository, no state, no secrets.
    for (variable, folder) in [
        ("MAINSTAY_CONFIG", "none"),
        ("MAINSTAY_STATE", "none/state"),
        ("MAINSTAY_SECRETS", "none"),
    ] {
        let folder = world.path(folder).display().to_string();
        world.set(variable, folder);
    }
    let plan = |world: &World| {
        world.run(&["plan", "--from-bundle", "today.bundle", "--format", "json"]).ends(2)
    };
    let (first, second) = (plan(&world), plan(&world));
    assert_eq!(first.stdout, second.stdout, "the same bytes each time");
    assert_eq!(timeless(&first.json()), timeless(&home), "the plan is the one of home");
    assert!(!world.path("none").exists(), "nothing was made");
    let text = zstd_text(&bytes);
    assert!(!text.contains(PASSWORD), "no secret is in the bundle");

    let lose = ["whatif", "lose", "host", "here", "--from-bundle", "today.bundle"];
    let answer = world.run(&lose).ends(0);
    assert!(answer.stdout.contains("2 of 2 come back from proven points"), "{}", answer.stdout);
    world
        .run(&["whatif", "lose", "site", "berlin", "--from-bundle", "today.bundle"])
        .ends(1)
        .says("no document names a site");
    world
        .run(&["whatif", "lose", "key", "repository-password", "--from-bundle", "today.bundle"])
        .ends(2)
        .says("keep the secret `repository-password` in a second place");
    let days = ["whatif", "schedules", "--days", "2", "--from-bundle", "today.bundle"];
    world.run(&days).ends(0).says("96 backups");
    world.run(&["plan", "--from-bundle", "none.bundle"]).ends(1).says("cannot read none.bundle");
    fs::write(world.path("cut.bundle"), &bytes[..bytes.len() / 2]).expect("a file");
    world.run(&["plan", "--from-bundle", "cut.bundle"]).ends(1).says("cut or changed");
}

fn zstd_text(bytes: &[u8]) -> String {
    let text = zstd::decode_all(bytes).expect("zstd");
    String::from_utf8(text).expect("JSON is UTF-8")
}

#[test]
fn what_is_private_does_not_leave_the_house() {
    let world = protected();
    let labelled = world.read("config/mainstay.yaml").replace(
        "metadata: { name: shop }",
        "metadata: { name: shop, labels: { mainstay.dev/private: path } }",
    );
    world.document("mainstay.yaml", &labelled);
    world.commit("keep paths at home");
    world.run(&["bundle", "-o", "today.bundle"]).ends(0).says("values were replaced");
    let text = zstd_text(&fs::read(world.path("today.bundle")).expect("a bundle"));
    assert!(!text.contains("data/uploads") && !text.contains("data/orders.db"));
    world.run(&["plan", "--from-bundle", "today.bundle"]).ends(0).says("digests differ from home");
}

#[test]
fn a_changed_policy_is_compared_with_the_present_one() {
    let world = protected();
    world.run(&["bundle"]).ends(0);
    let changed = world.read("config/mainstay.yaml").replace("@every 1h", "@every 6h");
    world.write("changed/mainstay.yaml", &changed.replace("lost: restore", "lost: hold"));
    let ask = |words: &[&str]| {
        let all = ["whatif", "policy"].iter().chain(words).copied().collect::<Vec<_>>();
        world.run(&all)
    };
    let offline = ["--config", "changed", "--from-bundle", "mainstay.bundle"];
    ask(&offline).ends(0).says("the plans do not differ");
    ask(&["changed"]).ends(0).says("the plans do not differ");
    // What is not committed yet, beside what is.
    world.document(
        "more.yaml",
        &format!(
            "apiVersion: mainstay.dev/v1\nkind: Application\nmetadata: {{ name: more }}\nspec:\n  \
             resources:\n    - {{ name: files, type: directory, target: host/here, with: {{ path: \
             \"{}/secrets\" }} }}\n---\napiVersion: mainstay.dev/v1\nkind: Backup\nmetadata: {{ \
             name: more }}\nspec: {{ select: {{ application: more }}, schedule: \"@every 1h\", \
             repositories: [local] }}\n",
            world.top()
        ),
    );
    let answer = ask(&[]).ends(2);
    assert!(answer.stdout.contains("more/files: now protected"), "{}", answer.stdout);
    assert!(answer.stdout.contains("[backup/more/files/local]"), "{}", answer.stdout);
    ask(&["--from-bundle", "mainstay.bundle"]).ends(2).says("more/files is not in the bundle");
    world.write("changed/mainstay.yaml", "kind: nonsense\n");
    ask(&["changed"]).ends(1).says("the changed documents are not valid");
}

#[test]
fn retention_plays_out_without_any_world() {
    let world = World::new();
    let simulate = |words: &[&str]| {
        let all = ["retention", "simulate"].iter().chain(words).copied().collect::<Vec<_>>();
        world.run(&all)
    };
    let from = ["--from", "2026-01-01T00:00:00Z"];
    let answer = simulate(&["gfs-standard", "--years", "2", from[0], from[1]]).ends(0);
    assert!(answer.stdout.contains("730 backups"), "{}", answer.stdout);
    assert!(answer.stdout.contains("keeps the same points after every backup"));
    let json = simulate(&[
        "{hourly: 6}",
        "--schedule",
        "@every 1h",
        "--tz",
        "Europe/Berlin",
        "--years",
        "1",
        from[0],
        from[1],
        "--format",
        "json",
    ])
    .ends(0)
    .json();
    assert!(json["simulation"]["restic"]["differs"].as_u64() > Some(0), "the autumn night");
    simulate(&["no-such-policy"]).ends(1).says("no-such-policy");
    simulate(&["gfs-standard", "--tz", "Mars/Olympus"]).ends(64).says("is no time zone");
    simulate(&["{daily: many}"]).ends(1);
}

#[test]
fn the_runbook_brings_everything_back_with_nothing_but_restic() {
    let world = protected();
    world.run(&["runbook", "-o", "runbook.md"]).ends(0);
    world.run(&["runbook", "--check", "runbook.md"]).ends(0);
    let page = world.read("runbook.md");
    assert!(!page.contains(PASSWORD), "passwords are named, never told");
    for paper in ["html", "text"] {
        let file = format!("runbook.{paper}");
        world.run(&["runbook", "--as", paper, "-o", &file]).ends(0);
        world.run(&["runbook", "--check", &file]).ends(0);
    }
    // The disaster: the data and our own state are gone.
    fs::remove_dir_all(world.path("data")).expect("a folder");
    fs::remove_dir_all(world.path("state")).expect("a folder");
    fs::create_dir(world.path("data")).expect("a folder");
    world.follow(&page);
    for n in 0..5 {
        assert_eq!(world.read(&format!("data/uploads/file {n}.txt")), format!("content of {n}\n"));
    }
    assert_eq!(sql(&world, "SELECT group_concat(what) FROM orders"), "tea,milk");

    // Another resource makes it stale.
    let more = world.read("config/mainstay.yaml").replace("name: uploads", "name: pictures");
    world.document("mainstay.yaml", &more);
    world.commit("rename");
    world.run(&["runbook", "--check", "runbook.md"]).ends(2).says("has changed since");
}

#[test]
fn a_scenario_is_compared_and_written() {
    let world = World::new();
    let page = "# A page\n\nIt plans.\n\n```scenario\n> config world.yaml\n> steps\n```\n";
    world.write("page.md", page);
    world.write("world.yaml", &world.documents());
    world.run(&["scenario", "run", "page.md"]).ends(1).says("page.md:7: steps");
    assert_eq!(world.read("page.md"), page, "nothing is written without --update");
    world.run(&["scenario", "run", "page.md", "--update"]).ends(0);
    assert!(world.read("page.md").contains("> steps\n  init/local\n"), "{}", world.read("page.md"));
    world.run(&["scenario", "run", "page.md"]).ends(0).says("as written");
    world.run(&["scenario", "run", "none.md"]).ends(1).says("none.md");
}
