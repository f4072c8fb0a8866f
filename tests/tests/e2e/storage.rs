//! The whole story on storage services: made, backed up, verified, expired, reclaimed, judged by
//! restic, lost and restored, without a credential in anything that is said or kept.

use std::fs;
use std::path::Path;

use mainstay_tests::mainstay::{Run, World};
use mainstay_tests::services::{SECRET, Service, USER};
use mainstay_tests::ssh::Sshd;

/// Returns a world whose repository lies on a service.
fn world(storage: &str) -> World {
    let world = World::with_folder();
    let local = format!("{{ local: {{ path: \"{}/backups\" }} }}", world.top());
    let documents = world.documents();
    assert!(documents.contains(&local));
    world.document("mainstay.yaml", &documents.replace(&local, storage));
    world.secret("user", USER);
    world.secret("key", &format!("{SECRET}\n"));
    world.commit("keep backups on a service");
    world
}

#[track_caller]
fn quiet(run: &Run) {
    assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "a secret was said");
}

/// Runs the story; `folder` is where the service keeps the repository.
fn story(world: &World, folder: &Path) {
    world.run(&["plan"]).ends(2).says("init");
    let first = world.run(&["apply", "-v"]).ends(0);
    quiet(&first);
    assert_eq!(world.condition("shop/uploads"), "healthy");
    for n in 0..4 {
        world.write("data/uploads/changing.txt", &format!("version {n}\n").repeat(5000));
        world.run(&["backup", "shop/uploads"]).ends(0);
    }
    // The first run proves the later points; until then the first, proven one has to stay.
    quiet(&world.run(&["apply"]).ends(0).says("expire"));
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 3, "retention keeps three");
    world.run(&["plan"]).ends(0);
    world.judge_at(folder);

    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    assert_eq!(world.condition("shop/uploads"), "lost");
    world.run(&["apply"]).ends(0).says("restore");
    assert_eq!(world.read("data/uploads/file-07.txt"), "content of 7\n");
    assert_eq!(world.read("data/uploads/changing.txt"), "version 3\n".repeat(5000));
    world.judge_at(folder);
    let kept = std::process::Command::new("grep")
        .args(["--recursive", "--fixed-strings", "--files-with-matches", SECRET])
        .args([world.path("state"), world.path("config"), folder.to_owned()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "", "a secret was kept");
}

const KEYS: &str = "accessKey: { secret: user }, secretKey: { secret: key }";

#[test]
fn the_story_on_s3() {
    let server = Service::versitygw();
    server.make_bucket("backups", false);
    let url = server.url();
    let s3 = format!("{{ endpoint: \"{url}\", bucket: backups, prefix: prod, {KEYS} }}");
    let world = world(&format!("{{ s3: {s3} }}"));
    story(&world, &server.data().join("backups/prod"));
}

#[test]
fn the_story_over_sftp() {
    let sshd = Sshd::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prod");
    let sftp = format!(
        "{{ host: 127.0.0.1, port: {}, path: \"{}\", identityFile: \"{}\", knownHosts: \"{}\" }}",
        sshd.port(),
        path.display(),
        sshd.user_key().display(),
        sshd.known_hosts(true).display()
    );
    story(&world(&format!("{{ sftp: {sftp} }}")), &path);
}

#[test]
fn the_story_on_rest_server() {
    let users = tempfile::NamedTempFile::new().unwrap();
    // The user and the key of `services`, hashed as `htpasswd -s` does.
    fs::write(users.path(), "tester:{SHA}FJm51CSEC/6w7x5MfA6vjYHaWaU=\n").unwrap();
    let server = Service::rest(&["--htpasswd-file", users.path().to_str().unwrap()]);
    let rest =
        format!("{{ url: \"{}/prod\", user: {USER}, password: {{ secret: key }} }}", server.url());
    story(&world(&format!("{{ rest: {rest} }}")), &server.data().join("prod"));
}

#[test]
fn a_bucket_in_the_host_name_works() {
    let server = Service::minio();
    server.make_bucket("backups", false);
    let port = server.port();
    let s3 = format!(
        "{{ endpoint: \"http://minio.test:{port}\", style: host, bucket: backups, {KEYS} }}"
    );
    let mut world = world(&format!("{{ s3: {s3} }}"));
    // Nobody knows the name `backups.minio.test`: the server itself stands in as a proxy.
    world.set("http_proxy", server.url());
    world.run(&["apply"]).ends(0);
    assert_eq!(world.points(), 1);
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    world.run(&["apply"]).ends(0).says("restore");
    assert_eq!(world.read("data/uploads/file-07.txt"), "content of 7\n");
}

#[test]
fn what_is_wrong_with_a_service_is_said() {
    let server = Service::versitygw();
    let url = server.url();
    let s3 = format!("{{ endpoint: \"{url}\", bucket: backups, {KEYS} }}");
    let world = world(&format!("{{ s3: {s3} }}"));
    world.run(&["plan"]).says("NoSuchBucket").says("make the bucket");
    server.make_bucket("backups", false);
    world.secret("key", "another-key-than-the-right-one");
    let run = world.run(&["plan"]).says("WrongCredentials");
    assert!(!run.stdout.contains("another-key") && !run.stderr.contains("another-key"));
}

#[test]
fn an_emptied_bucket_is_lost_and_never_made_anew() {
    let server = Service::versitygw();
    server.make_bucket("backups", false);
    let url = server.url();
    let s3 = format!("{{ endpoint: \"{url}\", bucket: backups, {KEYS} }}");
    let world = world(&format!("{{ s3: {s3} }}"));
    world.run(&["apply"]).ends(0);
    fs::remove_dir_all(server.data().join("backups")).unwrap();
    server.make_bucket("backups", false);
    let steps = world.steps();
    assert!(steps.iter().all(|step| !step.starts_with("init/")), "{steps:?}");
}
