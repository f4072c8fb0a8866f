//! A PostgreSQL database on a server of the test's own: backed up, dropped, brought back; and a
//! server that is down is never taken for a lost database.

use mainstay_tests::mainstay::World;
use mainstay_tests::postgres::Cluster;

/// A world with the folder of `World::with_folder` and a database of 500 rows on `server`.
pub fn world(server: &Cluster) -> World {
    server.query("postgres", "CREATE DATABASE shop");
    server.query(
        "shop",
        "CREATE TABLE customers (id serial PRIMARY KEY, name text);
         INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, 500) n",
    );
    let world = World::with_folder();
    let resource = format!(
        "    - name: customers\n      type: postgres\n      target: host/here\n      with: {{ \
         database: shop, host: \"{}\", port: {}, user: postgres }}\n",
        server.socket_dir().display(),
        server.port()
    );
    let anchor = "---\napiVersion: mainstay.dev/v1\nkind: Backup";
    let text = world.documents().replace(anchor, &format!("{resource}{anchor}"));
    world.document("mainstay.yaml", &text);
    world.commit("protect the database");
    world
}

#[test]
fn a_dropped_database_comes_back_with_every_row() {
    let server = Cluster::start();
    let world = world(&server);
    world.run(&["apply"]).ends(0);
    assert_eq!(world.condition("shop/customers"), "healthy");
    server.query("postgres", "DROP DATABASE shop");
    assert_eq!(world.condition("shop/customers"), "lost");
    world.run(&["apply"]).ends(0);
    let sum = "SELECT count(*), sum(id), min(name) FROM customers";
    assert_eq!(server.query("shop", sum), "500|125250|customer 1");
    assert_eq!(world.condition("shop/customers"), "healthy");
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%mainstay%'";
    assert_eq!(server.query("postgres", left), "0", "nothing is left beside it");
    world.judge();
}

#[test]
fn a_server_that_is_down_is_unknown_and_never_lost() {
    let mut server = Cluster::start();
    let world = world(&server);
    world.run(&["apply"]).ends(0);
    server.stop();
    assert_eq!(world.condition("shop/customers"), "unreachable");
    world.run(&["plan"]).ends(4).says("ServerDown");
    let steps = world.steps();
    assert!(steps.iter().all(|s| !s.starts_with("restore/")), "{steps:?}");
    server.resume();
    world.run(&["plan"]).ends(0);
}
