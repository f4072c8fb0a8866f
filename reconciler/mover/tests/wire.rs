//! The mover port over a byte stream: whatever the local one does, the one at the other end of a
//! connection does, in one process and as a program of its own.
#![allow(clippy::unwrap_used)] // Suites fail by panicking.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mainstay_mover::wire::{Connection, RemoteSource, RemoteTarget, serve};
use mainstay_mover::{LocalSource, LocalTarget};
use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, Overwrite, Prepared, ReadOutcome, ReadRequest, ReadSink,
    SourceMover, TargetMover, WalkEvent, WalkRequest,
};

/// A connection to a mover that runs on a thread.
fn beside() -> Arc<Connection> {
    let (from_engine, to_mover) = std::io::pipe().unwrap();
    let (from_mover, to_engine) = std::io::pipe().unwrap();
    std::thread::spawn(move || serve(&mut { from_engine }, Box::new(to_engine)));
    Connection::open(Box::new(from_mover), Box::new(to_mover)).unwrap()
}

/// A connection to the program.
fn program() -> (Child, Arc<Connection>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay-mover"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, Connection::open(Box::new(output), Box::new(input)).unwrap())
}

fn request(root: &Path) -> WalkRequest {
    WalkRequest { roots: vec![root.as_os_str().as_bytes().to_vec()], ..WalkRequest::default() }
}

/// Walks, and returns what the events say and the regular files.
fn walk(source: &dyn SourceMover, request: &WalkRequest) -> (Vec<String>, Vec<ReadRequest>) {
    let (mut said, mut files, mut path) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
    let depth = request.roots[0].iter().filter(|b| **b == b'/').count();
    source
        .walk(request, &Cancel::default(), &mut |events| {
            for event in events {
                // Above the root others work too, and change its times.
                if path.len() > depth {
                    said.push(format!("{event:?}"));
                }
                match event {
                    WalkEvent::Enter(entry) => path.push(entry.name),
                    WalkEvent::Leave => {
                        path.pop();
                    }
                    WalkEvent::Entry(entry) if entry.kind == EntryKind::File => {
                        let path = [path.join(&b'/'), entry.name.clone()].join(&b'/');
                        files.push(ReadRequest { path, entry });
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .unwrap();
    (said, files)
}

/// Takes what is read; wants every piece whose hash begins with an even byte.
#[derive(Default)]
struct Half {
    said: Vec<String>,
    contents: BTreeMap<usize, Vec<u8>>,
}

impl ReadSink for Half {
    fn wants(&mut self, hash: &BlobHash, _length: u32) -> bool {
        hash[0].is_multiple_of(2)
    }

    fn blob(
        &mut self,
        file: usize,
        hash: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        assert_eq!(data.is_some(), self.wants(hash, length));
        self.said.push(format!("{file} {hash:?} {length}"));
        self.contents.entry(file).or_default().extend_from_slice(data.unwrap_or_default());
        Ok(())
    }

    fn restart(&mut self, file: usize) -> Result<(), PortError> {
        self.said.push(format!("{file} again"));
        Ok(())
    }

    fn end(&mut self, file: usize, outcome: ReadOutcome) -> Result<(), PortError> {
        self.said.push(format!("{file} {outcome:?}"));
        Ok(())
    }
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A tree of each kind of thing, with more content than a window holds.
fn make_tree(root: &Path) {
    for n in 0..300u32 {
        let folder = root.join(format!("many/{}", n % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file-{n}")), noise(n as usize * 11, n as u8)).unwrap();
    }
    fs::write(root.join("large"), noise(40 << 20, 9)).unwrap();
    fs::write(root.join("zeros"), vec![0; 3 << 20]).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("large", root.join("link")).unwrap();
    fs::hard_link(root.join("empty"), root.join("second")).unwrap();
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe any bytes\n");
    fs::write(root.join(bytes), "named in any bytes").unwrap();
}

fn is_as_local(remote: &dyn SourceMover, root: &Path) {
    let local = LocalSource::default();
    let request = request(root);
    let (said, files) = walk(&local, &request);
    assert!(walk(remote, &request).0 == said);
    assert!(files.len() > 300);
    for chunking in [Chunking::ContentDefined, Chunking::Fixed { size_bytes: 16 << 10 }] {
        let (mut here, mut there) = (Half::default(), Half::default());
        local.read(&files, chunking, &Cancel::default(), &mut here).unwrap();
        remote.read(&files, chunking, &Cancel::default(), &mut there).unwrap();
        assert!(here.said == there.said, "{chunking:?}");
        assert!(here.contents == there.contents, "{chunking:?}");
        assert!(here.contents.values().map(Vec::len).sum::<usize>() > 10 << 20);
    }
    let missing =
        remote.walk(&self::request(&root.join("nowhere")), &Cancel::default(), &mut |_| Ok(()));
    let missing = missing.unwrap_err();
    assert_eq!(missing.reason, "SourceMissing");
    assert!(missing.message.contains("No such file"), "{}", missing.message);
}

#[test]
fn reading_is_as_here() {
    let tmp = tempfile::tempdir().unwrap();
    make_tree(tmp.path());
    is_as_local(&RemoteSource::new(beside()), tmp.path());
    let (mut child, connection) = program();
    is_as_local(&RemoteSource::new(connection), tmp.path());
    // The connection is dropped, so the program ends, and ends well.
    assert!(child.wait().unwrap().success());
}

#[test]
fn many_read_at_once_while_a_walk_waits() {
    let tmp = tempfile::tempdir().unwrap();
    make_tree(tmp.path());
    let source = RemoteSource::new(beside());
    let request = request(tmp.path());
    let (_, files) = walk(&source, &request);
    let total: u64 = files.iter().map(|file| file.entry.size).sum();
    let mut walked = 0;
    source
        .walk(&request, &Cancel::default(), &mut |events| {
            walked += events.len();
            // The walk goes on only after reads of all files by several threads have come through.
            std::thread::scope(|scope| {
                let reads: Vec<_> = files
                    .chunks(files.len().div_ceil(6))
                    .map(|some| {
                        let source = &source;
                        scope.spawn(move || {
                            let mut sink = All::new(|_| Ok(()));
                            let way = Chunking::ContentDefined;
                            source.read(some, way, &Cancel::default(), &mut sink).unwrap();
                            sink.bytes
                        })
                    })
                    .collect();
                let bytes: u64 = reads.into_iter().map(|read| read.join().unwrap()).sum();
                assert_eq!(bytes, total);
            });
            Ok(())
        })
        .unwrap();
    assert!(walked > 300);
}

/// Wants everything, and calls a hook with the number of each piece, from 1.
struct All<H> {
    bytes: u64,
    pieces: usize,
    hook: H,
}

impl<H: FnMut(usize) -> Result<(), PortError>> All<H> {
    const fn new(hook: H) -> Self {
        Self { bytes: 0, pieces: 0, hook }
    }
}

impl<H: FnMut(usize) -> Result<(), PortError> + Send> ReadSink for All<H> {
    fn wants(&mut self, _: &BlobHash, _: u32) -> bool {
        true
    }

    fn blob(
        &mut self,
        _: usize,
        _: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        assert_eq!(data.unwrap().len(), length as usize);
        self.bytes += u64::from(length);
        self.pieces += 1;
        (self.hook)(self.pieces)
    }

    fn restart(&mut self, _: usize) -> Result<(), PortError> {
        Ok(())
    }

    fn end(&mut self, _: usize, _: ReadOutcome) -> Result<(), PortError> {
        Ok(())
    }
}

#[test]
fn what_is_stopped_half_way_leaves_the_connection_usable() {
    let tmp = tempfile::tempdir().unwrap();
    make_tree(tmp.path());
    let source = RemoteSource::new(beside());
    let request = request(tmp.path());
    let (said, files) = walk(&source, &request);
    let way = Chunking::Fixed { size_bytes: 16 << 10 };
    for round in 0..20 {
        let mut fails = All::new(|piece| {
            let told = || PortError::terminal("Test", "the sink fails");
            if piece == round * 7 + 1 { Err(told()) } else { Ok(()) }
        });
        let failed = source.read(&files, way, &Cancel::default(), &mut fails).unwrap_err();
        assert_eq!((failed.reason, failed.message.as_str()), ("Test", "the sink fails"));
        let cancel = Cancel::default();
        let mut stops = All::new(|piece| {
            if piece == round * 5 + 1 {
                cancel.cancel();
            }
            Ok(())
        });
        // What is at hand when the flag is raised may still come to the end of the files.
        if let Err(e) = source.read(&files, way, &cancel, &mut stops) {
            assert_eq!(e.reason, "Cancelled");
        }
        let broken_off = source.walk(&request, &Cancel::default(), &mut |_| {
            Err(PortError::terminal("Test", "the walk's taker fails"))
        });
        assert_eq!(broken_off.unwrap_err().reason, "Test");
    }
    assert!(walk(&source, &request).0 == said);
}

#[test]
fn a_mover_that_dies_ends_what_waits_for_it() {
    let tmp = tempfile::tempdir().unwrap();
    make_tree(tmp.path());
    let (mut child, connection) = program();
    let source = RemoteSource::new(connection);
    let (_, files) = walk(&source, &request(tmp.path()));
    let mut kills = All::new(|_| {
        child.kill().unwrap();
        Ok(())
    });
    let way = Chunking::ContentDefined;
    let died = source.read(&files, way, &Cancel::default(), &mut kills).unwrap_err();
    assert_eq!(died.reason, "MoverGone", "{}", died.chain());
    let after = source.walk(&request(tmp.path()), &Cancel::default(), &mut |_| Ok(()));
    assert_eq!(after.unwrap_err().reason, "MoverGone");
    child.wait().unwrap();
}

/// Writes a small tree, twice, and looks at what came of it.
fn writes(target: &dyn TargetMover, root: &Path, entry: &Entry) {
    let file = |name: &str, size| Entry {
        name: name.into(),
        size,
        kind: EntryKind::File,
        mode: 0o640,
        ..entry.clone()
    };
    target.make_directory(b"a").unwrap();
    target.make_directory(b"a/b").unwrap();
    for prepared in [Prepared::Fresh, Prepared::Existing] {
        let size = 10 << 20;
        assert_eq!(target.prepare_file(b"a/large", size, Overwrite::Always).unwrap(), prepared);
        let data = noise(size as usize, 3);
        target.write_at(b"a/large", 0, &data, prepared == Prepared::Fresh).unwrap();
        let pieces: Vec<_> = (0..3u64)
            .map(|n| {
                (n * 4096, 4096, mainstay_mover::hash::hash(&data[n as usize * 4096..][..4096]))
            })
            .chain([(0, 4096, [0; 32]), (size - 10, 4096, [0; 32]), (0, u32::MAX, [0; 32])])
            .collect();
        let matching = target.matching(b"a/large", &pieces).unwrap();
        assert_eq!(matching, [true, true, true, false, false, false]);
        let small = file("small", 5);
        assert_eq!(
            target.write_file(b"a/small", &small, &[b"sm", b"all"], Overwrite::Always).unwrap(),
            []
        );
        let huge = vec![5; 9 << 20];
        let large = file("whole", huge.len() as u64);
        assert_eq!(target.write_file(b"a/whole", &large, &[&huge], Overwrite::Always).unwrap(), []);
        assert!(fs::read(root.join("a/whole")).unwrap() == huge);
        assert!(fs::read(root.join("a/large")).unwrap() == data);
        assert_eq!(fs::read(root.join("a/small")).unwrap(), b"small");
    }
    let link =
        Entry { kind: EntryKind::Symlink, link_target: b"small".to_vec(), ..file("link", 0) };
    assert_eq!(target.make_special(b"a/link", &link, Overwrite::Always).unwrap(), []);
    target.hard_link(b"a/small", b"a/b/again").unwrap();
    assert_eq!(target.set_metadata(b"a/b", &Entry { mode: 0o711, ..entry.clone() }).unwrap(), []);
    let mut names = target.names(b"a").unwrap();
    names.sort();
    assert_eq!(names, [b"b".as_slice(), b"large", b"link", b"small", b"whole"]);
    target.remove(b"a/large").unwrap();
    assert!(!root.join("a/large").exists());
    assert_eq!(fs::read_link(root.join("a/link")).unwrap(), Path::new("small"));
    assert_eq!(fs::read(root.join("a/b/again")).unwrap(), b"small");
    let refused = target.make_directory(b"../outside").unwrap_err();
    assert_eq!(refused.reason, "Refused");
    assert_eq!(
        target.prepare_file(b"a/small", 1, Overwrite::Never).unwrap(),
        Prepared::Kept,
        "left alone"
    );
    target.sync().unwrap();
}

#[test]
fn writing_is_as_here() {
    let tmp = tempfile::tempdir().unwrap();
    let (_, files) = {
        fs::write(tmp.path().join("like"), "").unwrap();
        walk(&LocalSource::default(), &request(tmp.path()))
    };
    let like = files[0].entry.clone();
    let here = tmp.path().join("here");
    writes(&LocalTarget::open(&here).unwrap(), &here, &like);
    let there = tmp.path().join("there");
    writes(&RemoteTarget::open(beside(), &there).unwrap(), &there, &like);
    let (mut child, connection) = program();
    let far = tmp.path().join("far");
    writes(&RemoteTarget::open(connection, &far).unwrap(), &far, &like);
    assert!(child.wait().unwrap().success());
    let closed = RemoteTarget::open(beside(), Path::new("/proc/nowhere")).err().unwrap();
    assert!(["TargetIo", "PermissionDenied"].contains(&closed.reason), "{}", closed.reason);
}
