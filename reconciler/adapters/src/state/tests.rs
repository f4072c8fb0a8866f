//! Tests of the states: the suite over both, and damage to the folder.

use std::fs;
use std::path::PathBuf;

use model::ports::state::{Change, State as _};
use testkit::conformance::state::{conformance, owner, record};

use super::{Folder, Memory};

#[tokio::test]
async fn memory_conforms() {
    let state = Memory::new();
    conformance(&state, &state.clone()).await;
}

#[tokio::test]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let state = Folder::open(folder.path()).unwrap();
    let second = Folder::open(folder.path()).unwrap();
    assert!(state.is_fresh() && !second.is_fresh());
    conformance(&state, &second).await;
}

#[tokio::test]
async fn two_processes_append_to_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Folder::open(folder.path()).unwrap(), Folder::open(folder.path()).unwrap());
    assert_eq!(one.append(&record("a")).await.unwrap(), 1);
    assert_eq!(two.append(&record("b")).await.unwrap(), 2);
    assert_eq!(one.append(&record("c")).await.unwrap(), 3);
    assert_eq!(two.read_journal(0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_damaged_database_is_put_aside_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.db"), vec![7_u8; 9000]).unwrap();
    let state = Folder::open(folder.path()).unwrap();
    assert!(state.is_fresh());
    assert!(state.notes()[0].contains("damaged"), "{:?}", state.notes());
    assert_eq!(fs::read(folder.path().join("state.db.damaged-1")).unwrap(), vec![7_u8; 9000]);
    let change = Change { kind: "k".into(), key: "a".into(), value: Some(vec![1]) };
    state.write(&[change]).await.unwrap();
}

#[test]
fn a_damaged_database_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _held = super::lock::take(&folder.path().join("lock"), &owner("daemon")).unwrap();
    fs::write(folder.path().join("state.db"), vec![7_u8; 9000]).unwrap();
    let Err(error) = Folder::open(folder.path()) else { panic!("it was opened") };
    assert_eq!(error.reason, "StateDamaged");
}

/// Makes a journal of `count` records and returns its one segment.
async fn journal_of(folder: &std::path::Path, count: usize) -> PathBuf {
    let state = Folder::open(folder).unwrap();
    for n in 0..count {
        state.append(&record(&format!("{n}"))).await.unwrap();
    }
    folder.join("journal").join(format!("{:020}.mjl", 1))
}

#[tokio::test]
async fn a_torn_end_is_cut_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let segment = journal_of(folder.path(), 3).await;
    let whole = fs::read(&segment).unwrap();
    let record_bytes = (whole.len() - 8) / 3;
    for cut in 1..record_bytes {
        fs::write(&segment, &whole[..whole.len() - cut]).unwrap();
        let state = Folder::open(folder.path()).unwrap();
        assert_eq!(state.read_journal(0, 10).await.unwrap().len(), 2, "cut {cut}");
        assert_eq!(state.append(&record("after")).await.unwrap(), 3, "cut {cut}");
        let records = state.read_journal(0, 10).await.unwrap();
        assert_eq!(records.len(), 3, "cut {cut}");
        assert_eq!(records[2].body, record("after").body);
    }
}

#[tokio::test]
async fn a_segment_torn_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let segment = journal_of(folder.path(), 1).await;
    fs::write(&segment, b"mns").unwrap();
    let state = Folder::open(folder.path()).unwrap();
    assert_eq!(state.append(&record("x")).await.unwrap(), 1);
    assert_eq!(state.read_journal(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn damage_in_the_middle_costs_one_record_and_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let segment = journal_of(folder.path(), 3).await;
    let mut bytes = fs::read(&segment).unwrap();
    let middle = 8 + (bytes.len() - 8) / 2;
    bytes[middle] ^= 0xff;
    fs::write(&segment, &bytes).unwrap();
    let state = Folder::open(folder.path()).unwrap();
    assert!(state.notes()[0].contains("damaged"), "{:?}", state.notes());
    let records = state.read_journal(0, 10).await.unwrap();
    assert_eq!(records.iter().map(|r| r.sequence).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(state.append(&record("x")).await.unwrap(), 4);
}

#[tokio::test]
async fn full_segments_are_followed_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let state = Folder::open(folder.path()).unwrap();
    // Digests do not compress, so that a few records fill a segment.
    let noise: String = (0..60_000_u32).map(|n| blake3::hash(&n.to_le_bytes()).to_hex()).fold(
        String::new(),
        |mut text, hex| {
            text.push_str(&hex);
            text
        },
    );
    for _ in 0..5 {
        state.append(&record(&noise)).await.unwrap();
    }
    let names: Vec<_> = fs::read_dir(folder.path().join("journal")).unwrap().collect();
    assert!(names.len() > 2, "one lock and at least two segments");
    let from_three = state.read_journal(3, 10).await.unwrap();
    assert_eq!(from_three.iter().map(|r| r.sequence).collect::<Vec<_>>(), [3, 4, 5]);
}
