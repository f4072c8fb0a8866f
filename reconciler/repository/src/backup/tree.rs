//! Backup of trees: the walk's events become directories under way; files that may have changed are
//! read in batches by the pool; a directory is written when its last entry is known.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::bounded;
use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, Problem, ProblemKind, ReadOutcome, ReadRequest, ReadSink,
    SourceMover, WalkEvent, WalkRequest,
};

use super::pool::{Feeder, Pool, Worker};
use super::{BackupOptions, Tally, keep_pieces};
use crate::format::node::{self, Node, TreeWriter};
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::progress::Meter;
use crate::session::Session;
use crate::treecache::TreeCache;

/// Files that one thread takes at once.
const BATCH_FILES: usize = 64;
/// Bytes from which on a batch is complete.
const BATCH_BYTES: u64 = 1 << 20;
/// Batches of walked entries that wait to be compared with the parent.
const WALKED_WAITING_MAX: usize = 16;
/// Files from this size on are cut by one thread and sealed by all.
const LARGE_BYTES: u64 = 4 << 20;

enum Slot {
    Waiting,
    Known(Box<Node>),
    Gone,
}

#[derive(Default)]
struct Filling {
    slots: Vec<Slot>,
    waiting: usize,
    closed: bool,
    /// How many slots hold what the parent snapshot has there.
    alike: usize,
    /// The directory's own entry.
    entry: Option<Entry>,
}

/// A directory whose entries are not all known yet.
struct Directory {
    parent: Option<(Arc<Directory>, usize)>,
    /// The same directory in the parent snapshot.
    before: Option<Id>,
    /// How many entries it had there; `None` when its tree cannot be taken over as it is.
    before_entries: Option<usize>,
    /// Its own entry is the parent's too.
    entry_alike: bool,
    filling: Mutex<Filling>,
}

struct File {
    request: ReadRequest,
    directory: Arc<Directory>,
    slot: usize,
    known_before: bool,
    chunking: Chunking,
}

struct Context<'c, 'a> {
    session: &'c Session<'a>,
    source: &'c dyn SourceMover,
    options: &'c BackupOptions,
    meter: &'c Meter<'c>,
    tally: &'c Tally,
    root: Mutex<Option<Id>>,
}

/// Backs up a tree and returns its root.
pub(super) fn run(
    session: &Session<'_>,
    source: &dyn SourceMover,
    request: &WalkRequest,
    options: &BackupOptions,
    parent: Option<Id>,
    meter: &Meter<'_>,
    tally: &Tally,
) -> Result<Id, PortError> {
    let context = Context { session, source, options, meter, tally, root: Mutex::default() };
    let trees = TreeCache::new(session.store, session.index)?;
    Pool::run(
        session,
        options.threads(),
        |worker, files: Vec<File>| read_batch(&context, worker, files),
        |feeder| {
            let mut builder = Builder {
                context: &context,
                feeder,
                trees: &trees,
                parent,
                stack: Vec::new(),
                path: Vec::new(),
                batch: Vec::new(),
                batch_bytes: 0,
            };
            walk_beside(source, request, session, |events| {
                events.into_iter().try_for_each(|event| builder.event(event))
            })?;
            builder.send_batch()
        },
    )?;
    let root = context.root.lock().unwrap_or_else(PoisonError::into_inner).take();
    root.ok_or_else(|| PortError::terminal("Internal", "the walk left no root"))
}

/// Walks on a thread of its own, so that looking at entries and comparing them with the parent
/// go on at the same time.
fn walk_beside(
    source: &dyn SourceMover,
    request: &WalkRequest,
    session: &Session<'_>,
    each: impl FnMut(Vec<WalkEvent>) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let (sender, walked) = bounded(WALKED_WAITING_MAX);
    std::thread::scope(|scope| {
        let walking = scope.spawn(move || {
            source.walk(request, session.cancel, &mut |events| {
                // Nobody takes them once the other side failed.
                sender.send(events).map_err(|_| Session::aborted())
            })
        });
        let built = walked.into_iter().try_for_each(each);
        let walk = crate::join(walking);
        built.and(walk)
    })
}

/// An open directory of the walk.
struct Level {
    directory: Arc<Directory>,
    /// Entries of the same directory in the parent snapshot that were not met yet, by name.
    before: std::iter::Peekable<std::vec::IntoIter<Node>>,
    path_length: usize,
}

struct Builder<'b, 'p, 's, 'a> {
    context: &'b Context<'b, 'a>,
    feeder: &'b mut Feeder<'p, 's, 'a, Vec<File>>,
    trees: &'b TreeCache<'a>,
    parent: Option<Id>,
    stack: Vec<Level>,
    path: Vec<u8>,
    batch: Vec<File>,
    batch_bytes: u64,
}

impl Builder<'_, '_, '_, '_> {
    fn event(&mut self, event: WalkEvent) -> Result<(), PortError> {
        match event {
            WalkEvent::Enter(entry) => self.enter(entry),
            WalkEvent::Entry(entry) => self.entry(entry),
            WalkEvent::Leave => self.leave(),
            WalkEvent::Failed(problem) => {
                self.context.tally.problem(self.context.meter, problem);
                Ok(())
            }
        }
    }

    /// Finds an entry's counterpart in the parent; names come in order on both sides.
    fn before(&mut self, name: &[u8]) -> Option<Node> {
        let level = self.stack.last_mut()?;
        while level.before.next_if(|n| n.entry.name.as_slice() < name).is_some() {}
        level.before.next_if(|n| n.entry.name == name)
    }

    fn slot(&mut self) -> Result<(Arc<Directory>, usize), PortError> {
        let level = self.stack.last().ok_or_else(|| {
            PortError::terminal("Internal", "the mover sent an entry outside any directory")
        })?;
        let directory = Arc::clone(&level.directory);
        let mut filling = directory.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.slots.push(Slot::Waiting);
        filling.waiting += 1;
        let slot = filling.slots.len() - 1;
        drop(filling);
        Ok((directory, slot))
    }

    fn enter(&mut self, entry: Entry) -> Result<(), PortError> {
        let root = self.stack.is_empty();
        let (before, entry_alike) = if root {
            (self.parent, false)
        } else {
            let node = self.before(&entry.name).filter(|n| n.entry.kind == EntryKind::Directory);
            let alike = node.as_ref().is_some_and(|n| node::written_alike(&n.entry, &entry));
            (node.and_then(|n| n.subtree), alike)
        };
        let parent = if root { None } else { Some(self.slot()?) };
        let path_length = self.path.len();
        if !root {
            self.path.push(b'/');
            self.path.extend_from_slice(&entry.name);
            self.context.tally.with(|s| {
                s.dirs += 1;
                s.dirs_new += u64::from(before.is_none());
            });
        }
        // A parent that cannot be read costs speed, not the backup.
        let mut nodes = before.and_then(|id| self.trees.load(&id).ok()).unwrap_or_default();
        // A tree in another order than this engine writes is written anew.
        let in_order = nodes.is_sorted_by(|a, b| a.entry.name < b.entry.name);
        if !in_order {
            nodes.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        }
        let before_entries = (in_order && !nodes.is_empty()).then_some(nodes.len());
        let filling = Filling { entry: Some(entry), ..Filling::default() };
        let filling = Mutex::new(filling);
        let directory = Directory { parent, before, before_entries, entry_alike, filling };
        let before = nodes.into_iter().peekable();
        self.stack.push(Level { directory: Arc::new(directory), before, path_length });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), PortError> {
        let Some(level) = self.stack.pop() else {
            return Err(PortError::terminal("Internal", "the mover left more than it entered"));
        };
        self.path.truncate(level.path_length);
        let ready = {
            let mut filling =
                level.directory.filling.lock().unwrap_or_else(PoisonError::into_inner);
            filling.closed = true;
            filling.waiting == 0
        };
        if ready { finish(self.context, level.directory) } else { Ok(()) }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), PortError> {
        let before = self.before(&entry.name);
        let (directory, slot) = self.slot()?;
        let alike = before.as_ref().is_some_and(|b| node::written_alike(&b.entry, &entry));
        if entry.kind != EntryKind::File {
            let node = Node { entry, content: Vec::new(), subtree: None };
            return resolve(self.context, directory, slot, Slot::Known(Box::new(node)), alike);
        }
        self.context.meter.files_total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.context.meter.bytes_total.fetch_add(entry.size, std::sync::atomic::Ordering::Relaxed);
        if before.as_ref().is_some_and(|b| self.unchanged(b, &entry)) {
            let size = entry.size;
            let content = before.map(|b| b.content).unwrap_or_default();
            let node = Node { entry, content, subtree: None };
            self.context.tally.with(|s| {
                s.files += 1;
                s.files_unmodified += 1;
                s.bytes += size;
            });
            self.context.meter.done(1, size);
            return resolve(self.context, directory, slot, Slot::Known(Box::new(node)), alike);
        }
        let mut path = self.path.clone();
        path.push(b'/');
        path.extend_from_slice(&entry.name);
        self.batch_bytes += entry.size;
        let known_before = before.is_some();
        let chunking = self.chunking(before.as_ref(), entry.size);
        let request = ReadRequest { path, entry };
        self.batch.push(File { request, directory, slot, known_before, chunking });
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.send_batch()?;
        }
        Ok(())
    }

    fn send_batch(&mut self) -> Result<(), PortError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.feeder.send(batch) }
    }

    /// The piece size of a file that grows stays the one that the parent snapshot was made with,
    /// which its blobs tell.
    fn chunking(&self, before: Option<&Node>, size: u64) -> Chunking {
        let index = self.context.session.index;
        let first = before.filter(|b| b.content.len() > 1).and_then(|b| b.content.first());
        let length = first
            .and_then(|id| index.get(BlobKind::Data, id))
            .map_or(0, |(_, blob)| blob.plain_length());
        keep_pieces(self.context.options.chunking, length, size)
    }

    /// restic's rule, and all blobs still there.
    fn unchanged(&self, before: &Node, entry: &Entry) -> bool {
        let b = &before.entry;
        b.kind == EntryKind::File
            && b.size == entry.size
            && b.mtime == entry.mtime
            && (!self.context.options.compare_ctime || b.ctime == entry.ctime)
            && (!self.context.options.compare_inode || b.inode == entry.inode)
            && before.content.iter().all(|id| self.context.session.index.has(BlobKind::Data, id))
    }
}

/// Fills an entry's place, and writes each directory that becomes complete by it. `alike` says that
/// the parent snapshot has the same there.
fn resolve(
    context: &Context<'_, '_>,
    directory: Arc<Directory>,
    slot: usize,
    value: Slot,
    alike: bool,
) -> Result<(), PortError> {
    let ready = directory.fill(slot, value, alike);
    if ready { finish(context, directory) } else { Ok(()) }
}

impl Directory {
    /// Fills a place and returns whether it was the last one.
    fn fill(&self, slot: usize, value: Slot, alike: bool) -> bool {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.slots[slot] = value;
        filling.waiting -= 1;
        filling.alike += usize::from(alike);
        filling.closed && filling.waiting == 0
    }

    /// Returns the parent's tree when it is this directory's to the last entry: then nothing needs
    /// to be written to learn its id.
    fn unmodified(&self, filling: &Filling) -> Option<Id> {
        let same = self.before_entries == Some(filling.slots.len())
            && filling.alike == filling.slots.len();
        self.before.filter(|_| same)
    }
}

fn finish(context: &Context<'_, '_>, directory: Arc<Directory>) -> Result<(), PortError> {
    let mut directory = directory;
    loop {
        let (slots, entry, unmodified) = {
            let mut filling = directory.filling.lock().unwrap_or_else(PoisonError::into_inner);
            let unmodified = directory.unmodified(&filling);
            (std::mem::take(&mut filling.slots), filling.entry.take(), unmodified)
        };
        let id = match unmodified {
            Some(id) => id,
            None => write_tree(context, &slots)?,
        };
        let Some((parent, slot)) = &directory.parent else {
            *context.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
            return Ok(());
        };
        if let Some(before) = &directory.before {
            context.tally.with(|s| {
                s.dirs_unmodified += u64::from(*before == id);
                s.dirs_changed += u64::from(*before != id);
            });
        }
        let Some(entry) = entry else {
            return Err(PortError::terminal("Internal", "a directory ended twice"));
        };
        let node = Node { entry, content: Vec::new(), subtree: Some(id) };
        let alike = directory.entry_alike && directory.before == Some(id);
        if !parent.fill(*slot, Slot::Known(Box::new(node)), alike) {
            return Ok(());
        }
        directory = Arc::clone(parent);
    }
}

fn write_tree(context: &Context<'_, '_>, slots: &[Slot]) -> Result<Id, PortError> {
    let mut writer = TreeWriter::default();
    for slot in slots {
        match slot {
            Slot::Known(node) => writer.push(node)?,
            Slot::Gone => {}
            Slot::Waiting => {
                return Err(PortError::terminal("Internal", "a directory ended too early"));
            }
        }
    }
    context.session.put_tree(&writer.finish())
}

struct Sink<'w, 'p, 's, 'a, 'c> {
    context: &'w Context<'c, 'a>,
    worker: &'w mut Worker<'p, 's, 'a, Vec<File>>,
    files: &'w [File],
    content: Vec<Id>,
    bytes: u64,
}

impl ReadSink for Sink<'_, '_, '_, '_, '_> {
    fn wants(&mut self, hash: &BlobHash, _length: u32) -> bool {
        self.context.session.claim(BlobKind::Data, &Id(*hash))
    }

    fn blob(
        &mut self,
        file: usize,
        hash: &BlobHash,
        length: u32,
        data: Option<&[u8]>,
    ) -> Result<(), PortError> {
        let share = self.files[file].request.entry.size >= LARGE_BYTES;
        if let Some(data) = data {
            self.worker.put(hash, data, share)?;
        } else {
            self.context.session.check()?;
        }
        self.content.push(Id(*hash));
        self.bytes += u64::from(length);
        self.context.meter.done(0, u64::from(length));
        Ok(())
    }

    fn restart(&mut self, _file: usize) -> Result<(), PortError> {
        self.content.clear();
        self.bytes = 0;
        Ok(())
    }

    fn end(&mut self, file: usize, outcome: ReadOutcome) -> Result<(), PortError> {
        self.worker.flush()?;
        let content = std::mem::take(&mut self.content);
        let bytes = std::mem::take(&mut self.bytes);
        let (context, file) = (self.context, &self.files[file]);
        context.meter.done(1, 0);
        let directory = Arc::clone(&file.directory);
        let entry = match outcome {
            ReadOutcome::Failed(problem) => {
                context.tally.problem(context.meter, problem);
                return resolve(context, directory, file.slot, Slot::Gone, false);
            }
            ReadOutcome::Changed(entry) => {
                let problem = Problem {
                    path: file.request.path.clone(),
                    kind: ProblemKind::ChangedWhileRead,
                    message: "changed each time it was read".to_owned(),
                };
                context.tally.problem(context.meter, problem);
                entry
            }
            ReadOutcome::Whole(entry) => entry,
        };
        context.tally.with(|s| {
            s.files += 1;
            s.files_new += u64::from(!file.known_before);
            s.files_changed += u64::from(file.known_before);
            s.bytes += bytes;
        });
        let node = Node { entry: *entry, content, subtree: None };
        resolve(context, directory, file.slot, Slot::Known(Box::new(node)), false)
    }
}

fn read_batch<'a>(
    context: &Context<'_, 'a>,
    worker: &mut Worker<'_, '_, 'a, Vec<File>>,
    files: Vec<File>,
) -> Result<(), PortError> {
    let requests: Vec<ReadRequest> = files.iter().map(|f| f.request.clone()).collect();
    let cancel = worker.session().cancel;
    let mut from = 0;
    // As a rule one run; files with another piece size make further ones.
    while from < files.len() {
        let chunking = files[from].chunking;
        let run = files[from..].iter().take_while(|f| f.chunking == chunking).count();
        let to = from + run;
        let mut sink = Sink {
            context,
            worker: &mut *worker,
            files: &files[from..to],
            content: Vec::new(),
            bytes: 0,
        };
        context.source.read(&requests[from..to], chunking, cancel, &mut sink)?;
        from = to;
    }
    Ok(())
}
