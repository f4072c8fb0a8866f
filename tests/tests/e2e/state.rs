//! Our own state is a cache: lost, rolled back, damaged, nothing harmful happens.

use std::fs;
use std::process::Command;

use mainstay_tests::mainstay::World;

#[test]
fn a_lost_state_is_rebuilt_and_deletes_nothing() {
    let world = World::with_folder();
    for _ in 0..5 {
        world.run(&["backup", "shop/uploads"]).ends(0);
    }
    world.run(&["apply"]).ends(0);
    let before = world.points();
    fs::remove_dir_all(world.path("state")).unwrap();
    world.run(&["plan"]).says("accept memory:");
    world.run(&["apply"]);
    assert_eq!(world.points(), before, "no slot is served twice, nothing expires");
    // And the data can be lost at the same time.
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    world.run(&["apply"]);
    assert_eq!(world.read("data/uploads/file-01.txt"), "content of 1\n");
}

#[test]
fn a_disk_that_was_away_when_the_state_was_lost_is_noticed() {
    let world = World::with_folder();
    for _ in 0..5 {
        world.run(&["backup", "shop/uploads"]).ends(0);
    }
    let before = world.points();
    fs::rename(world.path("backups"), world.path("away")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    // A state that has seen nothing cannot tell a lost machine from a fresh one.
    world.run(&["hold", "away", "--reason", "the disk is being looked for"]).ends(0);
    world.run(&["apply"]);
    assert!(!world.path("backups").exists(), "it would have to be made anew");
    fs::rename(world.path("away"), world.path("backups")).unwrap();
    world.run(&["hold", "away", "--release"]).ends(0);
    world.run(&["apply"]);
    world.run(&["plan"]).says("accept memory:");
    assert!(world.points() >= before, "nothing expires");
}

#[test]
fn an_old_copy_of_the_state_is_noticed() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let copy = |from: &str, to: &str| {
        let status = Command::new("cp")
            .args(["-a"])
            .arg(world.path(from))
            .arg(world.path(to))
            .status()
            .unwrap();
        assert!(status.success());
    };
    copy("state", "state-old");
    for _ in 0..3 {
        world.run(&["backup", "shop/uploads"]).ends(0);
    }
    let before = world.points();
    fs::remove_dir_all(world.path("state")).unwrap();
    copy("state-old", "state");
    world.run(&["plan"]).says("accept epoch:");
    world.run(&["apply"]);
    assert!(world.points() >= before, "nothing expires");
}

#[test]
fn a_damaged_state_is_put_aside() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.write("state/state.db", "not a database at all, but some bytes\n");
    fs::remove_file(world.path("state/state.db-wal")).ok();
    fs::remove_file(world.path("state/state.db-shm")).ok();
    world.run(&["plan"]).says("accept memory:");
    assert_eq!(world.points(), 1);
}
