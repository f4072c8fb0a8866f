//! What git may do to us: force-pushes, older branches, broken commits, an unreachable repository.

use std::fs;

use mainstay_tests::https::GitHost;
use mainstay_tests::mainstay::World;

#[test]
fn a_commit_that_does_not_descend_holds_destructive_work() {
    let world = World::with_folder();
    let first = world.git(&["rev-parse", "HEAD"]).trim().to_owned();
    world.document("note.md", "second\n");
    world.commit("second");
    world.run(&["apply"]).ends(0);
    // An older branch is force-pushed.
    world.git(&["reset", "--quiet", "--hard", &first]);
    let older = world.run(&["plan"]);
    older.says("accept commit:");
    world.run(&["accept", &format!("commit:{first}")]).ends(0);
    let run = world.run(&["plan"]).ends(0);
    assert!(!run.stdout.contains("accept commit:"), "{}", run.stdout);
}

#[test]
fn history_that_was_rewritten_is_noticed() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]);
    world.run(&["plan"]).says("accept commit:");
    // Backups go on: they harm nothing.
    world.run(&["backup", "shop/uploads"]);
    assert_eq!(world.points(), 2);
}

#[test]
fn an_invalid_commit_stops_plan_and_names_the_line() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let broken = world.documents().replace("retention: { last: 3 }", "retension: { last: 3 }");
    world.document("mainstay.yaml", &broken);
    world.commit("a mistake");
    world.run(&["plan"]).ends(1).says("mainstay.yaml:").says("retension");
    world.run(&["validate"]).ends(1);
}

#[test]
fn an_unreachable_repository_is_never_an_empty_one() {
    let mut world = World::with_folder();
    world.run(&["apply"]).ends(0);
    let gone = world.path("gone");
    fs::rename(world.path("config"), &gone).unwrap();
    world.run(&["plan"]).ends(1);
    world.run(&["apply"]).ends(1);
    world.set("MAINSTAY_CONFIG", gone.display().to_string());
    assert_eq!(world.points(), 1);
}

#[test]
fn git_over_ssh_needs_the_key_and_the_known_host() {
    let sshd = mainstay_tests::ssh::Sshd::start();
    let mut world = World::with_folder();
    let user = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let path = world.path("config").display().to_string();
    let url = format!("ssh://{}@127.0.0.1:{}{path}", user.trim(), sshd.port());
    world.set("MAINSTAY_CONFIG", url);
    world.set("MAINSTAY_GIT_KEY", sshd.user_key().display().to_string());
    world.set("MAINSTAY_GIT_KNOWN_HOSTS", sshd.known_hosts(false).display().to_string());
    world.run(&["plan"]).ends(1).says("host");
    world.set("MAINSTAY_GIT_KNOWN_HOSTS", sshd.known_hosts(true).display().to_string());
    world.run(&["apply"]).ends(0);
    assert_eq!(world.condition("shop/uploads"), "healthy");
}

#[test]
fn git_over_https_needs_the_token_and_a_trusted_certificate() {
    let token = "token-of-the-config-repository-4711";
    let mut world = World::with_folder();
    let host = GitHost::start(world.path("").as_path(), token);
    world.set("MAINSTAY_CONFIG", host.url("config/.git"));
    world.secret("git-token", token);
    // Nobody has said that this authority is to be trusted.
    let stranger = world.run(&["-vvv", "plan"]).ends(1).says("once you are sure");
    world.set("SSL_CERT_FILE", host.authority().display().to_string());
    world.secret("git-token", "another-token-0815");
    let refused = world.run(&["-vvv", "plan"]).ends(1).says("check the token");
    assert!(host.refused() > 0, "the host was asked");
    world.secret("git-token", token);
    world.run(&["apply"]).ends(0);
    assert_eq!(world.condition("shop/uploads"), "healthy");
    // A later commit comes over the same way.
    world.document("note.md", "second\n");
    let second = world.commit("second");
    let planned = world.run(&["-vvv", "plan", "--format", "json"]);
    assert_eq!(planned.json()["plan"]["commit"].as_str(), Some(second.as_str()));
    for run in [stranger, refused, planned] {
        for secret in [token, "another-token-0815"] {
            let said = run.stdout.contains(secret) || run.stderr.contains(secret);
            assert!(!said, "a token was printed: {run:?}");
        }
    }
}
