//! From files to a desired state.
#![allow(clippy::unwrap_used)]

mod support;

use model::desired::{Keep, When};
use support::{QUICKSTART, load_tree, tree};

#[test]
fn the_quickstart_is_understood() {
    let loaded = load_tree(&tree(&[("mainstay.yaml", QUICKSTART)]));
    assert_eq!(loaded.diagnostics, vec![]);
    let desired = loaded.desired.unwrap();
    assert_eq!(desired.documents, 4);
    let address = "shop/uploads".parse().unwrap();
    let resource = &desired.resources[&address];
    let folder = resource.agent.tree.as_ref().unwrap();
    assert_eq!(folder.path, "/srv/uploads");
    assert_eq!(folder.largest_bytes, None);
    assert_eq!(resource.agent.with["path"], "/srv/uploads");
    let backup = &desired.backups[&"shop".parse().unwrap()];
    assert_eq!(backup.schedule.when, When::Every { seconds: 3_600 });
    assert_eq!(backup.resources.iter().collect::<Vec<_>>(), [&address]);
    let retention = backup.retention.as_ref().unwrap();
    assert_eq!((retention.name.as_str(), retention.daily), ("gfs-standard", Keep::Count(7)));
    assert_eq!(desired.origins["backup/shop"].line, 25);
    assert_eq!(desired.origins["resource/shop/uploads"].line, 18);
}
