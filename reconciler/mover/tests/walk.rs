//! Walking and reading of real trees: order, exclusions, files that change under the reader.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mainstay_mover::LocalSource;
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, ReadOutcome, ReadRequest, ReadSink, SourceMover, WalkEvent,
    WalkRequest,
};

/// Walks and returns paths relative to the root; directories end in `/`.
fn walk(root: &Path, change: impl FnOnce(&mut WalkRequest)) -> Vec<String> {
    let mut request =
        WalkRequest { roots: vec![root.as_os_str().as_bytes().to_vec()], ..WalkRequest::default() };
    change(&mut request);
    let mut out = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let text = |e: &Entry| String::from_utf8_lossy(&e.name).into_owned();
    LocalSource::default()
        .walk(&request, &Cancel::default(), &mut |events| {
            for event in events {
                match event {
                    WalkEvent::Enter(e) => {
                        path.push(text(&e));
                        out.push(format!("{}/", path.join("/")));
                    }
                    WalkEvent::Entry(e) => out.push(format!("{}/{}", path.join("/"), text(&e))),
                    WalkEvent::Leave => {
                        path.pop();
                    }
                    WalkEvent::Failed(p) => out.push(format!("failed {}", p.message)),
                }
            }
            Ok(())
        })
        .unwrap();
    let prefix = format!("{}/", root.display());
    out.into_iter().filter_map(|p| p.strip_prefix(&prefix).map(str::to_owned)).collect()
}

fn make(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

#[test]
fn order_and_exclusions() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path();
    make(
        root,
        &[
            "b",
            "a/x.o",
            "a/x.c",
            "a.b",
            "cache/CACHEDIR.TAG",
            "cache/junk",
            "no/.nobackup",
            "no/y",
            "big",
        ],
    );
    fs::write(root.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n")
        .unwrap();
    fs::write(root.join("big"), vec![1; 5000]).unwrap();
    let all = walk(root, |_| {});
    assert_eq!(
        all,
        [
            "",
            "a/",
            "a/x.c",
            "a/x.o",
            "a.b",
            "b",
            "big",
            "cache/",
            "cache/CACHEDIR.TAG",
            "cache/junk",
            "no/",
            "no/.nobackup",
            "no/y"
        ]
    );
    let some = walk(root, |r| {
        r.excludes = vec!["*.o".to_owned(), format!("{}/b", root.display())];
        r.exclude_caches = true;
        r.exclude_if_present = vec![b".nobackup".to_vec()];
        r.file_size_bytes_max = Some(4999);
    });
    assert_eq!(some, ["", "a/", "a/x.c", "a.b", "cache/", "cache/CACHEDIR.TAG"]);
    // Several roots meet in their common ancestor, in order.
    let two = walk(root, |r| {
        let inside = |name: &str| root.join(name).as_os_str().as_bytes().to_vec();
        r.roots = vec![inside("no"), inside("b"), inside("a")];
    });
    assert_eq!(two, ["", "a/", "a/x.c", "a/x.o", "b", "no/", "no/.nobackup", "no/y"]);
}

#[test]
fn a_missing_root_is_an_error() {
    let missing =
        WalkRequest { roots: vec![b"/nowhere/at/all".to_vec()], ..WalkRequest::default() };
    for (request, reason) in [
        (missing, "SourceMissing"),
        (WalkRequest::default(), "BadPath"),
        (WalkRequest { roots: vec![b"relative".to_vec()], ..WalkRequest::default() }, "BadPath"),
        (WalkRequest { roots: vec![b"/tmp/../etc".to_vec()], ..WalkRequest::default() }, "BadPath"),
    ] {
        let source = LocalSource::default();
        let walked = source.walk(&request, &Cancel::default(), &mut |_| Ok(()));
        assert_eq!(walked.unwrap_err().reason, reason);
    }
}

/// Appends to the file whenever a blob of it arrives, `times` times.
struct Meddler {
    path: std::path::PathBuf,
    times: usize,
    bytes: u64,
    restarts: usize,
    outcome: Option<ReadOutcome>,
}

impl ReadSink for Meddler {
    fn wants(&mut self, _hash: &BlobHash, _length: u32) -> bool {
        true
    }
    fn blob(
        &mut self,
        _file: usize,
        _hash: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        assert_eq!(data.unwrap().len(), length as usize);
        self.bytes += u64::from(length);
        if self.times > 0 {
            self.times -= 1;
            use std::io::Write;
            fs::File::options().append(true).open(&self.path).unwrap().write_all(b"more").unwrap();
        }
        Ok(())
    }
    fn restart(&mut self, _file: usize) -> Result<(), PortError> {
        self.restarts += 1;
        self.bytes = 0;
        Ok(())
    }
    fn end(&mut self, _file: usize, outcome: ReadOutcome) -> Result<(), PortError> {
        self.outcome = Some(outcome);
        Ok(())
    }
}

fn read_meddled(times: usize) -> Meddler {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("log");
    fs::write(&path, "begin").unwrap();
    let mut entry = None;
    let request =
        WalkRequest { roots: vec![path.as_os_str().as_bytes().to_vec()], ..WalkRequest::default() };
    let source = LocalSource::default();
    source
        .walk(&request, &Cancel::default(), &mut |events| {
            for event in events {
                if let WalkEvent::Entry(e) = event {
                    entry = Some(e);
                }
            }
            Ok(())
        })
        .unwrap();
    let request = ReadRequest { path: path.as_os_str().as_bytes().to_vec(), entry: entry.unwrap() };
    let mut sink = Meddler { path, times, bytes: 0, restarts: 0, outcome: None };
    source.read(&[request], Chunking::ContentDefined, &Cancel::default(), &mut sink).unwrap();
    sink
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again_or_marked() {
    let calm = read_meddled(0);
    assert!(matches!(calm.outcome, Some(ReadOutcome::Whole(e)) if e.size == 5));
    let once = read_meddled(1);
    assert_eq!((once.restarts, once.bytes), (1, 9));
    assert!(matches!(once.outcome, Some(ReadOutcome::Whole(e)) if e.size == 9));
    let always = read_meddled(usize::MAX);
    assert_eq!(always.restarts, 2);
    assert!(matches!(always.outcome, Some(ReadOutcome::Changed(_))));
}

#[test]
fn a_file_that_is_gone_or_replaced_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("f");
    fs::write(&path, "x").unwrap();
    let sink = read_meddled(0);
    let Some(ReadOutcome::Whole(entry)) = sink.outcome else { panic!("whole") };
    let source = LocalSource::default();
    for replace in [
        (|p: &Path| fs::remove_file(p).unwrap()) as fn(&Path),
        |p| fs::create_dir(p).unwrap(),
        |p| {
            fs::remove_dir(p).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", p).unwrap();
        },
    ] {
        replace(&path);
        let request =
            ReadRequest { path: path.as_os_str().as_bytes().to_vec(), entry: (*entry).clone() };
        let mut sink =
            Meddler { path: path.clone(), times: 0, bytes: 0, restarts: 0, outcome: None };
        source.read(&[request], Chunking::ContentDefined, &Cancel::default(), &mut sink).unwrap();
        assert!(matches!(sink.outcome, Some(ReadOutcome::Failed(_))));
    }
}
