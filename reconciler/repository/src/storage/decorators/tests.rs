//! Each decorator over storage in memory, with time and chance decided here.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::error::ErrorClass;
use model::ports::storage::{ALREADY_EXISTS, DISK_FULL, NOT_FOUND};

use super::*;
use crate::id::Id;
use crate::storage::{MemoryStorage, conformance};

/// Time that passes only by waiting.
#[derive(Default)]
struct Fake {
    now: Mutex<Duration>,
    waits: Mutex<Vec<Duration>>,
}

impl Pacing for Fake {
    fn elapsed(&self) -> Duration {
        *self.now.lock().unwrap()
    }
    fn wait(&self, duration: Duration) {
        *self.now.lock().unwrap() += duration;
        self.waits.lock().unwrap().push(duration);
    }
    fn random(&self) -> f64 {
        1.0
    }
}

impl Fake {
    fn waited_ms(&self) -> Vec<u128> {
        self.waits.lock().unwrap().iter().map(Duration::as_millis).collect()
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Before,
    After,
    /// Half of a listing is handed over.
    Amid,
}

/// The next so many requests fail.
struct Faults {
    left: AtomicUsize,
    when: When,
    error: fn() -> PortError,
}

decorator! {
    /// Storage in memory with faults.
    Flaky, Faults
}

impl Flaky {
    fn new(faults: usize, when: When) -> Arc<Self> {
        Self::failing(faults, when, || PortError::transient("Injected", "the line broke"))
    }

    fn failing(faults: usize, when: When, error: fn() -> PortError) -> Arc<Self> {
        let rule = Faults { left: AtomicUsize::new(faults), when, error };
        Arc::new(Self { inner: memory(), rule })
    }

    fn arm(&self, faults: usize) {
        self.rule.left.store(faults, Ordering::SeqCst);
    }
}

impl Faults {
    fn strikes(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl Rule for Faults {
    fn around<T: Answer>(
        &self,
        _: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        match (self.strikes(), self.when) {
            (false, _) => act(),
            (true, When::After) => act().and(Err((self.error)())),
            (true, _) => Err((self.error)()),
        }
    }

    fn list(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        each: &mut Each<'_>,
    ) -> Result<(), PortError> {
        if self.when == When::Amid && self.strikes() {
            let mut left = 5;
            return inner.list(kind, &mut |file| {
                left -= 1;
                if left == 0 { Err((self.error)()) } else { each(file) }
            });
        }
        self.around(&Call::new(Operation::List, kind, ""), &mut || inner.list(kind, each))
    }
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::default())
}

fn put(storage: &dyn Storage, kind: FileKind, data: &[u8]) -> String {
    let id = Id::of(data);
    storage.save(kind, &id.hex(), data, &id.0).unwrap();
    id.hex()
}

fn retrying(inner: &Arc<Flaky>, time: &Arc<Fake>) -> Retrying {
    Retrying::new(inner.clone(), RetryPolicy::default(), time.clone())
}

#[test]
fn all_that_change_nothing_conform() {
    let time = Arc::new(Fake::default());
    conformance::run(&Retrying::new(memory(), RetryPolicy::default(), time.clone())).unwrap();
    conformance::run(&Hooked::new(memory(), |_, _, _, act| act())).unwrap();
    conformance::run(&Traced::new(memory(), time.clone())).unwrap();
    let limits = Limits {
        connections: Some(1),
        requests_per_s: Some(100),
        upload_bytes_per_s: Some(1 << 20),
        download_bytes_per_s: Some(1 << 20),
    };
    conformance::run(&Limited::new(memory(), limits, time.clone())).unwrap();
    assert_eq!(Limited::new(memory(), limits, time.clone()).connections(), 1);
    // All at once, as they are used.
    let all = Arc::new(Traced::new(memory(), time.clone()));
    let all = Arc::new(Limited::new(all, limits, time.clone()));
    conformance::run(&Retrying::new(all, RetryPolicy::default(), time)).unwrap();
}

#[test]
fn every_fault_that_passes_is_outlived() {
    for when in [When::Before, When::After, When::Amid] {
        let time = Arc::new(Fake::default());
        let flaky = Flaky::new(0, when);
        let storage = retrying(&flaky, &time);
        // Each request below fails twice before it is let through.
        let armed = || {
            flaky.arm(2);
            &storage
        };
        armed().create().unwrap();
        let names: BTreeSet<String> =
            (0..20u8).map(|n| put(armed(), FileKind::Pack, &[n; 9])).collect();
        let first = names.first().unwrap();
        assert_eq!(armed().stat(FileKind::Pack, first).unwrap(), 9);
        let whole = armed().load(FileKind::Pack, first, 9).unwrap();
        let mut part = [0; 4];
        armed().load_range(FileKind::Pack, first, 5, &mut part).unwrap();
        assert_eq!((whole.len(), &whole[5..]), (9, &part[..]));
        let mut listed = Vec::new();
        let collect = &mut |file: Listed| {
            listed.push(file.name);
            Ok(())
        };
        armed().list(FileKind::Pack, collect).unwrap();
        assert_eq!((listed.len(), listed.into_iter().collect()), (20, names.clone()));
        armed().delete(FileKind::Pack, first).unwrap();
        assert_eq!(armed().stat(FileKind::Pack, first).unwrap_err().reason, NOT_FOUND);
        assert!(time.waited_ms().len() > 25, "each was tried again");
    }
}

#[test]
fn a_retry_gives_up_with_the_count() {
    let time = Arc::new(Fake::default());
    let flaky = Flaky::new(usize::MAX, When::Before);
    let error = retrying(&flaky, &time).stat(FileKind::Pack, "ab12").unwrap_err();
    assert_eq!((error.class, error.reason), (ErrorClass::Transient, "Injected"));
    assert_eq!(
        error.chain(),
        "cannot stat data/ab12: gave up after 10 tries in 183.5 s: the line broke"
    );
    let pauses = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000];
    assert_eq!(time.waited_ms()[..8], pauses, "doubled and capped");
}

#[test]
fn a_server_that_asks_for_rest_gets_it_up_to_a_bound() {
    let time = Arc::new(Fake::default());
    let flaky = Flaky::failing(1, When::Before, || {
        PortError::transient("SlowDown", "busy").with_retry_after(Duration::from_secs(77))
    });
    retrying(&flaky, &time).create().unwrap();
    assert_eq!(time.waited_ms(), [77_000]);

    let flaky = Flaky::failing(1, When::Before, || {
        PortError::transient("SlowDown", "busy").with_retry_after(Duration::from_secs(86_400))
    });
    let error = retrying(&flaky, &time).create().unwrap_err();
    assert!(error.chain().contains("gave up after 1 tries"), "{}", error.chain());
    assert_eq!(time.waited_ms(), [77_000], "a day is not waited for");
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    let time = Arc::new(Fake::default());
    let flaky = Flaky::failing(1, When::Before, || PortError::terminal("AccessDenied", "no"));
    let error = retrying(&flaky, &time).stat(FileKind::Pack, "ab12").unwrap_err();
    assert_eq!(error.chain(), "no");
    let flaky = Flaky::failing(1, When::Before, || PortError::transient(DISK_FULL, "full"));
    assert_eq!(retrying(&flaky, &time).create().unwrap_err().reason, DISK_FULL);
    assert!(time.waited_ms().is_empty());
}

#[test]
fn a_lost_answer_is_no_conflict_but_another_config_is() {
    let time = Arc::new(Fake::default());
    for kind in [FileKind::Pack, FileKind::Config] {
        let flaky = Flaky::new(1, When::After);
        put(&retrying(&flaky, &time), kind, b"ours");
    }
    // Somebody else's config came first, and the first answer to ours was lost.
    let flaky = Flaky::new(0, When::Before);
    put(&*flaky, FileKind::Config, b"hers");
    flaky.arm(1);
    let id = Id::of(b"ours");
    let error = retrying(&flaky, &time).save(FileKind::Config, "", b"ours", &id.0).unwrap_err();
    assert_eq!(error.reason, ALREADY_EXISTS);
    // And without a lost answer the file is simply there already.
    let flaky = Flaky::new(0, When::Before);
    put(&*flaky, FileKind::Pack, b"ours");
    let error =
        retrying(&flaky, &time).save(FileKind::Pack, &id.hex(), b"ours", &id.0).unwrap_err();
    assert_eq!(error.reason, ALREADY_EXISTS);
}

#[test]
fn a_listing_that_breaks_hands_over_each_file_once() {
    let time = Arc::new(Fake::default());
    let flaky = Flaky::new(0, When::Amid);
    let wanted: BTreeSet<String> = (0..20u8).map(|n| put(&*flaky, FileKind::Pack, &[n])).collect();
    flaky.arm(3);
    let mut got = Vec::new();
    let collect = &mut |file: Listed| {
        got.push(file.name);
        Ok(())
    };
    retrying(&flaky, &time).list(FileKind::Pack, collect).unwrap();
    assert_eq!(got.len(), 20);
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn the_callers_own_error_ends_a_listing() {
    let time = Arc::new(Fake::default());
    let flaky = Flaky::new(0, When::Before);
    put(&*flaky, FileKind::Pack, b"a");
    let stop = &mut |_| Err(PortError::transient("Mine", "enough"));
    let error = retrying(&flaky, &time).list(FileKind::Pack, stop).unwrap_err();
    assert_eq!(error.reason, "Mine");
    assert!(time.waited_ms().is_empty(), "and is no reason to list again");
}

#[test]
fn rates_hold_over_time() {
    let time = Arc::new(Fake::default());
    let limits = Limits { requests_per_s: Some(10), ..Limits::default() };
    let storage = Limited::new(memory(), limits, time.clone());
    for _ in 0..101 {
        assert_eq!(storage.stat(FileKind::Pack, "ab12").unwrap_err().reason, NOT_FOUND);
    }
    assert_eq!(time.elapsed().as_millis(), 10_000);

    let time = Arc::new(Fake::default());
    let limits = Limits {
        upload_bytes_per_s: Some(1000),
        download_bytes_per_s: Some(2000),
        ..Limits::default()
    };
    let storage = Limited::new(memory(), limits, time.clone());
    let name = put(&storage, FileKind::Pack, &[7; 5000]);
    put(&storage, FileKind::Pack, &[8; 1]);
    assert_eq!(time.elapsed().as_millis(), 5000, "the next upload waits for the one before");
    storage.load(FileKind::Pack, &name, 5000).unwrap();
    storage.load_range(FileKind::Pack, &name, 0, &mut [0; 10]).unwrap();
    assert_eq!(time.elapsed().as_millis(), 7500);
}

#[test]
fn no_more_requests_at_once_than_allowed() {
    /// How many are inside, and were at most.
    static INSIDE: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let limits = Limits { connections: Some(2), ..Limits::default() };
    let shared = Arc::new(Hooked::new(memory(), |_, _, _, act| {
        INSIDE.1.fetch_max(INSIDE.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        (0..20).for_each(|_| std::thread::yield_now());
        INSIDE.0.fetch_sub(1, Ordering::SeqCst);
        act()
    }));
    let storage = Limited::new(shared, limits, Arc::new(Fake::default()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| storage.create().unwrap()));
        }
    });
    assert_eq!(INSIDE.1.load(Ordering::SeqCst), 2);
}

#[test]
fn traffic_is_counted() {
    let time = Arc::new(Fake::default());
    let storage = Traced::new(memory(), time);
    let name = put(&storage, FileKind::Pack, &[1; 100]);
    storage.load(FileKind::Pack, &name, 100).unwrap();
    storage.load_range(FileKind::Pack, &name, 90, &mut [0; 10]).unwrap();
    assert!(storage.stat(FileKind::Pack, "ffff").is_err());
    assert!(storage.load(FileKind::Pack, &name, 1).is_err());
    let wanted = Traffic { requests: 5, errors: 1, bytes_up: 100, bytes_down: 110 };
    assert_eq!(storage.traffic(), wanted);
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let memory = memory();
    let name = put(&*memory, FileKind::Pack, &[1; 100]);
    let dry = DryRun::new(memory.clone());
    put(&dry, FileKind::Index, &[2; 30]);
    dry.delete(FileKind::Pack, &name).unwrap();
    assert_eq!(dry.delete(FileKind::Pack, "ffff").unwrap_err().reason, NOT_FOUND);
    let id = Id::of(&[1; 100]);
    let again = dry.save(FileKind::Pack, &name, &[1; 100], &id.0).unwrap_err();
    assert_eq!(again.reason, ALREADY_EXISTS);
    assert_eq!(dry.create().unwrap_err().reason, "DryRun");
    let counted = Counted { saved: 1, saved_bytes: 30, deleted: 1, deleted_bytes: 100 };
    assert_eq!(dry.counted(), counted);
    assert_eq!(memory.stat(FileKind::Pack, &name).unwrap(), 100);
    memory.list(FileKind::Index, &mut |file| panic!("{file:?} was written")).unwrap();
}

#[test]
fn guards_refuse() {
    let memory = memory();
    let name = put(&*memory, FileKind::Pack, b"data");
    let id = Id::of(b"more");
    let reading = Guarded::new(memory.clone(), Guard::ReadOnly);
    let refused = [
        reading.create(),
        reading.save(FileKind::Lock, &id.hex(), b"more", &id.0),
        reading.delete(FileKind::Pack, &name),
    ];
    assert!(refused.iter().all(|r| r.as_ref().is_err_and(|e| e.reason == "ReadOnly")));
    assert_eq!(reading.load(FileKind::Pack, &name, 9).unwrap(), b"data");

    let appending = Guarded::new(memory.clone(), Guard::AppendOnly);
    appending.create().unwrap();
    let lock = put(&appending, FileKind::Lock, b"more");
    appending.delete(FileKind::Lock, &lock).unwrap();
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Key] {
        let error = appending.delete(kind, &name).unwrap_err();
        assert_eq!((error.class, error.reason), (ErrorClass::Terminal, "AppendOnly"));
    }
    assert_eq!(memory.stat(FileKind::Pack, &name).unwrap(), 4);
}
