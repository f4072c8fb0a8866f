//! kill -9 at random moments of every operation, as real processes on real files: what was
//! committed stays whole, the next run goes on, and restic agrees.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::actor::{actor, done};
use common::*;
use mainstay_repository::{CheckOptions, Depth, Id};
use model::cancel::Cancel;
use model::progress::Silent;

/// How many times a process is killed.
const KILLS: u64 = 300;
/// After so many of them restic judges, which takes longer than all the rest.
const RESTIC_EVERY: u64 = 20;

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn whole(repo: &Path, what: &str) -> Vec<Id> {
    let repo = open_at(repo);
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 1 };
    let report = repo.check(&options, &Silent, &Cancel::default());
    let report = report.unwrap_or_else(|e| panic!("{what}: {}", e.chain()));
    assert_eq!(report.faults, [], "{what}");
    repo.snapshots().unwrap().iter().map(|s| s.original.unwrap_or(s.id)).collect()
}

#[test]
fn killed_at_any_moment() {
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let (repo, copy, source, out) = (at("repo"), at("copy"), at("src"), at("out"));
    fs::create_dir(&source).unwrap();
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    let change = |dice: &mut Dice| {
        for _ in 0..12 {
            let name = source.join(format!("f{}", dice.roll(40)));
            fs::write(name, noise(20_000 + dice.roll(200_000) as usize, dice.roll(1 << 40)))
                .unwrap();
        }
    };
    change(&mut dice);
    done(&repo, &["init"]);
    done(&copy, &["init"]);
    done(&repo, &["backup", source.to_str().unwrap()]);
    let (source_text, copy_text) = (source.to_str().unwrap(), copy.to_str().unwrap());
    let out_text = out.to_str().unwrap();
    let operations: [&[&str]; 8] = [
        &["backup", source_text],
        &["forget", "3"],
        &["prune", "0"],
        &["copy", copy_text],
        &["tag", "marked"],
        &["rebuild"],
        &["restore", out_text],
        &["check"],
    ];
    let mut killed = 0;
    for round in 0.. {
        if killed >= KILLS {
            break;
        }
        assert!(round < 4 * KILLS, "most operations live long enough to be killed");
        let operation = operations[dice.roll(operations.len() as u64) as usize];
        if operation[0] == "backup" {
            change(&mut dice);
        }
        let mut child =
            actor(&repo, operation).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Processes live some ten milliseconds here; the moment is all that matters.
        let moment = Duration::from_micros(dice.roll(30_000));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let _ = receiver.recv_timeout(moment);
        drop(sender);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u64::from(status.code().is_none());
        if round % 4 == 0 {
            whole(&repo, &format!("killed in {operation:?} after {moment:?}, round {round}"));
            whole(&copy, &format!("copy, after {operation:?}, round {round}"));
        }
        if killed % RESTIC_EVERY == 1 {
            // What dead processes of ours left goes with the next operation that it would stop.
            done(&repo, &["prune", "0"]);
            restic(&repo, &["check", "--read-data"]);
        }
    }
    goes_on(&repo, &copy, &source, &out);
}

/// The newest state is stored and comes back, here and in the copy.
fn goes_on(repo: &Path, copy: &Path, source: &Path, out: &Path) {
    let out_text = out.to_str().unwrap();
    done(repo, &["backup", source.to_str().unwrap()]);
    done(repo, &["forget", "2"]);
    done(repo, &["prune", "0"]);
    done(repo, &["copy", copy.to_str().unwrap()]);
    done(copy, &["prune", "0"]);
    let left = whole(repo, "at the end");
    assert_eq!(left.len(), 2);
    let copied = whole(copy, "the copy at the end");
    assert!(left.iter().all(|id| copied.contains(id)), "{left:?} {copied:?}");
    for place in [repo, copy] {
        restic(place, &["check", "--read-data"]);
        let _ = fs::remove_dir_all(out);
        restic(place, &["restore", "latest", "--target", out_text]);
        assert_same_tree(source, &out.join(source.strip_prefix("/").unwrap()));
    }
    assert!(open_at(repo).locks().unwrap().is_empty());
}
