//! The one way to remove everything of a resource: two people, a time to cool off, and a yes.

use mainstay_tests::mainstay::World;

/// The ids of all points, as the repository has them.
fn ids(world: &World) -> Vec<String> {
    let points = world.run(&["snapshots", "--format", "json"]).ends(0).json();
    let list = points.as_array().expect("a list").iter();
    list.map(|point| point["id"].as_str().expect("an id").to_owned()).collect()
}

/// Lets time pass for what our state remembers of the erasure; the binary's clock is the machine's.
fn cooled_off(world: &World) {
    let state = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    let changed = state
        .execute(
            "UPDATE records SET value = ?1 WHERE kind = 'erasure'",
            [b"\"2020-01-01T00:00:00Z\"".as_slice()],
        )
        .unwrap();
    assert_eq!(changed, 1, "one erasure was seen");
}

#[test]
fn everything_of_a_resource_is_erased_on_purpose() {
    let world = World::with_folder();
    world.run(&["apply"]).ends(0);
    world.run(&["backup", "shop/uploads"]).ends(0);
    world.run(&["apply"]).ends(0);
    let named = ids(&world);
    assert_eq!(named.len(), 2);
    // The folder is not protected any more, and what was stored of it shall go.
    let kept = world.documents();
    let kept = kept.split("---\n").filter(|doc| {
        ["Backup", "RecoveryPolicy", "Application"]
            .iter()
            .all(|kind| !doc.contains(&format!("kind: {kind}\n")))
    });
    world.document("mainstay.yaml", &kept.collect::<Vec<_>>().join("---\n"));
    let erasure = |people: &str| {
        format!(
            "apiVersion: mainstay.dev/v1\nkind: Erasure\nmetadata: {{ name: ticket }}\nspec:\n  \
             resource: shop/uploads\n  reason: asked for\n  snapshots: [{}]\n  \
             approvedBy: [{people}]\n",
            named.join(", ")
        )
    };
    world.document("erasure.yaml", &erasure("ann@example.org, Ann@example.org"));
    world.commit("one person is not two");
    world.run(&["validate"]).ends(1);

    world.document("erasure.yaml", &erasure("ann@example.org, ben@example.org"));
    world.commit("erase it");
    world.run(&["apply"]).says("CoolingOff");
    assert_eq!(ids(&world), named, "not before it has cooled off");

    cooled_off(&world);
    world.run(&["plan"]).ends(3).says("for ever");
    world.run(&["apply"]);
    assert_eq!(ids(&world), named, "not without a yes");
    let digest = world.digest();
    let step = "erase/ticket/shop/uploads/local";
    world.run(&["approve", &digest, "--step", "erase/other"]).ends(1).says(step);
    world.run(&["approve", &digest, "--step", step]).ends(0).says(step);
    world.run(&["apply"]);
    assert_eq!(ids(&world), [""; 0]);
    let left = world.restic(&["snapshots", "--json"]);
    assert!(named.iter().all(|id| !left.contains(id.as_str())), "{left}");
    world.judge();
}
