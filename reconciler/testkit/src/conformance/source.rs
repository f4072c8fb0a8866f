//! What every source of configuration with history must do.

use std::collections::BTreeMap;

use model::error::ErrorClass;
use model::id::CommitId;
use model::observed::Ancestry;
use model::ports::source::Source;

/// A config repository that can be played with.
pub trait Subject {
    /// Commits files after another commit (`None`: after nothing), and lets the branch name it.
    fn commit(&mut self, parent: Option<&CommitId>, files: &[(&str, &str)]) -> CommitId;
    /// Lets the branch name a commit.
    fn point_to(&mut self, commit: &CommitId);
    /// Makes it unreachable, or reachable again.
    fn cut_off(&mut self, cut_off: bool);
}

async fn fetched(source: &dyn Source) -> (CommitId, BTreeMap<String, Vec<u8>>) {
    let tree = source.fetch().await.expect("the newest commit is fetched");
    (tree.commit, tree.files)
}

/// Runs the suite on a repository without commits.
///
/// # Panics
/// Panics when the source breaks a rule.
pub async fn conformance(source: &dyn Source, subject: &mut dyn Subject) {
    assert!(source.fetch().await.is_err(), "there is nothing yet");
    let first = subject.commit(None, &[("a.yaml", "one"), ("deep/b.yaml", "two")]);
    let (commit, files) = fetched(source).await;
    assert_eq!(commit, first, "the commit is the branch's");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["a.yaml", "deep/b.yaml"], "all files of it, by path");
    assert_eq!(files["a.yaml"], b"one", "with their content");
    let second = subject.commit(Some(&first), &[("a.yaml", "three")]);
    let (commit, files) = fetched(source).await;
    assert_eq!((commit, files.len()), (second.clone(), 1), "a file that went is gone");
    let old = source.at(&first).await.expect("a commit that was fetched is still there");
    assert_eq!((old.commit, old.files.len()), (first.clone(), 2), "as it was");
    ancestry(source, subject, &first, &second).await;
    unreachable(source, subject, &second).await;
}

async fn ancestry(
    source: &dyn Source,
    subject: &mut dyn Subject,
    first: &CommitId,
    second: &CommitId,
) {
    assert_eq!(source.ancestry(first, first).await, Ancestry::Same);
    assert_eq!(source.ancestry(first, second).await, Ancestry::Descends);
    assert_eq!(source.ancestry(second, first).await, Ancestry::Diverged, "older is not newer");
    subject.point_to(first);
    assert_eq!(fetched(source).await.0, *first, "a branch that was forced back is followed");
    let other = subject.commit(Some(first), &[("a.yaml", "other")]);
    fetched(source).await;
    assert_eq!(source.ancestry(second, &other).await, Ancestry::Diverged, "another line");
    let unknown = CommitId::from("0123456789012345678901234567890123456789");
    assert_eq!(source.ancestry(&unknown, &other).await, Ancestry::Unknown, "never seen");
    assert!(source.at(&unknown).await.is_err(), "what was never fetched is not made up");
    let none = subject.commit(Some(&other), &[]);
    let (commit, files) = fetched(source).await;
    assert_eq!((commit, files.len()), (none, 0), "an empty commit is one without files");
    subject.point_to(second);
    fetched(source).await;
}

async fn unreachable(source: &dyn Source, subject: &mut dyn Subject, last: &CommitId) {
    subject.cut_off(true);
    let Err(error) = source.fetch().await else { panic!("what is out of reach is not fetched") };
    assert_ne!(error.class, ErrorClass::Cancelled, "nobody asked to stop: {}", error.chain());
    assert!(source.at(last).await.is_ok(), "what was fetched is there all the same");
    subject.cut_off(false);
    assert_eq!(fetched(source).await.0, *last, "and goes on afterwards");
}
