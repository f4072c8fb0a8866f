//! What every data engine must do, shown with streams: observing, making, backing up, proving,
//! restoring, forgetting and pruning.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::agent::Chunking;
use model::cancel::Cancel;
use model::desired::RepositorySpec;
use model::digest::Digest;
use model::error::{ErrorClass, PortError};
use model::id::{Address, CommitId, PlanId, SnapshotId};
use model::observed::RepositoryObservation;
use model::ports::Boxed;
use model::ports::agents::{
    Beside, Close, Content, NamedSink, NamedStream, OpenSource, StreamSink,
};
use model::ports::engine::{BackupMade, BackupOrder, Engine};
use model::ports::mover::{Bytes, StreamSource};
use model::progress::Silent;
use model::receipt::{Control, ControlBody, Marker, RECEIPT_VERSION, Receipt};

/// Counts how a source was closed: well, or after a failure.
#[derive(Clone, Default)]
struct Closed(Arc<Mutex<(u32, u32)>>);

impl Closed {
    fn counts(&self) -> (u32, u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Close for Closed {
    fn close(self: Box<Self>, failed: bool) -> Boxed<'static, Result<(), PortError>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            counts.1 += 1
        } else {
            counts.0 += 1
        }
        drop(counts);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Gives bytes and then says that its program failed.
struct Torn(Bytes);

impl StreamSource for Torn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        Err(PortError::terminal("DumpFailed", "the program behind it failed"))
    }
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Vec<u8>, bool)>>);

impl StreamSink for Kept {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.extend(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        Ok(())
    }
}

fn address() -> Address {
    "app/res".parse().expect("an address")
}

fn receipt(taken_at: Timestamp) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        address: address(),
        backup: "all".parse().ok(),
        slot: Some(taken_at),
        trigger: None,
        taken_at,
        marker: Marker::default(),
        digest: "".into(),
        files: 0,
        bytes: 0,
        complete: false,
        failures: Default::default(),
        failures_count: 0,
        suspicious: None,
        template: "notes".parse().expect("a name"),
        template_digest: Digest::from("t"),
        commit: CommitId::from("c"),
        plan: PlanId::from("p"),
        writer: "w".into(),
        epoch: 3,
        mainstay: "0".into(),
    }
}

fn at(hour: i8) -> Timestamp {
    jiff::civil::date(2026, 3, 1).at(hour, 0, 0, 0).in_tz("UTC").expect("an instant").timestamp()
}

async fn back_up(
    engine: &dyn Engine,
    spec: &RepositorySpec,
    hour: i8,
    source: Box<dyn StreamSource>,
    closed: &Closed,
) -> Result<BackupMade, PortError> {
    let stream = NamedStream { name: "dump".to_owned(), source, chunking: Chunking::Content };
    let source = OpenSource {
        marker: Marker::default(),
        taken_at: at(hour),
        content: Content::Streams(vec![stream]),
        close: Box::new(closed.clone()),
    };
    let order = BackupOrder {
        source,
        receipt: receipt(at(hour)),
        parent: None,
        hostname: "here".to_owned(),
        tags: BTreeSet::from(["kept".to_owned()]),
        judge: &|receipt: &mut Receipt| receipt.suspicious = Some(receipt.bytes.to_string().into()),
    };
    engine.backup(spec, order, &Silent, &Cancel::default()).await
}

async fn restored(
    engine: &dyn Engine,
    spec: &RepositorySpec,
    id: &SnapshotId,
) -> Result<(Vec<u8>, Option<String>), PortError> {
    let (kept, later) = (Kept::default(), Kept::default());
    let sink = |name: &str, optional: bool, kept: &Kept| NamedSink {
        name: name.to_owned(),
        optional,
        sink: Box::new(kept.clone()),
    };
    // A stream that templates stored only later than this point was made.
    let into = Beside::Streams(vec![sink("later", true, &later), sink("dump", false, &kept)]);
    let done = engine.restore(spec, id, &[], into, &Silent, &Cancel::default()).await?;
    assert!(done.failures.is_empty(), "all came back: {:?}", done.failures);
    let into = Beside::Streams(vec![sink("later", false, &Kept::default())]);
    let none = engine.restore(spec, id, &[], into, &Silent, &Cancel::default()).await;
    assert!(none.is_err(), "a stream that is not optional must be there");
    let (bytes, finished) = later.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(bytes.is_empty() && !finished, "a program without its stream is not started");
    let (bytes, finished) = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(finished, "a sink is told the end");
    Ok((bytes, done.digest))
}

async fn points(engine: &dyn Engine, spec: &RepositorySpec) -> Vec<SnapshotId> {
    match engine.observe(spec).await {
        RepositoryObservation::Known { snapshots, .. } => {
            snapshots.into_iter().map(|snapshot| snapshot.id).collect()
        }
        other => panic!("the repository is there: {other:?}"),
    }
}

/// Runs the suite on a place where nothing is.
///
/// # Panics
/// Panics when the engine breaks a rule.
pub async fn conformance(engine: &dyn Engine, spec: &RepositorySpec) {
    making(engine, spec).await;
    let (first, second) = backing_up(engine, spec).await;
    proving_and_restoring(engine, spec, &first).await;
    records(engine, spec).await;
    forgetting(engine, spec, &first, &second).await;
}

async fn making(engine: &dyn Engine, spec: &RepositorySpec) {
    let nothing = engine.observe(spec).await;
    assert!(matches!(nothing, RepositoryObservation::Absent { .. }), "nothing yet: {nothing:?}");
    let none = SnapshotId::from("0".repeat(64));
    let verified = engine.verify(spec, &none, &Silent, &Cancel::default()).await;
    assert!(verified.is_err(), "where nothing is, nothing is proven");
    let made = engine.init(spec).await.expect("a repository is made");
    let RepositoryObservation::Known { id, snapshots, controls, .. } = engine.observe(spec).await
    else {
        panic!("what was made is there");
    };
    assert_eq!(id, made, "it keeps its id");
    assert!(snapshots.is_empty() && controls.is_empty(), "and is empty");
    let Err(error) = engine.init(spec).await else { panic!("nothing is made over another") };
    assert_eq!(error.class, ErrorClass::Terminal, "and never will be");
}

async fn backing_up(engine: &dyn Engine, spec: &RepositorySpec) -> (SnapshotId, SnapshotId) {
    let closed = Closed::default();
    let bytes = |text: &str| Box::new(Bytes::new(text.as_bytes()));
    let first = back_up(engine, spec, 1, bytes("the first dump"), &closed).await.expect("backup");
    assert!(first.receipt.complete, "every byte is in");
    assert_eq!(first.receipt.bytes, 14, "and counted");
    assert_eq!(first.receipt.suspicious.as_deref(), Some("14"), "the last word is the judge's");
    assert!(!first.receipt.digest.is_empty(), "the content has a digest");
    assert_eq!(closed.counts(), (1, 0), "the source is closed well");
    let torn = Box::new(Torn(Bytes::new(b"half a dum".to_vec())));
    let failed = back_up(engine, spec, 2, torn, &closed).await;
    assert!(failed.is_err(), "a source that failed makes no point");
    assert_eq!(closed.counts(), (1, 1), "it is closed as failed");
    let second = back_up(engine, spec, 3, bytes("another dump"), &closed).await.expect("backup");
    assert_ne!(first.receipt.digest, second.receipt.digest, "other content, other digest");
    let ids = points(engine, spec).await;
    assert_eq!(ids, [first.snapshot.clone(), second.snapshot.clone()], "oldest first, no third");
    let RepositoryObservation::Known { snapshots, .. } = engine.observe(spec).await else {
        panic!("the repository is there");
    };
    assert_eq!(snapshots[0].receipt.as_ref(), Some(&first.receipt), "the receipt as it was made");
    assert_eq!(snapshots[0].address, Some(address()), "it says whose it is");
    assert_eq!(snapshots[0].time, at(1), "and of when");
    assert!(snapshots[0].tags.contains("kept"), "further tags are kept");
    (first.snapshot, second.snapshot)
}

async fn proving_and_restoring(engine: &dyn Engine, spec: &RepositorySpec, first: &SnapshotId) {
    let cancel = Cancel::default();
    let verified = engine.verify(spec, first, &Silent, &cancel).await.expect("it is read");
    assert!(verified.failures.is_empty(), "and whole: {:?}", verified.failures);
    let (bytes, digest) = restored(engine, spec, first).await.expect("it comes back");
    assert_eq!(bytes, b"the first dump", "as it was");
    let RepositoryObservation::Known { snapshots, .. } = engine.observe(spec).await else {
        panic!("the repository is there");
    };
    let receipt = snapshots[0].receipt.as_ref().map(|receipt| receipt.digest.to_string());
    if digest.is_some() {
        assert_eq!(digest, receipt, "its digest is the receipt's");
    }
    let none = SnapshotId::from("0".repeat(64));
    assert!(engine.verify(spec, &none, &Silent, &cancel).await.is_err(), "what is not there");
    assert!(restored(engine, spec, &none).await.is_err(), "does not come back");
}

async fn records(engine: &dyn Engine, spec: &RepositorySpec) {
    let control = |epoch, token: &str| {
        let served = ControlBody::RecoveryServed {
            address: address(),
            token: token.to_owned(),
            snapshot: SnapshotId::from("1".repeat(64)),
            attempt: 0,
        };
        Control::new("w".to_owned(), epoch, at(4), served)
    };
    let before = points(engine, spec).await;
    for (epoch, token) in [(4, "one"), (5, "two")] {
        engine.record(spec, &control(epoch, token)).await.expect("a record is written");
    }
    let RepositoryObservation::Known { controls, .. } = engine.observe(spec).await else {
        panic!("the repository is there");
    };
    assert_eq!(controls.len(), 2, "both are there");
    assert!(controls.contains(&control(4, "one")), "as they were written");
    assert_eq!(points(engine, spec).await, before, "a record is no point");
}

async fn forgetting(
    engine: &dyn Engine,
    spec: &RepositorySpec,
    first: &SnapshotId,
    second: &SnapshotId,
) {
    let kept = RepositorySpec { append_only: true, ..spec.clone() };
    let refused = engine.forget(&kept, std::slice::from_ref(first)).await;
    assert!(refused.is_err(), "where nothing may go, nothing goes");
    let gone = engine.forget(spec, std::slice::from_ref(first)).await.expect("it is forgotten");
    assert_eq!(gone, std::slice::from_ref(first), "and named");
    let again = engine.forget(spec, std::slice::from_ref(first)).await.expect("twice");
    assert_eq!(again, std::slice::from_ref(first), "a missing one counts as forgotten");
    assert_eq!(points(engine, spec).await, std::slice::from_ref(second), "the other one stays");
    let cancel = Cancel::default();
    for _ in 0..2 {
        engine.reclaim(spec, at(5), &Silent, &cancel).await.expect("it is pruned");
        let (bytes, _) = restored(engine, spec, second).await.expect("what stays comes back");
        assert_eq!(bytes, b"another dump", "whatever is pruned");
    }
}
