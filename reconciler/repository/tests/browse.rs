//! Snapshots as a file system of numbered nodes, as a mount shows them.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::sync::Arc;

use common::*;
use mainstay_repository::browse::{Browser, ROOT, Shelf};
use mainstay_repository::storage::MemoryStorage;
use mainstay_repository::{PruneMark, PruneOptions};
use model::cancel::Cancel;
use model::progress::Silent;

fn shelf(path: &[&str], snapshot: mainstay_repository::Id) -> Shelf {
    Shelf { path: path.iter().map(|p| p.as_bytes().to_vec()).collect(), snapshot }
}

/// Goes down from the root.
fn go(browser: &Browser, path: &str) -> u64 {
    path.split('/').filter(|p| !p.is_empty()).fold(ROOT, |at, name| {
        browser.find(at, name.as_bytes()).unwrap_or_else(|e| panic!("{name}: {}", e.chain())).number
    })
}

#[test]
fn snapshots_are_folders_and_their_files_read_as_they_were() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    make_tree(&source);
    let repo = Arc::new(init(Arc::new(MemoryStorage::default())));
    let first = backup(&repo, &source).snapshot.id;
    fs::write(source.join("small"), b"changed").unwrap();
    let second = backup(&repo, &source).snapshot.id;
    let shelves = [
        shelf(&["times", "one"], first),
        shelf(&["times", "two"], second),
        shelf(&["hosts", "host-a", "two"], second),
    ];
    let cancel = Cancel::default();
    let browser = Browser::new(Arc::clone(&repo), &shelves, &cancel).unwrap();
    let names = |number| -> Vec<String> {
        let listed = browser.list(number).unwrap();
        listed.into_iter().map(|(n, _)| String::from_utf8_lossy(&n).into_owned()).collect()
    };
    assert_eq!(names(ROOT), ["hosts", "times"]);
    assert_eq!(names(go(&browser, "times")), ["one", "two"]);
    let inside = source.to_str().unwrap();
    let (one, two) = (format!("times/one{inside}"), format!("hosts/host-a/two{inside}"));
    assert_eq!(browser.read(go(&browser, &format!("{one}/small")), 0, 99).unwrap(), b"hello");
    assert_eq!(browser.read(go(&browser, &format!("{two}/small")), 0, 99).unwrap(), b"changed");
    // Any part of a file of several pieces.
    let big = go(&browser, &format!("{one}/sub/big"));
    let whole = fs::read(source.join("sub/big")).unwrap();
    assert_eq!(browser.entry(big).unwrap().size, whole.len() as u64);
    for (from, length) in [(0, 10), (500_000, 3 << 20), ((9 << 20) - 5, 100), (9 << 20, 10)] {
        let got = browser.read(big, from as u64, length).unwrap();
        let end = (from + length).min(whole.len());
        assert!(got == whole[from.min(end)..end], "{from} {length}");
    }
    assert!(browser.read(big, 0, whole.len()).unwrap() == whole);
    let link = browser.entry(go(&browser, &format!("{one}/link"))).unwrap();
    assert_eq!(link.link_target, b"small");
    let reason = |r: Result<Vec<u8>, model::error::PortError>| r.unwrap_err().reason;
    assert_eq!(reason(browser.read(go(&browser, &one), 0, 1)), "WrongKind");
    assert_eq!(browser.find(ROOT, b"no").unwrap_err().reason, "NotFound");
    assert_eq!(browser.list(big).unwrap_err().reason, "WrongKind");

    // A node is known as often as it was found, and then no more.
    let small = go(&browser, &format!("{one}/small"));
    assert_eq!(go(&browser, &format!("{one}/small")), small);
    browser.forget(small, 2);
    assert!(browser.entry(small).is_ok(), "it was found three times");
    browser.forget(small, 1);
    assert_eq!(browser.entry(small).unwrap_err().reason, "NotFound");
}

#[test]
fn what_a_prune_moves_is_found_again() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("kept"), noise(100_000, 1)).unwrap();
    fs::write(source.join("gone"), noise(3 << 20, 2)).unwrap();
    let repo = Arc::new(init(Arc::new(MemoryStorage::default())));
    let first = backup(&repo, &source).snapshot.id;
    fs::remove_file(source.join("gone")).unwrap();
    let second = backup(&repo, &source).snapshot.id;
    let cancel = Cancel::default();
    let shelves = [shelf(&["s"], second)];
    let browser = Browser::new(Arc::clone(&repo), &shelves, &cancel).unwrap();
    let kept = go(&browser, &format!("s{}/kept", source.display()));
    repo.forget(&[first], &cancel).unwrap();
    let options = PruneOptions {
        grace: jiff::SignedDuration::ZERO,
        waste_percent_max: 0,
        ..PruneOptions::default()
    };
    let pruned = repo.prune(&PruneMark::default(), &options, &Silent, &cancel).unwrap();
    assert!(pruned.bytes_repacked > 0 && pruned.packs_deleted > 0);
    assert!(browser.read(kept, 0, 1 << 20).unwrap() == noise(100_000, 1));
}

#[test]
fn shelves_that_cannot_be_folders_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let repo = Arc::new(init(Arc::new(MemoryStorage::default())));
    let source = tmp.path().join("src");
    fs::create_dir(&source).unwrap();
    let id = backup(&repo, &source).snapshot.id;
    let cancel = Cancel::default();
    for bad in [vec![".."], vec!["a/b"], vec![""]] {
        let refused = Browser::new(Arc::clone(&repo), &[shelf(&bad, id)], &cancel).map(|_| ());
        assert_eq!(refused.unwrap_err().reason, "BadShelf", "{bad:?}");
    }
    let both = [shelf(&["a"], id), shelf(&["a", "b"], id)];
    let refused = Browser::new(repo, &both, &cancel).map(|_| ());
    assert_eq!(refused.unwrap_err().reason, "BadShelf");
}
