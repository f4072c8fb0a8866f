//! No secret is ever written anywhere: state, journal, plans, logs, repositories, error texts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mainstay_tests::mainstay::{PASSWORD, World};
use mainstay_tests::postgres::Cluster;

/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The password of the database's role.
const ROLE_PASSWORD: &str = "tr0ub4dor-and-3-55123";

fn search(folder: &Path, skip: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path == skip {
            continue;
        }
        if path.is_dir() {
            search(&path, skip, found);
        } else {
            let content = unpacked(fs::read(&path).unwrap());
            let has = |secret: &str| content.windows(secret.len()).any(|w| w == secret.as_bytes());
            if has(PASSWORD) || has(ROLE_PASSWORD) {
                found.push(path.display().to_string());
            }
        }
    }
}

/// Returns a file's bytes, followed by what every zstd frame in it holds: the journal's records and
/// saved plans are compressed.
fn unpacked(mut content: Vec<u8>) -> Vec<u8> {
    let starts = content.windows(FRAME.len()).enumerate().filter(|(_, w)| *w == FRAME);
    let mut plain = Vec::new();
    for (at, _) in starts {
        if let Ok(decoder) = zstd::stream::read::Decoder::new(&content[at..]) {
            // What only looks like a frame ends in an error; what came before it is searched.
            drop(std::io::copy(&mut decoder.single_frame(), &mut plain));
        }
    }
    content.extend(plain);
    content
}

#[test]
fn a_secret_in_a_compressed_file_would_be_found() {
    let packed = zstd::encode_all(PASSWORD.repeat(3).as_bytes(), 3).unwrap();
    let packed = [b"before".as_slice(), &packed, b"after"].concat();
    let count = |c: &[u8]| c.windows(PASSWORD.len()).filter(|w| *w == PASSWORD.as_bytes()).count();
    assert_eq!(count(&unpacked(packed.clone())), count(&packed) + 3);
}

#[test]
fn the_password_is_nowhere() {
    let world = World::with_folder();
    world.run(&["plan", "--out", world.path("plan.json").to_str().unwrap()]).ends(2);
    let mut said = String::new();
    for words in [
        vec!["-vvv", "apply"],
        vec!["-vvv", "backup", "shop/uploads"],
        vec!["-vvv", "status"],
        vec!["history", "--format", "json"],
        vec!["explain", "shop/uploads"],
    ] {
        let run = world.run(&words);
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    }
    // A wrong password, and a missing one, must not print what was tried.
    world.secret("repository-password", &format!("{PASSWORD}-wrong"));
    let wrong = world.run(&["-vvv", "status"]);
    said.push_str(&wrong.stdout);
    said.push_str(&wrong.stderr);
    assert!(said.contains("password"), "the runs said something: {said}");
    assert!(!said.contains(PASSWORD), "a secret was printed");
    let mut found = Vec::new();
    search(world.path("").as_path(), &world.path("secrets"), &mut found);
    assert!(found.is_empty(), "a secret was written: {found:?}");
}

/// Puts a program of the same name before each of `programs` that notes its arguments and goes on
/// as the real one. Returns the folder for `PATH`.
fn noting(world: &World, programs: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap();
    for program in programs {
        let real = path.split(':').map(|folder| Path::new(folder).join(program));
        let real = real.into_iter().find(|p| p.exists()).unwrap_or_else(|| panic!("no {program}"));
        let script = format!(
            "#!/bin/sh\nprintf '%s ' {program} \"$@\" >> '{}/arguments'\nexec '{}' \"$@\"\n",
            world.top(),
            real.display()
        );
        world.write(&format!("shims/{program}"), &script);
        let shim = world.path(&format!("shims/{program}"));
        fs::set_permissions(shim, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}/shims:{path}", world.top())
}

#[test]
fn no_program_is_told_a_secret_in_its_arguments() {
    let server = Cluster::start();
    server.query("postgres", &format!("ALTER ROLE postgres PASSWORD '{ROLE_PASSWORD}'"));
    let mut world = super::postgres::world(&server);
    let text = world.read("config/mainstay.yaml");
    let with = "user: postgres, password: { secret: database-password } }";
    world.document("mainstay.yaml", &text.replace("user: postgres }", with));
    world.commit("with a password");
    world.secret("database-password", ROLE_PASSWORD);
    let programs = ["psql", "pg_dump", "pg_restore", "pg_dumpall"];
    let path = noting(&world, &programs);
    world.set("PATH", path);
    world.run(&["apply"]).ends(0);
    server.query("postgres", "DROP DATABASE shop");
    world.run(&["-vvv", "apply"]).ends(0);
    let arguments = world.read("arguments");
    for program in programs {
        assert!(arguments.contains(&format!("{program} ")), "{program} ran: {arguments}");
    }
    assert!(!arguments.contains(ROLE_PASSWORD), "a secret in arguments: {arguments}");
    assert!(!arguments.contains(PASSWORD), "a secret in arguments: {arguments}");
    let mut found = Vec::new();
    search(world.path("").as_path(), &world.path("secrets"), &mut found);
    assert!(found.is_empty(), "a secret was written: {found:?}");
}
