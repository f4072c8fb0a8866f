//! A server that answers errors, cuts connections, answers late or with old listings: the engine
//! ends well or fails with nothing damaged. restic judges what then lies in the server's folder.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstay_tests::proxy::{Fault, Proxy, Seen};
use model::ports::storage::FileKind;
use repository::{CheckOptions, Depth, PruneMark, PruneOptions};

use super::*;

/// A service behind a proxy, and the folder in which it keeps the repository.
struct Place {
    _server: Server,
    proxy: Proxy,
    service: Service,
    folder: std::path::PathBuf,
}

fn behind_proxy(over_s3: bool, plan: impl Fn(&Seen) -> Fault + Send + Sync + 'static) -> Place {
    if over_s3 {
        let server = versitygw();
        let proxy = Proxy::start(server.address(), plan);
        let service = Service::S3(s3(&proxy.url()));
        let folder = server.data().join("backups/a/b");
        return Place { _server: server, proxy, service, folder };
    }
    let server = Server::rest(&["--no-auth"]);
    let proxy = Proxy::start(server.address(), plan);
    let service = Service::Rest(rest(format!("{}/r", proxy.url())));
    let folder = server.data().join("r");
    Place { _server: server, proxy, service, folder }
}

fn check_all(repository: &Repository) {
    let options = CheckOptions { depth: Depth::All, snapshots: Vec::new(), threads: 0 };
    let report = repository.check(&options, &Silent, &Cancel::default());
    let report = report.unwrap_or_else(|e| panic!("{}", e.chain()));
    assert_eq!(report.faults, []);
}

/// Makes a repository, backs up twice, checks all, forgets and prunes, with a fault at a third of
/// the requests; restic then finds everything whole.
fn works_in_spite_of(name: &str, fault: impl Fn(&Seen) -> Fault + Send + Sync + Clone + 'static) {
    for over_s3 in [false, true] {
        let fault = fault.clone();
        // Mixed well: tries of one request that are always as far apart would meet all or none.
        let struck = |number: usize| (number.wrapping_mul(2_654_435_761) >> 16) % 3 == 1;
        let place = behind_proxy(over_s3, move |seen| match struck(seen.number) {
            true => fault(seen),
            false => Fault::Pass,
        });
        let tmp = tempfile::tempdir().unwrap();
        let source = tmp.path().join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("large"), noise(6 << 20, 1)).unwrap();
        fs::write(source.join("small"), b"hello").unwrap();
        let storage = whole(place.service.clone());
        let fail = |e: PortError| -> ! { panic!("{name}, over S3 {over_s3}: {}", e.chain()) };
        let made = Repository::init(storage.clone(), PASSWORD.as_bytes(), options());
        let repository = made.unwrap_or_else(|e| fail(e));
        let first = try_backup(&repository, &source).unwrap_or_else(|e| fail(e));
        fs::write(source.join("large"), noise(6 << 20, 2)).unwrap();
        try_backup(&repository, &source).unwrap_or_else(|e| fail(e));
        check_all(&open(storage.clone()));
        let cancel = Cancel::default();
        repository.forget(&[first.snapshot.id], &cancel).unwrap_or_else(|e| fail(e));
        let prune = PruneOptions {
            grace: jiff::SignedDuration::ZERO,
            waste_percent_max: 0,
            ..PruneOptions::default()
        };
        let pruned = repository.prune(&PruneMark::default(), &prune, &Silent, &cancel);
        pruned.unwrap_or_else(|e| fail(e));
        let (requests, faults) = place.proxy.counts();
        assert!(requests > 20 && faults > 5, "{name}: {faults} faults in {requests} requests");
        restic(place.folder.to_str().unwrap(), &["check", "--read-data", "--no-lock"], &[]);
        check_all(&open(storage));
    }
}

#[test]
fn errors_of_the_server_are_outlived() {
    works_in_spite_of("500", |_| Fault::Answer(500, None));
    works_in_spite_of("503 with retry-after", |_| Fault::Answer(503, Some(1)));
}

#[test]
fn lost_answers_are_outlived() {
    works_in_spite_of("lost answers", |_| Fault::LoseAnswer);
}

#[test]
fn cut_connections_are_outlived() {
    works_in_spite_of("cut uploads", |seen| match seen.size {
        0 => Fault::LoseAnswer,
        size => Fault::CutUpload(size / 2),
    });
    works_in_spite_of("cut downloads", |_| Fault::CutDownload(10));
}

#[test]
fn a_slow_server_is_waited_for() {
    works_in_spite_of("slow", |_| Fault::Delay(Duration::from_millis(50)));
}

#[test]
fn a_server_is_left_alone_as_long_as_it_asks() {
    #[derive(Default)]
    struct Noting(Mutex<Vec<Duration>>);
    impl Pacing for Noting {
        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
        fn wait(&self, duration: Duration) {
            self.0.lock().unwrap().push(duration);
        }
        fn random(&self) -> f64 {
            0.0
        }
    }
    let place = behind_proxy(true, |seen| match seen.number {
        0 => Fault::Answer(503, Some(42)),
        _ => Fault::Pass,
    });
    let noting = Arc::new(Noting::default());
    let limits = StorageLimits::default();
    let storage = storage::decorated(bare(place.service.clone()), &limits, noting.clone());
    storage.create().unwrap();
    assert_eq!(*noting.0.lock().unwrap(), [Duration::from_secs(42)]);
}

#[test]
fn a_server_that_is_gone_ends_the_work_and_damages_nothing() {
    for over_s3 in [false, true] {
        let gone = Arc::new(AtomicBool::new(false));
        let (told, uploads) = (gone.clone(), Mutex::new(0));
        let place = behind_proxy(over_s3, move |seen| {
            if !told.load(Ordering::SeqCst) {
                return Fault::Pass;
            }
            let mut uploads = uploads.lock().unwrap();
            *uploads += usize::from(seen.size > 1 << 20);
            // The first pack is cut half-way, and then nothing answers any more.
            match seen.size {
                size if *uploads == 1 && size > 1 << 20 => Fault::CutUpload(size / 2),
                _ if *uploads > 0 => Fault::Answer(500, None),
                _ => Fault::Pass,
            }
        });
        let tmp = tempfile::tempdir().unwrap();
        let source = tmp.path().join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a"), noise(3 << 20, 1)).unwrap();
        let storage = whole(place.service.clone());
        let repository = Repository::init(storage.clone(), PASSWORD.as_bytes(), options()).unwrap();
        try_backup(&repository, &source).unwrap();
        gone.store(true, Ordering::SeqCst);
        fs::write(source.join("a"), noise(3 << 20, 2)).unwrap();
        let error = try_backup(&repository, &source).unwrap_err();
        assert!(error.chain().contains("gave up after 10 tries"), "{}", error.chain());
        gone.store(false, Ordering::SeqCst);
        let folder = place.folder.to_str().unwrap();
        restic(folder, &["unlock", "--remove-all"], &[]);
        restic(folder, &["check", "--read-data"], &[]);
        let again = open(storage);
        assert_eq!(again.snapshots().unwrap().len(), 1, "a failed backup leaves no snapshot");
        try_backup(&again, &source).unwrap();
        restic(folder, &["check", "--read-data"], &[]);
    }
}

#[test]
fn stale_listings_lose_nothing() {
    for over_s3 in [false, true] {
        let stale = Arc::new(AtomicBool::new(false));
        let told = stale.clone();
        let place = behind_proxy(over_s3, move |seen| {
            let lists = seen.path.contains("list-type=2") || seen.path.ends_with('/');
            let lists = lists && seen.method == "GET";
            if lists && told.load(Ordering::SeqCst) { Fault::Stale } else { Fault::Pass }
        });
        let tmp = tempfile::tempdir().unwrap();
        let source = tmp.path().join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a"), noise(3 << 20, 1)).unwrap();
        let storage = whole(place.service.clone());
        let first = Repository::init(storage.clone(), PASSWORD.as_bytes(), options()).unwrap();
        let old = try_backup(&first, &source).unwrap();
        // The listings as they are here are what is answered from now on, to a process that has
        // seen nothing else.
        place.proxy.forget();
        for kind in FileKind::LISTED {
            storage.list(kind, &mut |_| Ok(())).unwrap();
        }
        fs::write(source.join("a"), noise(3 << 20, 2)).unwrap();
        try_backup(&first, &source).unwrap();
        drop(first);
        stale.store(true, Ordering::SeqCst);
        let late = open(storage.clone());
        let cancel = Cancel::default();
        // Each may fail, as what it sees does not fit together; none may do harm.
        drop(try_backup(&late, &source));
        drop(late.forget(&[old.snapshot.id], &cancel));
        let options = PruneOptions { waste_percent_max: 0, ..PruneOptions::default() };
        drop(late.prune(&PruneMark::default(), &options, &Silent, &cancel));
        let (_, faults) = place.proxy.counts();
        assert!(faults > 3, "old listings were answered");
        stale.store(false, Ordering::SeqCst);
        let folder = place.folder.to_str().unwrap();
        restic(folder, &["unlock", "--remove-all"], &[]);
        restic(folder, &["check", "--read-data"], &[]);
    }
}
