//! A folder is backed up, lost in several ways, and brought back.

use std::fs;

use mainstay_tests::mainstay::World;

#[test]
fn a_lost_folder_comes_back_as_it_was() {
    let world = World::with_folder();
    world.run(&["plan"]).ends(2).says("backup");
    world.run(&["apply"]).ends(0);
    world.run(&["plan"]).ends(0);
    assert_eq!(world.condition("shop/uploads"), "healthy");
    world.judge();

    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    assert_eq!(world.condition("shop/uploads"), "lost");
    // Nothing is there, so nothing can be overwritten: no approval is needed.
    world.run(&["plan"]).ends(2).says("restore");
    world.run(&["apply"]).ends(0);
    for n in 0..20 {
        let name = format!("data/uploads/file-{n:02}.txt");
        assert_eq!(world.read(&name), format!("content of {n}\n"));
    }
    assert_eq!(world.condition("shop/uploads"), "healthy");
    world.run(&["plan"]).ends(0);
    world.judge();
}

#[test]
fn a_second_run_does_nothing_twice() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let before = world.points();
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), before);
}

#[test]
fn an_emptied_folder_is_lost_and_never_a_good_empty_backup() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    fs::create_dir(world.path("data/uploads")).unwrap();
    assert_eq!(world.condition("shop/uploads"), "lost");
    let steps = world.steps();
    assert!(steps.iter().all(|s| !s.starts_with("backup/")), "no backup of nothing: {steps:?}");
    world.run(&["apply"]);
    let digest = world.plan().pointer("/plan/destructive").cloned();
    if let Some(digest) = digest.and_then(|d| d.as_str().map(str::to_owned)) {
        world.run(&["apply", "--approve", &digest]).ends(0);
    }
    assert_eq!(world.read("data/uploads/file-07.txt"), "content of 7\n");
}

#[test]
fn a_point_that_shrank_is_kept_but_suspicious() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    for n in 1..20 {
        fs::remove_file(world.path(&format!("data/uploads/file-{n:02}.txt"))).unwrap();
    }
    world.run(&["backup", "shop/uploads"]).ends(0).says("suspicious");
    assert_eq!(world.points(), 2);
    world.run(&["status"]).says("suspicious");
    let steps = world.steps();
    assert!(steps.iter().all(|s| !s.starts_with("expire/")), "expiry waits: {steps:?}");
}

#[test]
fn a_recovery_document_restores_into_another_folder_once() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let top = world.top();
    world.document(
        "recovery.yaml",
        &format!(
            "apiVersion: mainstay.dev/v1\nkind: Recovery\nmetadata: {{ name: look }}\nspec:\n  \
             resource: shop/uploads\n  into: {{ with: {{ path: \"{top}/data/copy\" }} }}\n  \
             token: first\n"
        ),
    );
    world.commit("look at the backup");
    world.run(&["apply"]).ends(0);
    assert_eq!(world.read("data/copy/file-03.txt"), "content of 3\n");
    // Once per token: what a person does with the copy is theirs.
    fs::remove_dir_all(world.path("data/copy")).unwrap();
    world.run(&["apply"]).ends(0);
    assert!(!world.path("data/copy").exists());
    // Not even when our memory is gone.
    fs::remove_dir_all(world.path("state")).unwrap();
    world.run(&["apply"]);
    assert!(!world.path("data/copy").exists());
}

#[test]
fn a_trigger_is_served_once() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.document(
        "trigger.yaml",
        "apiVersion: mainstay.dev/v1\nkind: Trigger\nmetadata: { name: now }\nspec:\n  backup: \
         shop\n  token: before-the-upgrade\n",
    );
    world.commit("back up now");
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 2);
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 2);
}

#[test]
fn an_unreadable_file_makes_the_run_partial_by_name() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_folder();
    let file = world.path("data/uploads/file-05.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    // Root reads everything, so another user runs this one.
    let nobody = ["65534", "65534"];
    let status = std::process::Command::new("chown")
        .args(["-R", &nobody.join(":")])
        .arg(world.path(""))
        .status()
        .unwrap();
    assert!(status.success());
    let run = world.run_as(65534, &["apply"]);
    run.ends(1).says("PARTIAL").says("file-05.txt");
    world.judge();
}

#[test]
fn an_unmounted_repository_is_never_made_anew() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    fs::rename(world.path("backups"), world.path("backups-elsewhere")).unwrap();
    let steps = world.steps();
    assert!(steps.iter().all(|s| !s.starts_with("init/")), "no fresh start: {steps:?}");
    world.run(&["apply"]);
    assert!(!world.path("backups/config").exists());
    fs::remove_dir_all(world.path("backups")).ok();
    fs::rename(world.path("backups-elsewhere"), world.path("backups")).unwrap();
    world.run(&["plan"]).ends(0);
}

#[test]
fn removing_documents_deletes_nothing() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.run(&["backup", "shop/uploads"]).ends(0);
    let before = world.restic(&["snapshots", "--json"]);
    fs::remove_file(world.path("config/mainstay.yaml")).unwrap();
    world.document("README.md", "nothing is protected\n");
    world.commit("an empty tree");
    world.run(&["apply"]);
    assert_eq!(world.restic(&["snapshots", "--json"]), before);
}

#[test]
fn the_same_plan_twice_and_from_another_place() {
    let world = World::with_folder();
    let first = world.plan();
    let second = world.run_with(&["plan", "--format", "json"], "TZ", "Pacific/Auckland").json();
    let strip = |plan: &serde_json::Value| {
        let mut steps = plan.pointer("/plan/steps").unwrap().clone();
        for step in steps.as_array_mut().unwrap() {
            step["waits"] = serde_json::Value::Null;
        }
        steps
    };
    assert_eq!(strip(&first), strip(&second));
}
