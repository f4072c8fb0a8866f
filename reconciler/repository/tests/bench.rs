//! The bench takes its steps, so that it can be relied on when figures are wanted. Nothing is
//! said of figures here: the data is a thousandth of theirs.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::process::Command;

use common::actor;

#[test]
fn every_part_is_measured() {
    let tmp = tempfile::tempdir().unwrap();
    let bench = actor::program().with_file_name("bench");
    let mut command = Command::new(bench);
    command.arg("run").arg(tmp.path().join("data"));
    command.args(["--scale", "0.001", "--rounds", "1", "--only", "small,database"]);
    let output = command.env("RESTIC", common::restic_binary()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    for part in ["small", "database"] {
        for step in ["first backup", "unchanged", "2 % changed", "restore"] {
            let row = table.lines().find(|line| line.starts_with(&format!("| {part} | {step} |")));
            assert!(row.is_some(), "{part}, {step}: {table}");
        }
        let limit = table
            .lines()
            .find(|line| line.starts_with(&format!("| {part} |")) && line.ends_with(" % |"));
        assert!(limit.is_some(), "the limit of {part}: {table}");
    }
}
