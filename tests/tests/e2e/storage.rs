//! The whole story on storage services: made, backed up, verified, expired, reclaimed, judged by
//! restic, lost and restored, without a credential in anything that is said or kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mainstay_tests::mainstay::{PASSWORD, Run, World};
use mainstay_tests::services::{AZURITE, SECRET, Service, USER};
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

/// The disaster after which nothing of ours is left: a printed runbook is followed with restic.
fn by_the_book(world: &World) {
    let page = world.run(&["runbook"]).ends(0).stdout;
    assert!(!page.contains(SECRET), "credentials are named, never told");
    fs::remove_dir_all(world.path("data")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::create_dir(world.path("data")).unwrap();
    world.follow(&page);
    assert_eq!(world.read("data/uploads/file-07.txt"), "content of 7\n");
    assert_eq!(world.read("data/uploads/changing.txt"), "version 3\n".repeat(5000));
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
    by_the_book(&world);
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
    let mut world = world(&format!("{{ sftp: {sftp} }}"));
    story(&world, &path);
    // What the page says of ssh's settings is followed to the letter as well.
    let page = world.run(&["runbook"]).ends(0).stdout;
    // As a reader of Markdown shows it.
    let page = page.replace('\\', "").replace('\n', " ");
    let written = page.split("write `").skip(1).filter_map(|rest| rest.split_once('`'));
    let settings: String = written.map(|(line, _)| format!("{line}\n")).collect();
    assert!(
        settings.contains("IdentityFile ") && settings.contains("UserKnownHostsFile "),
        "{page}"
    );
    own_ssh(&mut world, &settings);
    by_the_book(&world);
}

/// Lets ssh read these settings in the place of those below the user's real home, which is none of
/// a test's business.
fn own_ssh(world: &mut World, settings: &str) {
    world.write("ssh/config", settings);
    let config = world.path("ssh/config").display().to_string();
    world.write("ssh/ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F '{config}' \"$@\"\n"));
    fs::set_permissions(world.path("ssh/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    world.set("PATH", format!("{}:{path}", world.path("ssh").display()));
}

#[test]
fn the_story_on_rest_server() {
    let users = tempfile::NamedTempFile::new().unwrap();
    // The user and the key of `services`, hashed as `htpasswd -s` does.
    fs::write(users.path(), "tester:{SHA}FJm51CSEC/6w7x5MfA6vjYHaWaU=\n").unwrap();
    let server = Service::rest(&["--htpasswd-file", users.path().to_str().unwrap()]);
    let rest =
        format!("{{ url: \"{}/prod\", user: {USER}, password: {{ secret: key }} }}", server.url());
    let world = world(&format!("{{ rest: {rest} }}"));
    story(&world, &server.data().join("prod"));
    by_the_book(&world);
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

/// What a person does by hand with a place that restic made, and restic with what was made here.
fn by_hand(world: &World, place: &str, folder: &Path) {
    world.write("password", &format!("{PASSWORD}\n"));
    let password = world.path("password").display().to_string();
    let run = |words: &[&str]| {
        let direct = ["--repo", place, "--password-file", &password];
        let run = world.run(&[&["repository"], words, &direct].concat());
        quiet(&run);
        run
    };
    run(&["list"]).ends(1).says("holds no repository");
    run(&["init"]).ends(0);
    let source = world.path("data").display().to_string();
    world.restic_at(folder, &["backup", &source]);
    let list = run(&["list", "--format", "json"]).ends(0).json();
    let id = list[0]["id"].as_str().unwrap();
    run(&["check", "--read-data"]).ends(0);
    run(&["tag", id, "--add", "kept"]).ends(0);
    run(&["prune", "--grace", "0s"]).ends(0);
    assert!(world.restic_at(folder, &["snapshots"]).contains("kept"));
    world.judge_at(folder);
    let to = world.path("back").display().to_string();
    let words = ["restore", "latest", "--to", &to, "--repo", place, "--password-file", &password];
    world.run(&words).ends(0);
    assert_eq!(world.read(&format!("back{source}/uploads/file-07.txt")), "content of 7\n");
}

fn without_configuration() -> World {
    let mut world = World::with_folder();
    world.set("MAINSTAY_CONFIG", world.path("nowhere").display().to_string());
    world
}

#[test]
fn s3_by_hand() {
    let server = Service::versitygw();
    server.make_bucket("backups", false);
    let mut world = without_configuration();
    world.set("AWS_ACCESS_KEY_ID", USER);
    world.set("AWS_SECRET_ACCESS_KEY", SECRET);
    let place = format!("s3:{}/backups/prod", server.url());
    by_hand(&world, &place, &server.data().join("backups/prod"));
    // Copies on this machine save requests, and can be lost or left out.
    let password = world.path("password").display().to_string();
    let at = ["--repo", &place, "--password-file", &password];
    let run = |world: &World, words: &[&str]| world.run(&[&["repository"], words, &at].concat());
    let cache = || world.run(&["repository", "cache", "--format", "json"]).ends(0).json();
    let kept = cache()["repositories"].as_array().unwrap().len();
    assert_eq!(kept, 1, "{}", cache());
    world.run(&["repository", "cache"]).ends(0).says("of at most 2.0 GiB");
    world.run(&["repository", "cache", "--clear"]).ends(0).says("removed");
    assert_eq!(cache()["repositories"].as_array().unwrap().len(), 0);
    run(&world, &["list", "--no-cache"]).ends(0);
    assert_eq!(cache()["repositories"].as_array().unwrap().len(), 0);
    // Who is refused finds no empty place, and makes nothing there.
    for (id, key) in [(USER, "another"), ("nobody", SECRET)] {
        world.set("AWS_ACCESS_KEY_ID", id);
        world.set("AWS_SECRET_ACCESS_KEY", key);
        run(&world, &["list"]).ends(1).says("check the credentials");
        run(&world, &["init"]).ends(1).says("check the credentials");
    }
}

#[test]
fn rest_by_hand() {
    let users = tempfile::NamedTempFile::new().unwrap();
    fs::write(users.path(), "tester:{SHA}FJm51CSEC/6w7x5MfA6vjYHaWaU=\n").unwrap();
    let server = Service::rest(&["--htpasswd-file", users.path().to_str().unwrap()]);
    let mut world = without_configuration();
    world.set("RESTIC_REST_USERNAME", USER);
    world.set("RESTIC_REST_PASSWORD", SECRET);
    by_hand(&world, &format!("rest:{}/prod", server.url()), &server.data().join("prod"));
}

#[test]
fn sftp_by_hand() {
    let sshd = Sshd::start();
    let mut world = without_configuration();
    let settings = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n",
        sshd.user_key().display(),
        sshd.known_hosts(true).display()
    );
    own_ssh(&mut world, &settings);
    let folder = world.path("far");
    let place = format!("sftp://127.0.0.1:{}/{}", sshd.port(), folder.display());
    by_hand(&world, &place, &folder);
}

/// Backs up and restores on what documents name.
fn there_and_back(world: &World) {
    quiet(&world.run(&["apply", "-v"]).ends(0));
    assert_eq!(world.points(), 1);
    fs::remove_dir_all(world.path("data/uploads")).unwrap();
    world.run(&["apply"]).ends(0).says("restore");
    assert_eq!(world.read("data/uploads/file-07.txt"), "content of 7\n");
}

#[test]
fn google_from_documents_and_by_hand() {
    let server = Service::gcs();
    server.make_gcs_bucket("backups");
    let gcs = format!(
        "{{ endpoint: \"{}\", bucket: backups, prefix: prod, accessToken: {{ secret: key }} }}",
        server.url()
    );
    let mut world = world(&format!("{{ gcs: {gcs} }}"));
    there_and_back(&world);
    world.set("STORAGE_EMULATOR_HOST", server.url());
    world.set("GOOGLE_ACCESS_TOKEN", SECRET);
    world.write("password", PASSWORD);
    let password = world.path("password").display().to_string();
    let place = ["--repo", "gs:backups:/prod", "--password-file", &password];
    world.run(&[&["repository", "check", "--read-data"], &place[..]].concat()).ends(0);
}

#[test]
fn azure_from_documents_and_by_hand() {
    let server = Service::azurite(&[]);
    let url = format!("{}/{}", server.url(), AZURITE.0);
    let azure = format!(
        "{{ endpoint: \"{url}\", account: {}, container: backups, key: {{ secret: azure }} }}",
        AZURITE.0
    );
    let world = world(&format!("{{ azure: {azure} }}"));
    world.secret("azure", AZURITE.1);
    world.run(&["plan"]).says("NoSuchBucket").says("make the bucket (or container) first");
    server.make_container(&server.url(), "backups", &[]);
    let run = world.run(&["apply", "-v"]);
    assert!(!run.stderr.contains(AZURITE.1) && !run.stdout.contains(AZURITE.1));
    there_and_back(&world);
}

#[test]
fn places_that_are_not_supported_make_no_folder() {
    let world = without_configuration();
    world.write("password", PASSWORD);
    let password = world.path("password").display().to_string();
    let said = [
        ("b2:a:b", "is not supported", "supported are s3:"),
        ("https://me:hunter2@host/a", "names no storage", "rest:https://host/path"),
        ("gcs:bucket:/a", "`gcs:` names no storage", "supported are s3:"),
        ("s3:https://host", "names no storage", "s3:https://host/bucket/prefix"),
        ("azure:container:/a", "names no account", "set AZURE_ACCOUNT_NAME"),
    ];
    let before = fs::read_dir(world.path(".")).unwrap().count();
    for (place, why, mend) in said {
        let words = ["repository", "init", "--repo", place, "--password-file", &password];
        let run = world.run(&words).ends(64).says(why).says(mend);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
    assert_eq!(fs::read_dir(world.path(".")).unwrap().count(), before);
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
