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

/// What a dump leaves out, each as one line.
const PROPERTIES: &str = r#"
    SELECT pg_get_userbyid(datdba) || ' ' || pg_encoding_to_char(encoding) || ' ' || datcollate,
           datconnlimit, shobj_description(d.oid, 'pg_database'),
           ARRAY(SELECT a::text FROM unnest(datacl) AS a ORDER BY 1),
           ARRAY(SELECT setrole::regrole || ': ' || array_to_string(setconfig, ', ')
                 FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY 1)
    FROM pg_database AS d WHERE datname = 'shop'"#;

#[test]
fn a_database_comes_back_with_what_a_dump_leaves_out() {
    let server = Cluster::start();
    let world = world(&server);
    server.query("postgres", "DROP DATABASE shop");
    // Another locale than the server's, and what would be in the way of a restore.
    for statement in [
        "CREATE ROLE \"the 'owner'\"",
        "CREATE ROLE clerk",
        "CREATE DATABASE shop OWNER \"the 'owner'\" TEMPLATE template0 ENCODING 'SQL_ASCII' \
         LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 7",
        "COMMENT ON DATABASE shop IS 'it''s\n\\if ours'",
        "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
        "GRANT CONNECT ON DATABASE shop TO clerk WITH GRANT OPTION",
        "GRANT CREATE, TEMPORARY ON DATABASE shop TO clerk",
    ] {
        server.query("postgres", statement);
    }
    server.query("shop", "CREATE TABLE sold (what text); INSERT INTO sold VALUES ('a lamp')");
    for statement in [
        "ALTER DATABASE shop SET search_path TO \"$user\", \"odd \"\"one\", public",
        "ALTER DATABASE shop SET app.tenant TO 'the ''first'''",
        "ALTER DATABASE shop SET default_transaction_read_only TO on",
        "ALTER ROLE clerk IN DATABASE shop SET work_mem TO '64MB'",
        "ALTER ROLE clerk IN DATABASE shop SET temp_tablespaces TO ''",
    ] {
        server.query("postgres", statement);
    }
    let before = server.query("postgres", PROPERTIES);
    assert!(before.contains("SQL_ASCII C|7|it's"), "{before}");
    world.run(&["apply"]).ends(0);
    server.query("postgres", "DROP DATABASE shop");
    world.run(&["apply"]).ends(0);
    assert_eq!(server.query("postgres", PROPERTIES), before);
    assert_eq!(server.query("shop", "SELECT what FROM sold"), "a lamp");
    world.judge();
}

#[test]
fn a_database_comes_back_with_its_own_locale_provider() {
    let server = Cluster::start();
    let world = world(&server);
    let provider = "SELECT d ->> 'datlocprovider', \
                           coalesce(d ->> 'daticulocale', d ->> 'datlocale') \
                    FROM pg_database, LATERAL to_jsonb(pg_database) AS d WHERE datname = 'shop'";
    // Encoding and the names of the C library's locales are the server's.
    server.query("postgres", "DROP DATABASE shop");
    let made = "CREATE DATABASE shop TEMPLATE template0 LOCALE_PROVIDER icu \
                ICU_LOCALE 'en-u-kn-true'";
    server.query("postgres", made);
    server
        .query("shop", "CREATE TABLE sold (what text); INSERT INTO sold VALUES ('a 10'), ('a 9')");
    let before = server.query("postgres", provider);
    assert!(before.starts_with("i|en"), "{before}");
    world.run(&["apply"]).ends(0);
    server.query("postgres", "DROP DATABASE shop");
    world.run(&["apply"]).ends(0);
    assert_eq!(server.query("postgres", provider), before);
    let sorted = "SELECT string_agg(what, ', ' ORDER BY what) FROM sold";
    assert_eq!(server.query("shop", sorted), "a 9, a 10");
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
