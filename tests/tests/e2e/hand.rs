//! A person's hand tools, with the configuration and with nothing but a repository and its
//! password.

use std::fs;

use mainstay_tests::mainstay::{PASSWORD, World};

#[test]
fn the_hand_tools_work_with_the_configuration() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.run(&["ls", "shop/uploads"]).ends(0).says("file-00.txt");
    world.run(&["ls", "shop/uploads", "--long"]).ends(0).says("file-00.txt");
    world.run(&["find", "file-1?.txt"]).ends(0).says("file-13.txt");
    let path = world.path("data/uploads/file-04.txt");
    let run = world.run(&["dump", "shop/uploads", path.to_str().unwrap()]).ends(0);
    assert_eq!(run.stdout, "content of 4\n");
    let to = world.path("back");
    world.run(&["restore", "shop/uploads", "--to", to.to_str().unwrap()]).ends(0);
    let back = to.join(path.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "content of 4\n");
    world.write("data/uploads/file-04.txt", "changed\n");
    world.run(&["backup", "shop/uploads"]).ends(0);
    let points = world.run(&["snapshots", "--format", "json"]).json();
    let ids: Vec<&str> =
        points.as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
    world.run(&["diff", ids[0], ids[1]]).ends(0).says("file-04.txt");
    world.run(&["explain", ids[0]]).ends(0);
    world.run(&["explain", "shop/uploads"]).ends(0);
    world.run(&["history"]).ends(0).says("backup/shop/uploads/local");
    world.run(&["repository", "check", "--read-data"]).ends(0);
    world.run(&["repository", "stats"]).ends(0);
}

#[test]
fn the_hand_tools_work_with_nothing_but_the_repository() {
    let mut world = World::with_folder();
    world.run(&["apply"]).ends(0);
    fs::remove_dir_all(world.path("config")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::remove_dir_all(world.path("secrets")).unwrap();
    fs::remove_dir_all(world.path("data")).unwrap();
    world.set("MAINSTAY_CONFIG", world.path("nowhere").display().to_string());
    world.write("password", &format!("{PASSWORD}\n"));
    let repository = world.path("backups").display().to_string();
    let password = world.path("password").display().to_string();
    let direct = ["--repository", &repository, "--password-file", &password];
    let run = |words: &[&str]| world.run(&[words, &direct].concat());
    run(&["snapshots"]).ends(0).says("shop/uploads");
    run(&["ls", "latest"]).ends(0).says("file-00.txt");
    run(&["find", "file-19.txt"]).ends(0).says("file-19.txt");
    let to = world.path("back").display().to_string();
    run(&["restore", "latest", "--to", &to]).ends(0);
    let top = world.top();
    let back = format!("{to}{top}/data/uploads/file-19.txt");
    assert_eq!(fs::read_to_string(back).unwrap(), "content of 19\n");
    run(&["repository", "check", "--read-data"]).ends(0);
}
