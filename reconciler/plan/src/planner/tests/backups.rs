//! What is backed up and proven.

use insta::assert_snapshot;

use crate::testing::*;

#[test]
fn a_new_resource_is_backed_up_at_once() {
    let world = World::shop();
    assert_snapshot!(world.text(), @r"
    steps
      + backup shop/files to local (slot 2026-11-20T12:00:00Z)  [backup/shop/files/local]
          slot 2026-11-20T12:00:00Z of backup shop is due, the first one in local
          about 4.0 KiB
      ? verify shop/files, the new point, in local  [verify/shop/files/local/new]
          backup shop proves each point after it is written
          about 4.0 KiB

    changes to apply: 1 backup, 1 verify
    ");
}

#[test]
fn what_is_protected_needs_nothing() {
    assert_snapshot!(World::protected().text(), @r"nothing to do: no steps");
}
