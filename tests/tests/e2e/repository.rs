//! `mainstay repository`: what a user of restic does by hand, on repositories of either's making.

use std::fs;
use std::path::Path;
use std::process::Output;

use mainstay_tests::mainstay::{Run, World};
use serde_json::Value;

/// restic on any repository, with a password file.
fn restic_raw(repo: &str, password: &str, words: &[&str]) -> Output {
    mainstay_tests::restic()
        .command()
        .args(["--no-cache", "-r", repo, "--password-file", password])
        .args(words)
        .output()
        .expect("restic runs")
}

fn restic(repo: &str, password: &str, words: &[&str]) -> String {
    let output = restic_raw(repo, password, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic {words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A repository with its password, and nothing else.
struct Bare {
    world: World,
    repo: String,
    password: String,
    source: String,
}

impl Bare {
    fn new() -> Self {
        let mut world = World::new();
        world.set("MAINSTAY_CONFIG", world.path("nowhere").display().to_string());
        world.write("password", "one two three\n");
        let text = |below: &str| world.path(below).display().to_string();
        let (repo, password, source) = (text("repo"), text("password"), text("data"));
        for n in 0..5 {
            world.write(&format!("data/f{n}"), &format!("content of {n}\n").repeat(3000));
        }
        Self { world, repo, password, source }
    }

    fn run(&self, words: &[&str]) -> Run {
        let direct = ["--repo", &self.repo, "--password-file", &self.password];
        self.world.run(&[&["repository"], words, &direct].concat())
    }

    fn restic(&self, words: &[&str]) -> String {
        restic(&self.repo, &self.password, words)
    }

    fn backup(&self, state: &str) {
        self.world.write("data/state", state);
        self.restic(&["backup", "--host", "web-1", "--tag", "nightly", &self.source]);
    }

    /// Ids, oldest first.
    fn ids(&self) -> Vec<String> {
        let list = self.run(&["list", "--format", "json"]).ends(0).json();
        let id = |s: &Value| s["id"].as_str().expect("an id").to_owned();
        list.as_array().expect("a list").iter().map(id).collect()
    }
}

#[test]
fn a_foreign_repository_is_looked_at_and_kept() {
    let bare = Bare::new();
    bare.restic(&["init"]);
    for state in ["one", "two", "three"] {
        bare.backup(state);
    }
    bare.run(&["list"]).ends(0).says("web-1").says("nightly");
    bare.run(&["list", "--host", "another"]).ends(0);
    let ids = bare.ids();
    assert_eq!(ids.len(), 3);
    let file = format!("{}/state", bare.source);
    bare.run(&["ls", "latest", &bare.source, "--long"]).ends(0).says("state");
    bare.run(&["find", "state"]).ends(0).says("state");
    assert_eq!(bare.run(&["dump", "latest", &file]).ends(0).stdout, "three");
    bare.run(&["dump", "latest", &bare.source]).ends(0).says("ustar");
    bare.run(&["diff", &ids[0], &ids[2]]).ends(0).says(&format!("M {file}"));
    bare.run(&["check"]).ends(0).says("whole");
    bare.run(&["check", "--part", "1/3"]).ends(0).says("whole");
    bare.run(&["check", "--read-data", "--snapshot", &ids[0][..8], "--no-lock"]).ends(0);
    bare.run(&["check", "--part", "third"]).ends(64).says("is no part");
    let stats = bare.run(&["stats", "--format", "json"]).ends(0).json();
    assert!(stats["bytesPlain"].as_u64() > stats["bytesStored"].as_u64(), "{stats}");
    let each = bare.run(&["stats", "--by-snapshot", "--format", "json"]).ends(0).json();
    assert_eq!(each.as_array().map(Vec::len), Some(3));

    bare.run(&["tag", "--add", "keep", "--set-host", "web-2", &ids[0][..8]]).ends(0);
    assert!(bare.restic(&["snapshots", "--tag", "keep"]).contains("web-2"));
    bare.run(&["tag", &ids[1]]).ends(64);
    bare.run(&["adopt", "--as", "shop/uploads", "--host", "web-1"]).ends(0);
    let adopted = bare.run(&["list", "--of", "shop/uploads", "--format", "json"]).ends(0).json();
    assert_eq!(adopted.as_array().map(Vec::len), Some(2));
    bare.run(&["dump", "latest", &file]).ends(0);
    bare.restic(&["check", "--read-data"]);
}

#[test]
fn snapshots_are_forgotten_by_rule_and_their_data_is_pruned() {
    let bare = Bare::new();
    bare.run(&["init"]).ends(0).says("made");
    bare.run(&["init"]).ends(1);
    for n in 0..4 {
        let noise: String = (0..40_000u32).map(|i| format!("{}", i * 7919 * (n + 1))).collect();
        bare.backup(&noise);
    }
    bare.run(&["forget"]).ends(64);
    let before = bare.ids();
    bare.run(&["forget", "--keep-last", "2", "--dry-run"]).ends(0).says("would forget");
    assert_eq!(bare.ids().len(), 4);
    bare.run(&["forget", "--keep-last", "2"]).ends(0).says("forgot");
    assert_eq!(bare.ids(), before[2..]);
    bare.run(&["forget", &before[2], &before[3]]).ends(1).says("would be left");
    let waiting = bare.run(&["prune", "--format", "json", "--max-waste", "0"]).ends(0).json();
    assert_eq!(waiting["bytesDeleted"], 0, "the grace period has only begun");
    assert!(waiting["packsWaiting"].as_u64() > Some(0), "{waiting}");
    // The mark is kept: the second run sees the same packs, and their time is over.
    let dry = bare.run(&["prune", "--grace", "0s", "--dry-run"]).ends(0);
    assert!(dry.stdout.contains("would be freed"), "{}", dry.stdout);
    let freed = bare.run(&["prune", "--grace", "0s", "--format", "json"]).ends(0).json();
    assert!(freed["bytesDeleted"].as_u64() > Some(0), "{freed}");
    bare.restic(&["check", "--read-data"]);
    bare.run(&["forget", &before[2], &before[3], "--last-too"]).ends(0);
    assert!(bare.ids().is_empty());
}

#[test]
fn copies_and_passwords() {
    let bare = Bare::new();
    bare.restic(&["init"]);
    bare.backup("one");
    let other = bare.world.path("other").display().to_string();
    bare.world.write("other-password", "four five six\n");
    let other_password = bare.world.path("other-password").display().to_string();
    let direct = ["--repo", other.as_str(), "--password-file", other_password.as_str()];
    bare.world.run(&[&["repository", "init"], &direct[..]].concat()).ends(0);
    let copy = ["copy", "--to", &other, "--to-password-file", &other_password];
    bare.run(&copy).ends(0).says("1 snapshots copied");
    bare.backup("two");
    bare.run(&copy).ends(0).says("1 snapshots copied, 1 were there");
    restic(&other, &other_password, &["check", "--read-data"]);
    let here = bare.run(&["copy", "--to", &bare.repo, "--to-password-file", &bare.password]);
    here.ends(64).says("the same repository");

    bare.run(&["key", "add", "--new-password-file", &other_password]).ends(0);
    assert!(restic_raw(&bare.repo, &other_password, &["snapshots"]).status.success());
    let keys = bare.run(&["key", "list", "--format", "json"]).ends(0).json();
    let mine = |k: &&Value| k["current"] == Value::Bool(false);
    let added = keys.as_array().expect("keys").iter().find(mine).expect("the other key");
    bare.run(&["key", "remove", added["id"].as_str().expect("an id")]).ends(0);
    assert!(!restic_raw(&bare.repo, &other_password, &["snapshots"]).status.success());
    bare.run(&["key", "passwd", "--new-password-file", &other_password]).ends(0);
    assert!(restic_raw(&bare.repo, &other_password, &["snapshots"]).status.success());
    bare.run(&["list"]).ends(1).says("no key of");
}

#[test]
fn damage_is_named_and_mended() {
    let bare = Bare::new();
    bare.restic(&["init"]);
    // More than all folders together take, and in no way compressible: it fills the largest pack.
    let noise =
        (0..20_000u64).map(|n| format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    bare.world.write("data/noise", &noise.collect::<String>());
    bare.backup("one");
    let pack = largest(Path::new(&bare.repo).join("data").as_path());
    let mut data = fs::read(&pack).expect("a pack");
    data[100] ^= 1;
    fs::remove_file(&pack).expect("it goes");
    fs::write(&pack, data).expect("it is written");
    bare.run(&["check"]).ends(0);
    let named = bare.run(&["check", "--read-data"]).ends(1).says("DAMAGED");
    assert!(named.stdout.contains("costs"), "{}", named.stdout);
    let aside = bare.world.path("aside").display().to_string();
    bare.run(&["repair", "packs", "--aside", &aside]).ends(1).says("lost:");
    assert_eq!(fs::read_dir(&aside).expect("the folder").count(), 1);
    bare.run(&["repair", "snapshots", "--dry-run"]).ends(0).says("not written");
    bare.run(&["repair", "snapshots", "--forget"]).ends(0).says("written anew");
    bare.run(&["repair", "snapshots"]).ends(0).says("every snapshot is whole");
    bare.run(&["check", "--read-data"]).ends(0);
    for file in fs::read_dir(Path::new(&bare.repo).join("index")).expect("the index") {
        fs::remove_file(file.expect("a file").path()).expect("it goes");
    }
    bare.run(&["repair", "index"]).ends(0).says("found anew");
    bare.run(&["repair", "packs"]).ends(0).says("no pack is damaged");
    bare.restic(&["check", "--read-data"]);
}

fn largest(folder: &Path) -> std::path::PathBuf {
    let mut all = Vec::new();
    for below in fs::read_dir(folder).expect("a folder") {
        for file in fs::read_dir(below.expect("a folder").path()).expect("packs") {
            let file = file.expect("a pack");
            all.push((file.metadata().expect("its size").len(), file.path()));
        }
    }
    all.sort();
    all.pop().expect("a pack").1
}

#[test]
fn version_1_is_migrated_and_locks_are_removed() {
    let bare = Bare::new();
    bare.restic(&["init", "--repository-version", "1"]);
    bare.backup("one");
    bare.run(&["migrate"]).ends(0).says("migrated to version 2");
    bare.run(&["migrate"]).ends(0).says("already");
    bare.restic(&["check", "--read-data"]);
    assert!(bare.restic(&["cat", "config"]).contains("\"version\": 2"));
    bare.run(&["unlock"]).ends(0).says("0 locks");
    bare.run(&["unlock", "--all"]).ends(0);
    bare.run(&["list", "--retry-lock", "soon"]).ends(64);
}

#[test]
fn the_repositories_of_a_configuration_are_known_by_name() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let run = |words: &[&str]| world.run(&[&["repository"], words].concat());
    run(&["list", "--of", "shop/uploads"]).ends(0).says("shop/uploads");
    run(&["check", "--read-data"]).ends(0).says("whole");
    run(&["prune", "--dry-run"]).ends(0);
    run(&["list", "--repository", "unknown"]).ends(1).says("no repository `unknown`");
    run(&["key", "list"]).ends(0).says("in use");
}
