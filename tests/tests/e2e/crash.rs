//! Killed after each journal record, by the real binary on real data: the next run comes to the
//! same end, and restic finds nothing wrong.

use std::fs;

use mainstay_tests::mainstay::World;

use crate::sqlite::{put_back_in_time, rows};

/// A run writes far fewer journal records.
const RECORDS_MAX: u32 = 60;

/// Runs a command with a crash after each record, 1, 2, 3… until it passes untouched; after each
/// crash the same command without one must come to the goal.
pub fn sweep(prepare: impl Fn() -> World, words: &[&str], goal: impl Fn(&World)) {
    for records in 1..RECORDS_MAX {
        let world = prepare();
        let run = world.run_with(words, "MAINSTAY_TEST_CRASH_AFTER", &records.to_string());
        let crashed = run.code == -1;
        if crashed {
            world.run(words).ends(0);
        } else {
            assert_eq!(run.code, 0, "after {records}: {}\n{}", run.stdout, run.stderr);
        }
        goal(&world);
        world.judge();
        if !crashed {
            assert!(records > 3, "the sweep reached nothing");
            return;
        }
    }
    panic!("{RECORDS_MAX} records were not enough");
}

#[test]
fn a_repository_that_was_never_finished_is_made_anew() {
    let world = World::with_folder();
    // As a kill between the key and the config leaves it.
    for folder in ["data/00", "index", "keys", "locks", "snapshots"] {
        fs::create_dir_all(world.path("backups").join(folder)).unwrap();
    }
    world.write("backups/keys/0123", "half a key");
    world.run(&["apply"]).ends(0);
    world.judge();
    // With anything stored in it, it is not touched.
    let other = World::with_folder();
    other.write("backups/data/00/0123", "a pack");
    other.run(&["apply"]).ends(4);
    assert_eq!(other.read("backups/data/00/0123"), "a pack");
}

#[test]
fn a_backup_killed_anywhere_is_made_once() {
    sweep(World::with_folder, &["apply"], |world| {
        assert_eq!(world.points(), 1, "one slot, one point");
        world.run(&["plan"]).ends(0);
    });
}

#[test]
fn a_restore_killed_anywhere_is_done_once() {
    let prepare = || {
        let world = World::with_folder();
        world.run(&["apply"]).ends(0);
        fs::remove_dir_all(world.path("data/uploads")).unwrap();
        world
    };
    sweep(prepare, &["apply"], |world| {
        for n in 0..20 {
            let name = format!("data/uploads/file-{n:02}.txt");
            assert_eq!(world.read(&name), format!("content of {n}\n"));
        }
        let names: Vec<_> =
            fs::read_dir(world.path("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["uploads"], "nothing is left beside it");
        assert_eq!(world.condition("shop/uploads"), "healthy");
    });
}

/// What a person puts in the place of lost data, after a restore broke off, is not replaced without
/// a word, whatever the restore had noted by then.
#[test]
fn what_came_after_a_killed_restore_stays_in_place() {
    let (mut met, mut records) = (0, 1);
    loop {
        let world = World::with_folder();
        world.run(&["apply"]).ends(0);
        fs::remove_dir_all(world.path("data/uploads")).unwrap();
        let crashing =
            world.run_with(&["apply"], "MAINSTAY_TEST_CRASH_AFTER", &records.to_string());
        if crashing.code != -1 {
            assert!(met > 3, "met {met} of {records}");
            return;
        }
        records += 1;
        if world.path("data/uploads").exists() {
            // It was in place already.
            continue;
        }
        met += 1;
        world.write("data/uploads/by-hand.txt", "made by hand");
        for _ in 0..2 {
            world.run(&["apply"]);
            assert_eq!(world.read("data/uploads/by-hand.txt"), "made by hand");
        }
        world.judge();
    }
}

/// Kills a run after each record, then goes on as a person would: with a plain `apply` first, which
/// resumes what was begun under the approval that is remembered.
fn sweep_database(prepare: impl Fn() -> World, words: &[&str], then: &[&str], rows_after: i64) {
    for records in 1..RECORDS_MAX {
        let world = prepare();
        let digest;
        let mut words = words.to_vec();
        if words == ["apply"] {
            digest = world.digest();
            words.extend(["--approve", &digest]);
        }
        let run = world.run_with(&words, "MAINSTAY_TEST_CRASH_AFTER", &records.to_string());
        let crashed = run.code == -1;
        if crashed && then == ["apply"] {
            let again = world.run(&["apply"]);
            if again.code == 3 {
                // The crash came before the approval was written down.
                world.run(&words).ends(0);
            } else {
                again.ends(0);
            }
        } else if crashed {
            let again = world.run(then);
            assert!(again.code == 0 || again.stderr.contains("waits for"), "{}", again.stderr);
        } else {
            assert_eq!(run.code, 0, "after {records}: {}\n{}", run.stdout, run.stderr);
        }
        assert_eq!(rows(&world.path("data/orders.db")), rows_after, "after {records} records");
        world.judge();
        if !crashed {
            assert!(records > 3, "the sweep reached nothing");
            return;
        }
    }
    panic!("{RECORDS_MAX} records were not enough");
}

#[test]
fn a_database_recovery_killed_anywhere_comes_to_its_end() {
    sweep_database(put_back_in_time, &["apply"], &["apply"], 150);
}

#[test]
fn commit_and_rollback_killed_anywhere_come_to_their_end() {
    let recovered = || {
        let world = put_back_in_time();
        let digest = world.digest();
        world.run(&["apply", "--approve", &digest]).ends(0);
        world
    };
    let (commit, rollback) = (["commit", "shop/orders"], ["rollback", "shop/orders"]);
    sweep_database(recovered, &commit, &commit, 150);
    sweep_database(recovered, &rollback, &rollback, 100);
}
