//! The contents of a restore: files gather in a window, whose blobs are fetched pack by pack and
//! written wherever they belong. A window bounds memory and keeps neighbours together.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use model::error::PortError;
use model::ports::mover::{Entry, Overwrite, Prepared, Problem, ProblemKind};
use mover::pages::PageBuffer;

use super::walk::Context;
use crate::fetch::{self, Batch, Fetched, Wanted};
use crate::format::node::Node;
use crate::format::pack::BlobKind;
use crate::id::Id;
use crate::session::Session;

/// Blobs of one window.
const WINDOW_BLOBS_MAX: usize = 16 << 10;
/// Files of one window; empty ones bring no blob.
const WINDOW_FILES_MAX: usize = 32 << 10;
/// Plain bytes of one window.
const WINDOW_BYTES_MAX: u64 = 512 << 20;

/// Copies of what waits to be written to a file that another thread writes to.
const QUEUED_MAX: usize = 8;
/// Bytes of the largest; more is waited with.
const QUEUED_BYTES_MAX: usize = 256 << 10;

/// A file whose content is under way.
struct File {
    path: Vec<u8>,
    entry: Entry,
    content: Vec<Id>,
    /// Its content goes into storage order, not with one call.
    prepared: Option<Prepared>,
    damaged: AtomicBool,
    /// Held by the thread that writes to it.
    writing: Mutex<()>,
    queued: Mutex<Vec<Queued>>,
}

/// Bytes that wait to be written at an offset.
struct Queued {
    offset: u64,
    length: usize,
    data: PageBuffer,
}

/// Memory for what waits.
#[derive(Default)]
struct Spare {
    made: usize,
    buffers: Vec<PageBuffer>,
}

/// One place where a blob's bytes belong.
struct Place {
    file: usize,
    offset: u64,
    /// The blob is all of the file.
    whole: bool,
}

/// Bytes that belong together in a file and are written with one call: neighbours in a pack are
/// neighbours in the file as a rule, and a database's pieces are small.
struct Run<'f> {
    file: &'f File,
    offset: u64,
    data: &'f [u8],
}

/// Files and blobs that are fetched together.
#[derive(Default)]
pub(super) struct Window {
    files: Vec<Arc<File>>,
    wanted: Vec<Wanted<Place>>,
    bytes: u64,
    /// The last file goes on in the next window.
    growing: bool,
    spare: Mutex<Spare>,
}

/// Gathers files into windows and hands each full one over, to a thread that fetches and writes it
/// while the next one gathers.
pub(super) struct Gatherer {
    window: Window,
    full: Sender<Window>,
}

/// Fetches and writes windows until no more come.
pub(super) fn write_windows(
    context: &Context<'_>,
    windows: &Receiver<Window>,
) -> Result<(), PortError> {
    windows.iter().try_for_each(|window| window.write(context))
}

impl Gatherer {
    /// Returns one that hands over through the given channel.
    pub fn new(full: Sender<Window>) -> Self {
        Self { window: Window::default(), full }
    }

    /// Adds a file; hands over whenever the window is full.
    pub fn add(&mut self, context: &Context<'_>, path: &[u8], node: Node) -> Result<(), PortError> {
        let Node { entry, content, .. } = node;
        let mut places = Vec::with_capacity(content.len());
        let mut size = 0u64;
        for id in &content {
            match context.index.locate(BlobKind::Data, id) {
                Ok((pack, blob)) => {
                    places.push((pack, blob, size));
                    size += u64::from(blob.plain_length());
                }
                Err(e) => {
                    context.problem(path, ProblemKind::Damaged, e.chain());
                    return Ok(());
                }
            }
        }
        if size != entry.size {
            let message = format!("has {size} bytes of content, its entry says {}", entry.size);
            context.problem(path, ProblemKind::Damaged, message);
        }
        context.tally.with(|s| s.bytes += size);
        context.meter.bytes_total.fetch_add(size, Ordering::Relaxed);
        if context.options.dry_run {
            return Ok(());
        }
        let at_once = places.len() <= 1 && context.empty_target;
        let mut prepared = None;
        if !at_once {
            match context.target.prepare_file(path, size, context.options.overwrite) {
                Ok(Prepared::Kept) => return Ok(()),
                Ok(state) => prepared = Some(state),
                Err(e) => return context.unwritable(path, e),
            }
        }
        let path = path.to_vec();
        let file = Arc::new(File {
            path,
            entry,
            content,
            prepared,
            damaged: AtomicBool::new(false),
            writing: Mutex::default(),
            queued: Mutex::default(),
        });
        self.window.files.push(Arc::clone(&file));
        let mut left = places.len();
        for (pack, blob, offset) in places {
            let window = &mut self.window;
            let place = Place { file: window.files.len() - 1, offset, whole: at_once };
            window.bytes += u64::from(blob.plain_length());
            window.wanted.push(Wanted { pack, blob, tag: place });
            left -= 1;
            if window.wanted.len() >= WINDOW_BLOBS_MAX || window.bytes >= WINDOW_BYTES_MAX {
                window.growing = left > 0;
                self.flush()?;
                if left > 0 {
                    self.window.files.push(Arc::clone(&file));
                }
            }
        }
        if self.window.files.len() >= WINDOW_FILES_MAX { self.flush() } else { Ok(()) }
    }

    /// Hands over what has gathered.
    pub fn flush(&mut self) -> Result<(), PortError> {
        let window = std::mem::take(&mut self.window);
        // Nobody takes it once the other side failed, whose error counts.
        self.full.send(window).map_err(|_| Session::aborted())
    }
}

impl Window {
    /// Fetches and writes all of it.
    fn write(mut self, context: &Context<'_>) -> Result<(), PortError> {
        let threads = crate::store::workers(context.options.threads);
        let connections = context.store.storage.connections();
        let wanted = std::mem::take(&mut self.wanted);
        let wanted = self.unmatched(context, wanted, threads)?;
        let fetching = threads.max(connections.min(16));
        let each = |batch: &Batch<'_, Place>, _| self.take(context, batch);
        let (store, index) = (context.store, context.index);
        fetch::fetch_batches(store, index, wanted, fetching, context.cancel, &each)?;
        self.finish(context, threads)
    }

    /// Writes what came of some blobs.
    fn take<'b>(
        &'b self,
        context: &Context<'_>,
        batch: &Batch<'b, Place>,
    ) -> Result<(), PortError> {
        let mut run: Option<Run<'_>> = None;
        batch.each(|want, fetched| {
            let Place { file, offset, whole } = want.tag;
            let file = &*self.files[file];
            let plain = match fetched {
                Fetched::Blob { plain, .. } => plain,
                Fetched::Lost(e) => {
                    // Named once a file; the rest of it is restored all the same.
                    if !file.damaged.swap(true, Ordering::Relaxed) {
                        context.problem(&file.path, ProblemKind::Damaged, e.chain());
                    }
                    return Ok(());
                }
            };
            if whole {
                let overwrite = context.options.overwrite;
                let done = context.target.write_file(&file.path, &file.entry, &[plain], overwrite);
                return file.written(context, plain.len(), done);
            }
            if let Some(run) = &mut run
                && std::ptr::eq(run.file, file)
                && run.offset + run.data.len() as u64 == offset
                && let Some(joined) = batch.joined(run.data, plain)
            {
                run.data = joined;
                return Ok(());
            }
            let full = run.replace(Run { file, offset, data: plain });
            full.map_or(Ok(()), |run| self.write_run(context, &run))
        })?;
        run.map_or(Ok(()), |run| self.write_run(context, &run))
    }

    /// Writes bytes, or leaves a copy to the thread that writes to the same file just now: the
    /// kernel lets in one at a time, and the other would keep its processor busy with waiting.
    fn write_run(&self, context: &Context<'_>, run: &Run<'_>) -> Result<(), PortError> {
        let Run { file, offset, data } = *run;
        if !context.target.writes_take_turns() {
            return file.write_part(context, offset, data);
        }
        let own = match file.writing.try_lock() {
            Ok(own) => Some(own),
            Err(_) if self.queue(run) => None,
            Err(_) => Some(lock(&file.writing)),
        };
        if let Some(own) = own {
            file.write_part(context, offset, data)?;
            self.write_queued(context, file)?;
            drop(own);
        }
        // What came while the other was about to leave is nobody's but ours.
        while !lock(&file.queued).is_empty() {
            let Ok(own) = file.writing.try_lock() else { return Ok(()) };
            self.write_queued(context, file)?;
            drop(own);
        }
        Ok(())
    }

    /// Keeps a copy for the thread that writes; `false` when too much waits already.
    fn queue(&self, run: &Run<'_>) -> bool {
        let length = run.data.len();
        if length > QUEUED_BYTES_MAX {
            return false;
        }
        let mut spare = lock(&self.spare);
        let mut data = match spare.buffers.pop() {
            Some(data) => data,
            None if spare.made >= QUEUED_MAX => return false,
            None => {
                spare.made += 1;
                PageBuffer::default()
            }
        };
        drop(spare);
        data.room(QUEUED_BYTES_MAX)[..length].copy_from_slice(run.data);
        lock(&run.file.queued).push(Queued { offset: run.offset, length, data });
        true
    }

    /// Writes what others left for the thread that may write to a file.
    fn write_queued(&self, context: &Context<'_>, file: &File) -> Result<(), PortError> {
        loop {
            let Some(Queued { offset, length, data }) = lock(&file.queued).pop() else {
                return Ok(());
            };
            file.write_part(context, offset, &data[..length])?;
            lock(&self.spare).buffers.push(data);
        }
    }

    /// Leaves out what lies at the target already.
    fn unmatched(
        &self,
        context: &Context<'_>,
        wanted: Vec<Wanted<Place>>,
        threads: usize,
    ) -> Result<Vec<Wanted<Place>>, PortError> {
        let existing =
            |w: &Wanted<Place>| self.files[w.tag.file].prepared == Some(Prepared::Existing);
        if !wanted.iter().any(existing) {
            return Ok(wanted);
        }
        let mut groups: Vec<Vec<Wanted<Place>>> = Vec::new();
        for want in wanted {
            match groups.last_mut() {
                Some(group) if group[0].tag.file == want.tag.file => group.push(want),
                _ => groups.push(vec![want]),
            }
        }
        let groups: Vec<_> = groups.into_iter().map(|g| Mutex::new(Some(g))).collect();
        let left = Mutex::new(Vec::new());
        parallel(groups.len(), threads, |at| {
            context.cancel.check()?;
            let taken = groups[at].lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut group = taken.unwrap_or_default();
            if group.first().is_some_and(existing) {
                let pieces: Vec<_> = group
                    .iter()
                    .map(|w| (w.tag.offset, w.blob.plain_length(), w.blob.id.0))
                    .collect();
                let path = &self.files[group[0].tag.file].path;
                let matches = context.target.matching(path, &pieces)?;
                let mut matches = matches.into_iter();
                group.retain(|w| {
                    let same = matches.next().unwrap_or(false);
                    if same {
                        let bytes = u64::from(w.blob.plain_length());
                        context.tally.with(|s| s.bytes_kept += bytes);
                        context.meter.done(0, bytes);
                    }
                    !same
                });
            }
            left.lock().unwrap_or_else(PoisonError::into_inner).extend(group);
            Ok(())
        })?;
        Ok(left.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the metadata of complete files and reads them again where asked to.
    fn finish(&self, context: &Context<'_>, threads: usize) -> Result<(), PortError> {
        let complete = self.files.len() - usize::from(self.growing);
        parallel(complete, threads, |at| {
            context.cancel.check()?;
            let file = &self.files[at];
            context.meter.done(1, 0);
            let path = &file.path;
            if file.prepared.is_some() || file.content.is_empty() {
                let dressed = if file.prepared.is_some() {
                    context.target.set_metadata(path, &file.entry)
                } else {
                    context.target.write_file(path, &file.entry, &[], Overwrite::Always)
                };
                match dressed {
                    Ok(problems) => context.tally.problems(context.meter, problems),
                    Err(e) => context.unwritable(path, e)?,
                }
            }
            if context.options.verify && !file.damaged.load(Ordering::Relaxed) {
                verify(context, file)?;
            }
            Ok(())
        })
    }
}

fn verify(context: &Context<'_>, file: &File) -> Result<(), PortError> {
    let mut offset = 0;
    let mut pieces = Vec::with_capacity(file.content.len());
    for id in &file.content {
        let (_, blob) = context.index.locate(BlobKind::Data, id)?;
        pieces.push((offset, blob.plain_length(), id.0));
        offset += u64::from(blob.plain_length());
    }
    match context.target.matching(&file.path, &pieces) {
        Ok(same) if same.iter().all(|s| *s) => context.tally.with(|s| s.files_verified += 1),
        Ok(_) => {
            let message = "differs from the snapshot when it is read again";
            context.problem(&file.path, ProblemKind::Unwritable, message);
        }
        Err(e) => context.unwritable(&file.path, e)?,
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    fn write_part(&self, context: &Context<'_>, offset: u64, data: &[u8]) -> Result<(), PortError> {
        let fresh = self.prepared == Some(Prepared::Fresh);
        let done = context.target.write_at(&self.path, offset, data, fresh);
        self.written(context, data.len(), done.map(|()| Vec::new()))
    }

    /// Accounts for bytes that were written, or could not be.
    fn written(
        &self,
        context: &Context<'_>,
        length: usize,
        done: Result<Vec<Problem>, PortError>,
    ) -> Result<(), PortError> {
        match done {
            Ok(problems) => context.tally.problems(context.meter, problems),
            Err(e) => {
                self.damaged.store(true, Ordering::Relaxed);
                context.unwritable(&self.path, e)?;
            }
        }
        context.tally.with(|s| s.bytes_written += length as u64);
        context.meter.done(0, length as u64);
        Ok(())
    }
}

/// Calls `work` for each number below `count` from several threads; the first error ends it.
fn parallel(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<(), PortError> + Sync,
) -> Result<(), PortError> {
    let next = AtomicUsize::new(0);
    let run = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= count {
            return Ok(());
        }
        if let Err(e) = work(at) {
            next.store(count, Ordering::Relaxed);
            return Err(e);
        }
    };
    let threads = threads.min(count);
    if threads <= 1 {
        return run();
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().map(crate::join).collect::<Result<Vec<()>, _>>().map(|_| ())
    })
}
