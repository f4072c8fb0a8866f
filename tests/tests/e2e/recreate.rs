//! What is declared elsewhere is made anew, by a program of its own, on the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mainstay_tests::mainstay::World;

use crate::crash::sweep;

/// A folder that a program fills, backed up once, with a policy that makes it anew.
fn declared() -> World {
    let world = World::with_folder();
    let top = world.top();
    let program = format!(
        "#!/bin/sh\nset -e\nmkdir -p \"$1\"\necho declared > \"$1/made\"\necho ran >> {top}/ran\n"
    );
    world.write("make-uploads", &program);
    fs::set_permissions(world.path("make-uploads"), fs::Permissions::from_mode(0o755)).unwrap();
    let made = format!("uploads\", recreate: [\"{top}/make-uploads\", \"{top}/data/uploads\"] }}");
    let documents = world.documents().replace("uploads\" }", &made);
    let documents = documents.replace("lost: restore", "lost: recreate");
    assert!(documents.contains("lost: recreate") && documents.contains("make-uploads"));
    world.document("mainstay.yaml", &documents);
    world.commit("the folder is declared");
    world.run(&["apply"]).ends(0);
    world
}

fn is_made(world: &World) {
    let names: Vec<_> = fs::read_dir(world.path("data/uploads"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["made"], "and nothing of a point");
    assert_eq!(world.condition("shop/uploads"), "healthy");
}

#[test]
fn what_is_lost_is_made_anew_and_its_points_stay() {
    let world = declared();
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    world.run(&["plan"]).ends(2).says("recreate/shop/uploads").says("no point is put in");
    world.run(&["apply"]).ends(0).says("made anew, without any point");
    is_made(&world);
    assert_eq!(world.read("ran"), "ran\n", "once");
    world.run(&["plan"]).ends(0);
    world.run(&["backup", "shop/uploads"]).ends(0);
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 2);
    world.judge();
}

#[test]
fn a_program_that_fails_or_makes_nothing_is_a_failure() {
    let world = declared();
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    world.write("make-uploads", "#!/bin/sh\necho no room >&2\nexit 1\n");
    world.run(&["apply"]).ends(1).says("no room");
    world.write("make-uploads", "#!/bin/sh\nexit 0\n");
    world.run(&["apply"]).ends(1).says("should be in place");
    assert_eq!(world.condition("shop/uploads"), "lost");
}

#[test]
fn making_anew_killed_anywhere_comes_to_its_end() {
    let prepare = || {
        let world = declared();
        fs::remove_dir_all(world.path("data/uploads")).unwrap();
        world
    };
    sweep(prepare, &["apply"], is_made);
}
