//! What every state must do, as one function that panics with the broken rule. Called by the tests
//! of every implementation, the fakes too.

use model::Timestamp;
use model::error::ErrorClass;
use model::journal::{Body, JOURNAL_VERSION, Record};
use model::ports::state::{Change, Owner, State};

/// Returns an owner of the given command, for tests.
pub fn owner(command: &str) -> Owner {
    Owner {
        command: command.to_owned(),
        host: "test-host".to_owned(),
        pid: std::process::id(),
        since: Timestamp::UNIX_EPOCH,
    }
}

/// Returns a journal record that carries a text, for tests.
pub fn record(text: &str) -> Record {
    Record {
        version: JOURNAL_VERSION,
        sequence: 0,
        at: Timestamp::UNIX_EPOCH,
        epoch: 1,
        body: Body::Started { owner: text.to_owned() },
    }
}

fn change(key: &str, value: Option<&[u8]>) -> Change {
    Change { kind: "kind".to_owned(), key: key.to_owned(), value: value.map(<[u8]>::to_vec) }
}

/// Runs the suite on an empty state; `second` is the same state as another process sees it.
///
/// # Panics
/// Panics when the state breaks a rule.
pub async fn conformance(state: &dyn State, second: &dyn State) {
    records(state, second).await;
    journal(state).await;
    leases(state, second).await;
}

async fn records(state: &dyn State, second: &dyn State) {
    assert!(list(state).await.is_empty(), "an empty state lists nothing");
    write(state, &[change("b", Some(b"2")), change("a", Some(b"1"))]).await;
    let both = vec![("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())];
    assert_eq!(list(state).await, both, "what was written is listed by key");
    assert_eq!(list(second).await, both, "another process sees it");
    write(state, &[change("a", None), change("b", Some(b"")), change("none", None)]).await;
    assert_eq!(list(state).await, vec![("b".to_owned(), Vec::new())], "removed and replaced");
    let other = state.list("other").await.expect("a kind without records is listed");
    assert!(other.is_empty(), "kinds do not mix");
}

async fn journal(state: &dyn State) {
    let empty = state.read_journal(0, 10).await.expect("an empty journal is read");
    assert!(empty.is_empty(), "an empty journal has no records");
    for n in 1..=5_u64 {
        let end = state.journal_end().await.expect("the end is looked up");
        assert_eq!(end, n, "the end is known before each record");
        let given = state.append(&record(&format!("{n}"))).await.expect("append");
        assert_eq!(given, n, "sequence numbers grow by one from 1");
    }
    let read = state.read_journal(2, 3).await.expect("read");
    let sequences: Vec<_> = read.iter().map(|r| r.sequence).collect();
    assert_eq!(sequences, [2, 3, 4], "from the given number on, at most so many, oldest first");
    assert_eq!(read[0].body, record("2").body, "records come back as they were");
}

async fn leases(state: &dyn State, second: &dyn State) {
    let nobody = state.writer().await.expect("the writer is looked up");
    assert!(nobody.is_none(), "nobody writes at first");
    let lease = state.acquire(&owner("daemon")).await.expect("a free state is acquired");
    let first = lease.epoch();
    assert!(first > 0, "a writer has an epoch");
    let Err(refusal) = second.acquire(&owner("apply")).await else {
        panic!("a second writer is refused");
    };
    assert_eq!(refusal.class, ErrorClass::Waiting, "the refusal may pass");
    assert!(refusal.message.contains("daemon"), "it names the holder: {}", refusal.message);
    let writer = second.writer().await.expect("the writer is looked up");
    assert_eq!(writer.map(|o| o.command), Some("daemon".to_owned()), "the writer is known");
    let raised = state.raise_epoch(first + 10).await.expect("the epoch is raised");
    assert_eq!(raised, first + 10, "to what was asked");
    assert_eq!(lease.epoch(), first + 10, "the lease follows");
    let kept = state.raise_epoch(1).await.expect("the epoch is looked at");
    assert_eq!(kept, first + 10, "an epoch never falls");
    drop(lease);
    let lease = second.acquire(&owner("apply")).await.expect("a state given back is free");
    assert_eq!(lease.epoch(), first + 11, "the next writer gets one more than the one before");
}

async fn list(state: &dyn State) -> Vec<(String, Vec<u8>)> {
    state.list("kind").await.expect("records are listed").into_iter().collect()
}

async fn write(state: &dyn State, changes: &[Change]) {
    state.write(changes).await.expect("changes are written");
}
