//! Backup of trees: the walk's events become directories under way; files that may have changed are
//! read in batches by the pool; a directory is written when its last entry is known.

use std::sync::{Arc, Mutex, PoisonError};

use model::error::PortError;
use model::ports::mover::{
    BlobHash, Chunking, Entry, EntryKind, Problem, ProblemKind, ReadOutcome, ReadRequest, ReadSink,
    SourceMover, WalkEvent, WalkRequest,
};

use super::pool::{Feeder, Pool, Worker};
use super::{BackupOptions, Tally, keep_pieces};
use crate::format::node::{Node, TreeWriter};
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::progress::Meter;
use crate::session::Session;
use crate::treecache::TreeCache;

/// Files that one thread takes at once.
const BATCH_FILES: usize = 64;
/// Bytes from which on a batch is complete.
const BATCH_BYTES: u64 = 1 << 20;
/// Files from this size on are cut by one thread and sealed by all.
const LARGE_BYTES: u64 = 4 << 20;

enum Slot {
    Waiting,
    Known(Box<Node>),
    Gone,
}

struct Filling {
    slots: Vec<Slot>,
    waiting: usize,
    closed: bool,
    /// The directory's own entry.
    entry: Option<Entry>,
}

/// A directory whose entries are not all known yet.
struct Directory {
    parent: Option<(Arc<Directory>, usize)>,
    /// The same directory in the parent snapshot.
    before: Option<Id>,
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
            source.walk(request, session.cancel, &mut |events| {
                events.into_iter().try_for_each(|event| builder.event(event))
            })?;
            builder.send_batch()
        },
    )?;
    let root = context.root.lock().unwrap_or_else(PoisonError::into_inner).take();
    root.ok_or_else(|| PortError::terminal("Internal", "the walk left no root"))
}

/// An open directory of the walk.
struct Level {
    directory: Arc<Directory>,
    /// Entries of the same directory in the parent snapshot, by name.
    before: Vec<Node>,
    next: usize,
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
        while level.before.get(level.next).is_some_and(|n| n.entry.name.as_slice() < name) {
            level.next += 1;
        }
        let node = level.before.get(level.next)?;
        (node.entry.name == name).then(|| node.clone())
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
        let before = if root {
            self.parent
        } else {
            self.before(&entry.name)
                .filter(|n| n.entry.kind == EntryKind::Directory)
                .and_then(|n| n.subtree)
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
        nodes.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        let filling = Filling { slots: Vec::new(), waiting: 0, closed: false, entry: Some(entry) };
        let directory = Arc::new(Directory { parent, before, filling: Mutex::new(filling) });
        self.stack.push(Level { directory, before: nodes, next: 0, path_length });
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
        if entry.kind != EntryKind::File {
            let node = Node { entry, content: Vec::new(), subtree: None };
            return resolve(self.context, directory, slot, Slot::Known(Box::new(node)));
        }
        self.context.meter.files_total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.context.meter.bytes_total.fetch_add(entry.size, std::sync::atomic::Ordering::Relaxed);
        if let Some(before) = before.as_ref().filter(|b| self.unchanged(b, &entry)) {
            let size = entry.size;
            let node = Node { entry, content: before.content.clone(), subtree: None };
            self.context.tally.with(|s| {
                s.files += 1;
                s.files_unmodified += 1;
                s.bytes += size;
            });
            self.context.meter.done(1, size);
            return resolve(self.context, directory, slot, Slot::Known(Box::new(node)));
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

/// Fills an entry's place, and writes each directory that becomes complete by it.
fn resolve(
    context: &Context<'_, '_>,
    directory: Arc<Directory>,
    slot: usize,
    value: Slot,
) -> Result<(), PortError> {
    let ready = {
        let mut filling = directory.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.slots[slot] = value;
        filling.waiting -= 1;
        filling.closed && filling.waiting == 0
    };
    if ready { finish(context, directory) } else { Ok(()) }
}

fn finish(context: &Context<'_, '_>, directory: Arc<Directory>) -> Result<(), PortError> {
    let mut directory = directory;
    loop {
        let (slots, entry) = {
            let mut filling = directory.filling.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut filling.slots), filling.entry.take())
        };
        let mut writer = TreeWriter::default();
        for slot in &slots {
            match slot {
                Slot::Known(node) => writer.push(node)?,
                Slot::Gone => {}
                Slot::Waiting => {
                    return Err(PortError::terminal("Internal", "a directory ended too early"));
                }
            }
        }
        let id = context.session.put_tree(&writer.finish())?;
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
        let ready = {
            let mut filling = parent.filling.lock().unwrap_or_else(PoisonError::into_inner);
            filling.slots[*slot] = Slot::Known(Box::new(node));
            filling.waiting -= 1;
            filling.closed && filling.waiting == 0
        };
        if !ready {
            return Ok(());
        }
        directory = Arc::clone(parent);
    }
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
        let content = std::mem::take(&mut self.content);
        let bytes = std::mem::take(&mut self.bytes);
        let (context, file) = (self.context, &self.files[file]);
        context.meter.done(1, 0);
        let directory = Arc::clone(&file.directory);
        let entry = match outcome {
            ReadOutcome::Failed(problem) => {
                context.tally.problem(context.meter, problem);
                return resolve(context, directory, file.slot, Slot::Gone);
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
        resolve(context, directory, file.slot, Slot::Known(Box::new(node)))
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
