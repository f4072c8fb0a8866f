//! Snapshots as folders of this machine: what the kernel shows is what was backed up.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_tests::mainstay::{Running, World};

/// A world with a folder of all that a folder may hold, backed up.
fn world() -> (World, PathBuf) {
    let world = World::with_folder();
    let data = world.path("data/uploads");
    let at = |name: &str| data.join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::hard_link(at("file-01.txt"), at("sub/another name")).unwrap();
    std::os::unix::fs::symlink("../file-02.txt", at("sub/symbolic")).unwrap();
    let any = std::ffi::OsStr::from_bytes(b"any \xff\n\x01 bytes");
    fs::write(data.join("sub").join(any), "of any name\n").unwrap();
    fs::set_permissions(at("file-03.txt"), fs::Permissions::from_mode(0o4640)).unwrap();
    let holes = fs::File::create(at("holes")).unwrap();
    holes.set_len(8 << 20).unwrap();
    holes.write_all_at(b"in the middle", 5 << 20).unwrap();
    // Of several pieces, and of no pattern.
    let noise: Vec<u8> = (0..6_000_000_u64).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    fs::write(at("large"), noise).unwrap();
    let old = fs::File::options().write(true).open(at("file-04.txt")).unwrap();
    let moment = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 42);
    old.set_modified(moment).unwrap();
    let set = ["-n", "user.colour", "-v", "blue"];
    assert!(Command::new("setfattr").args(set).arg(at("file-05.txt")).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    world.run(&["apply"]).ends(0);
    (world, data)
}

fn mount(world: &World, more: &[&str]) -> (Running, PathBuf) {
    let there = Path::new("/dev/fuse").exists();
    assert!(there, "the kernel's FUSE (/dev/fuse) is needed by this test; tests/run gets it");
    let at = world.path("mnt");
    fs::create_dir_all(&at).unwrap();
    let place = at.display().to_string();
    let words = [&["repository", "mount", &place, "--repository", "local"], more].concat();
    let mut mounted = world.spawn(&words, "mount.log");
    mounted.wait_for("Ctrl-C ends it");
    (mounted, at)
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<OsString> = entries.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}

fn attributes(path: &Path) -> String {
    let mut command = Command::new("getfattr");
    let output =
        command.args(["--dump", "--no-dereference", "--match", "user."]).arg(path).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Compares everything below two folders.
fn same(source: &Path, shown: &Path) {
    assert_eq!(names(source), names(shown), "{}", shown.display());
    for name in names(source) {
        let (a, b) = (source.join(&name), shown.join(&name));
        let (was, is) = (fs::symlink_metadata(&a).unwrap(), fs::symlink_metadata(&b).unwrap());
        let facts = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
        let name = name.display();
        assert_eq!(facts(&was), facts(&is), "{name}");
        assert_eq!(attributes(&a), attributes(&b), "{name}");
        if was.is_dir() {
            same(&a, &b);
        } else if was.is_symlink() {
            assert_eq!(fs::read_link(&a).unwrap(), fs::read_link(&b).unwrap());
        } else if was.is_file() {
            assert_eq!((was.len(), was.nlink()), (is.len(), is.nlink()), "{name}");
            assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{name}");
        }
    }
}

#[test]
fn snapshots_are_folders_until_a_signal() {
    let (world, data) = world();
    let (mut mounted, at) = mount(&world, &[]);
    assert_eq!(names(&at), ["hosts", "ids", "resources", "times"]);
    let inside = data.strip_prefix("/").unwrap();
    let point = at.join("resources/shop/uploads/latest");
    let shown = if point.join(inside).exists() { point.join(inside) } else { point };
    same(&data, &shown);
    // Two names of one file are one file.
    let number = |name: &str| fs::metadata(shown.join(name)).unwrap().ino();
    assert_eq!(number("file-01.txt"), number("sub/another name"));
    assert_ne!(number("file-01.txt"), number("file-02.txt"));
    let mut part = [0; 100];
    let large = fs::File::open(shown.join("large")).unwrap();
    large.read_exact_at(&mut part, 5_999_900).unwrap();
    assert!(part == fs::read(data.join("large")).unwrap()[5_999_900..]);
    // What was read stays right when the source changes, and nothing can be written.
    world.write("data/uploads/file-06.txt", "changed\n");
    assert_eq!(fs::read_to_string(shown.join("file-06.txt")).unwrap(), "content of 6\n");
    assert!(fs::write(shown.join("file-06.txt"), "x").is_err());
    assert!(fs::remove_file(shown.join("file-06.txt")).is_err());
    assert!(fs::write(at.join("new"), "x").is_err());
    // A second mount does not hide the first.
    let place = at.display().to_string();
    let again = world.run(&["repository", "mount", &place, "--repository", "local"]);
    again.ends(1).says("is not empty");
    mounted.signal("INT");
    assert_eq!(mounted.wait(), 0, "{}", mounted.log());
    assert_eq!(names(&at), [""; 0], "it is unmounted");
}

#[test]
fn a_mount_ends_in_use_and_by_umount() {
    let (world, _) = world();
    let (mut mounted, at) = mount(&world, &["--of", "shop/uploads"]);
    let times = names(&at.join("times"));
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    assert_eq!(mounted.wait(), 0, "{}", mounted.log());
    assert!(mounted.log().contains("was unmounted"));

    let (mut mounted, at) = mount(&world, &[]);
    let folder = fs::File::open(at.join("times")).unwrap();
    mounted.signal("TERM");
    assert_eq!(mounted.wait(), 0, "{}", mounted.log());
    assert_eq!(names(&at), [""; 0], "it is out of the way though it was in use");
    drop(folder);

    let (mut mounted, at) = mount(&world, &[]);
    mounted.signal("KILL");
    mounted.wait();
    // Nobody answers there; what is to be done is said, and done it works again.
    assert!(fs::read_dir(&at).is_err());
    let place = at.display().to_string();
    let again = world.run(&["repository", "mount", &place, "--repository", "local"]);
    again.ends(1).says("a mount left that was killed").says(&format!("umount {place}"));
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    let (mut mounted, at) = mount(&world, &[]);
    assert_eq!(names(&at.join("times")), times);
    mounted.signal("INT");
    assert_eq!(mounted.wait(), 0, "{}", mounted.log());

    let missing = world.path("nowhere").display().to_string();
    let words = ["repository", "mount", &missing, "--repository", "local"];
    world.run(&words).ends(1).says("does not exist").says("name an empty folder");
}
