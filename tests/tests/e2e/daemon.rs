//! The daemon: pulls, plans, applies without a person; one per state; ends when told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use mainstay_tests::mainstay::{Running, World};

fn start(world: &World, log: &str) -> (Running, String) {
    let words = ["daemon", "--interval", "1s", "--listen", "127.0.0.1:0"];
    let mut daemon = world.spawn(&words, log);
    daemon.wait_for("\"address\":\"");
    let said = daemon.log();
    let at = said.split("\"address\":\"").nth(1).unwrap();
    (daemon, at.split('"').next().unwrap().to_owned())
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for the metrics until they contain a text.
fn until(address: &str, text: &str) {
    let begun = std::time::Instant::now();
    loop {
        let metrics = get(address, "/metrics");
        if metrics.contains(text) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 120, "`{text}` did not come:\n{metrics}");
        std::thread::yield_now();
    }
}

#[test]
fn it_backs_up_restores_reports_and_ends() {
    let world = World::with_folder();
    let (mut daemon, address) = start(&world, "daemon.log");
    daemon.wait_for("verify/shop/uploads");
    daemon.wait_for("bytes read and proven");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = get(&address, "/metrics");
    assert!(metrics.contains("mainstay_passes_total"), "{metrics}");
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    daemon.wait_for("is in place");
    assert_eq!(world.read("data/uploads/file-11.txt"), "content of 11\n");
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"));
    // They are those of the last pass that came to its end, which may have begun before the proof.
    until(&address, "mainstay_resource_newest_proven_point_age_seconds{resource=\"shop/uploads\"}");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 0);
    world.judge();
}

#[test]
fn a_second_one_refuses_and_names_the_first() {
    let world = World::with_folder();
    let (first, _) = start(&world, "first.log");
    let second = world.run(&["daemon", "--interval", "1s", "--listen", "none"]);
    let pid = first.pid().to_string();
    second.ends(1).says(&pid);
}

#[test]
fn apply_beside_a_daemon_goes_through_it() {
    let world = World::with_folder();
    let (mut daemon, _) = start(&world, "daemon.log");
    daemon.wait_for("bytes read and proven");
    // Also where the daemon serves the request before it is followed.
    for points in 2..4 {
        world.run(&["backup", "shop/uploads"]).ends(0).says("daemon");
        assert_eq!(world.points(), points);
    }
    world.run(&["apply"]).ends(0).says("0 done");
    world.run(&["plan", "--out", "plan.json"]).ends(0);
    let changed = world.documents().replace("name: uploads", "name: pictures");
    world.document("mainstay.yaml", &changed);
    world.commit("another name");
    let stale = world.run(&["apply", "plan.json"]).says("the configuration that was read is");
    assert_ne!(stale.code, 0);
}

#[test]
fn what_fails_beside_a_daemon_is_no_success() {
    let world = World::with_folder();
    let (mut daemon, _) = start(&world, "daemon.log");
    daemon.wait_for("bytes read and proven");
    let changed = world
        .documents()
        .replace("retention:", "hooks: { before: [{ run: [/bin/false] }] }\n  retention:");
    assert_ne!(changed, world.documents());
    world.document("mainstay.yaml", &changed);
    world.commit("a hook that fails");
    let failed = world.run(&["backup", "shop/uploads"]);
    assert_eq!(failed.code, 1);
    failed.says("1 failed or partial");
    assert_eq!(world.points(), 1);
}

#[test]
fn a_killed_daemon_is_followed_by_another() {
    let world = World::with_folder();
    let (mut first, _) = start(&world, "first.log");
    first.wait_for("backup/shop/uploads/local");
    first.signal("KILL");
    first.wait();
    let (mut second, _) = start(&world, "second.log");
    second.wait_for("\"message\":\"planned\"");
    second.signal("TERM");
    assert_eq!(second.wait(), 0);
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 1);
    world.judge();
}

#[test]
fn an_invalid_commit_keeps_the_last_good_one_at_work() {
    let world = World::with_folder();
    let (mut daemon, _) = start(&world, "daemon.log");
    daemon.wait_for("bytes read and proven");
    world.document("mainstay.yaml", "kind: Nonsense\n");
    world.commit("a mistake");
    daemon.wait_for("is not valid");
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    daemon.wait_for("is in place");
    assert_eq!(world.read("data/uploads/file-11.txt"), "content of 11\n");
}

#[test]
fn it_keeps_the_runbook_right() {
    let world = World::with_folder();
    let file = world.path("runbook.md").display().to_string();
    let words = ["daemon", "--interval", "1s", "--listen", "none", "--runbook", &file];
    let mut daemon = world.spawn(&words, "daemon.log");
    daemon.wait_for("runbook written: ");
    daemon.wait_for("bytes read and proven");
    let changed = world.documents().replace("name: uploads", "name: pictures");
    world.document("mainstay.yaml", &changed);
    world.commit("another name");
    daemon.wait_for("what is protected, or how it comes back, has changed since");
    let begun = std::time::Instant::now();
    // The first one after the change knows of no point; the next one does.
    while world.run(&["runbook", "--check", "runbook.md"]).code != 0 {
        assert!(begun.elapsed().as_secs() < 120, "{}", world.read("runbook.md"));
    }
    assert!(world.read("runbook.md").contains("shop/pictures"));
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), 0);
}
