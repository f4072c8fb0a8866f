//! A SQLite database under a writer: backed up, put back in time, noticed, recovered, committed and
//! rolled back.

use std::fs;
use std::path::Path;

use mainstay_tests::mainstay::World;
use rusqlite::Connection;

fn with_database() -> World {
    mainstay_tests::ledger("SQLite", rusqlite::version());
    let world = World::with_folder();
    let path = world.path("data/orders.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);",
        )
        .unwrap();
    add(&path, 100);
    let resource = format!(
        "    - name: orders\n      type: sqlite\n      target: host/here\n      with: {{ path: \
         \"{}\" }}\n",
        path.display()
    );
    let anchor = "---\napiVersion: mainstay.dev/v1\nkind: Backup";
    let text = world.documents().replace(anchor, &format!("{resource}{anchor}"));
    world.document("mainstay.yaml", &text);
    world.commit("protect the database");
    world
}

fn add(path: &Path, count: u32) {
    let connection = Connection::open(path).unwrap();
    for n in 0..count {
        connection
            .execute("INSERT INTO orders (what) VALUES (?1)", [format!("order {n}")])
            .unwrap();
    }
}

pub fn rows(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
}

/// Backs up 100 rows, keeps a copy, grows to 150, backs up, and puts the copy back.
pub fn put_back_in_time() -> World {
    let world = with_database();
    let path = world.path("data/orders.db");
    world.run(&["apply"]).ends(0);
    let old = world.path("data/old.db");
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [old.to_str().unwrap()]).unwrap();
    add(&path, 50);
    world.run(&["backup", "shop/orders"]).ends(0);
    for suffix in ["-wal", "-shm"] {
        let name = format!("{}{suffix}", path.display());
        if Path::new(&name).exists() {
            fs::remove_file(name).unwrap();
        }
    }
    fs::copy(&old, &path).unwrap();
    world
}

#[test]
fn going_back_in_time_is_noticed_and_waits_for_a_person() {
    let world = put_back_in_time();
    assert_eq!(world.condition("shop/orders"), "rolledBack");
    world.run(&["plan"]).ends(3).says("RolledBack").says("approv");
    world.run(&["apply"]).ends(3);
    assert_eq!(rows(&world.path("data/orders.db")), 100, "nothing without a yes");
    // A wrong digest is refused.
    world.run(&["apply", "--approve", &"0".repeat(64)]).ends(1);
    let digest = world.digest();
    world.run(&["apply", "--approve", &digest]).ends(0);
    assert_eq!(rows(&world.path("data/orders.db")), 150);
    world.run(&["status"]).says("commit");
    world.run(&["commit", "shop/orders"]).ends(0);
    assert_eq!(world.condition("shop/orders"), "healthy");
    world.run(&["plan"]).ends(0);
    world.judge();
}

#[test]
fn a_rollback_puts_the_old_data_back() {
    let world = put_back_in_time();
    let digest = world.digest();
    world.run(&["apply", "--approve", &digest]).ends(0);
    assert_eq!(rows(&world.path("data/orders.db")), 150);
    world.run(&["rollback", "shop/orders"]).ends(0);
    assert_eq!(rows(&world.path("data/orders.db")), 100);
    // The person wanted it so: it is not brought back again.
    let steps = world.steps();
    assert!(steps.iter().all(|s| !s.starts_with("restore/")), "{steps:?}");
}

#[test]
fn the_digest_fits_the_next_pass() {
    let world = put_back_in_time();
    let first = world.digest();
    world.run(&["apply"]).ends(3);
    assert_eq!(world.digest(), first);
}

#[test]
fn a_saved_plan_is_what_is_applied() {
    let world = put_back_in_time();
    let file = world.path("plan.json");
    let file = file.to_str().unwrap();
    world.run(&["plan", "--out", file]).ends(3);
    add(&world.path("data/orders.db"), 1);
    // The database moved on since the plan was saved.
    world.run(&["apply", file, "--approve", &"0".repeat(64)]).ends(1).says("moved");
}

#[test]
fn a_lost_database_comes_back() {
    let world = with_database();
    world.run(&["apply"]).ends(0);
    let path = world.path("data/orders.db");
    for name in ["data/orders.db", "data/orders.db-wal", "data/orders.db-shm"] {
        fs::remove_file(world.path(name)).ok();
    }
    assert_eq!(world.condition("shop/orders"), "lost");
    world.run(&["apply"]).ends(0);
    assert_eq!(rows(&path), 100);
}

#[test]
fn a_damaged_database_is_noticed() {
    let world = with_database();
    world.run(&["apply"]).ends(0);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(world.path(&format!("data/orders.db{suffix}"))).ok();
    }
    world.write("data/orders.db", "this is not a database, and long enough to be looked at\n");
    assert_eq!(world.condition("shop/orders"), "damaged");
    let digest = world.digest();
    world.run(&["apply", "--approve", &digest]).ends(0);
    assert_eq!(rows(&world.path("data/orders.db")), 100);
}
