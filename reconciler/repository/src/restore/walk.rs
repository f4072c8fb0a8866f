//! The walk of a restore: directories and special files at once, contents in bounded windows, links
//! and the directories' metadata at the end.

use std::collections::HashMap;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::mover::{Entry, EntryKind, Overwrite, Problem, ProblemKind, TargetMover};

use super::content::{Gatherer, write_windows};
use super::{RestoreOptions, Tally};
use crate::format::node::{Node, name_problem};
use crate::id::Id;
use crate::index::Index;
use crate::progress::Meter;
use crate::store::Store;
use crate::treecache::TreeCache;

/// Directory levels; deeper ones cannot be reached by any path.
const DEPTH_MAX: usize = 2048;

/// The parts of one restore that its modules share.
pub(super) struct Context<'r> {
    pub store: &'r Store,
    pub index: &'r Index,
    pub target: &'r dyn TargetMover,
    pub options: &'r RestoreOptions,
    pub meter: &'r Meter<'r>,
    pub tally: &'r Tally,
    pub cancel: &'r Cancel,
    /// The target held nothing when the restore began.
    pub empty_target: bool,
}

/// Where the restore begins: a tree and, below the root, the folder's own entry.
pub(super) struct Base {
    tree: Id,
    entry: Option<Entry>,
    path: Vec<u8>,
}

pub(super) struct Restorer<'r> {
    context: &'r Context<'r>,
    trees: &'r TreeCache<'r>,
    /// First path of each file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    linked: Vec<(Vec<u8>, Vec<u8>)>,
    directories: Vec<(Vec<u8>, Entry)>,
}

/// A directory on the way.
struct Level {
    nodes: std::vec::IntoIter<Node>,
    target_length: usize,
    source_length: usize,
}

impl Context<'_> {
    pub fn problem(&self, path: &[u8], kind: ProblemKind, message: impl Into<String>) {
        let problem = Problem { path: path.to_vec(), kind, message: message.into() };
        self.tally.problems(self.meter, [problem]);
    }

    /// Records that one item could not be written; what stops everything is returned.
    pub fn unwritable(&self, path: &[u8], e: PortError) -> Result<(), PortError> {
        let all = e.class != model::error::ErrorClass::Terminal
            || matches!(e.reason, "DiskFull" | "ReadOnly");
        if all {
            return Err(e);
        }
        let kind =
            if e.reason == "Refused" { ProblemKind::Refused } else { ProblemKind::Unwritable };
        self.problem(path, kind, e.chain());
        Ok(())
    }

    fn metadata(
        &self,
        path: &[u8],
        done: Result<Vec<Problem>, PortError>,
    ) -> Result<(), PortError> {
        match done {
            Ok(problems) => {
                self.tally.problems(self.meter, problems);
                Ok(())
            }
            Err(e) => self.unwritable(path, e),
        }
    }
}

impl<'r> Restorer<'r> {
    pub fn new(context: &'r Context<'r>, trees: &'r TreeCache<'r>) -> Self {
        Self { context, trees, links: HashMap::new(), linked: Vec::new(), directories: Vec::new() }
    }

    /// Goes down to the folder that becomes the target.
    pub fn find_base(&self, root: &Id) -> Result<Base, PortError> {
        let mut base = Base { tree: *root, entry: None, path: Vec::new() };
        let parts = self.context.options.base.split(|b| *b == b'/');
        for part in parts.filter(|p| !p.is_empty() && *p != b".") {
            base.path.push(b'/');
            base.path.extend_from_slice(part);
            let missing = |why: &str| {
                let shown = base.path.escape_ascii();
                PortError::terminal("PathMissing", format!("{shown} {why} in the snapshot"))
            };
            let nodes = self.trees.load(&base.tree)?;
            let node = nodes
                .into_iter()
                .find(|n| n.entry.name == part)
                .ok_or_else(|| missing("is not"))?;
            base.tree = node.subtree.ok_or_else(|| missing("is no directory"))?;
            base.entry = Some(node.entry);
        }
        Ok(base)
    }

    /// Restores everything below the base.
    pub fn run(&mut self, base: Base) -> Result<(), PortError> {
        self.contents(base.tree, base.path)?;
        if self.context.options.dry_run {
            return Ok(());
        }
        for (existing, path) in std::mem::take(&mut self.linked) {
            if let Err(e) = self.context.target.hard_link(&existing, &path) {
                self.context.unwritable(&path, e)?;
            }
        }
        // Deepest first: each change in a directory moves its times.
        for (path, entry) in self.directories.iter().rev() {
            self.context.metadata(path, self.context.target.set_metadata(path, entry))?;
        }
        if let Some(entry) = &base.entry
            && self.context.options.include.is_empty()
        {
            self.context.metadata(b"", self.context.target.set_metadata(b"", entry))?;
        }
        self.context.target.sync()
    }

    /// Makes directories and special files, while another thread writes the files' contents.
    fn contents(&mut self, tree: Id, source: Vec<u8>) -> Result<(), PortError> {
        let context = self.context;
        // One window gathers, one waits, one is written.
        let (sender, full) = crossbeam_channel::bounded(1);
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || write_windows(context, &full));
            let mut gatherer = Gatherer::new(sender);
            let walked =
                self.directories(tree, source, &mut gatherer).and_then(|()| gatherer.flush());
            drop(gatherer);
            // Its error is the cause of the walk's, where both failed.
            crate::join(writing).and(walked)
        })
    }

    fn directories(
        &mut self,
        tree: Id,
        source: Vec<u8>,
        gatherer: &mut Gatherer,
    ) -> Result<(), PortError> {
        let mut path: Vec<u8> = Vec::new();
        let mut source = source;
        let mut stack = Vec::new();
        stack.extend(self.level(&tree, &path, &source)?);
        while let Some(level) = stack.last_mut() {
            self.context.cancel.check()?;
            path.truncate(level.target_length);
            source.truncate(level.source_length);
            let Some(node) = level.nodes.next() else {
                stack.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&node.entry.name);
            source.push(b'/');
            source.extend_from_slice(&node.entry.name);
            if !self.included(&source, node.entry.kind) {
                continue;
            }
            match (node.entry.kind, node.subtree) {
                (EntryKind::Directory, Some(subtree)) => {
                    if stack.len() >= DEPTH_MAX {
                        self.context.problem(&path, ProblemKind::Refused, "too deep");
                    } else if self.enter(&path, node.entry)? {
                        stack.extend(self.level(&subtree, &path, &source)?);
                    }
                }
                (EntryKind::Directory, None) => {
                    self.context.problem(&path, ProblemKind::Damaged, "has no tree");
                }
                (EntryKind::File, _) => self.file(&path, node, gatherer)?,
                (EntryKind::Socket, _) => {}
                _ => self.special(&path, &node.entry)?,
            }
        }
        Ok(())
    }

    fn included(&self, source: &[u8], kind: EntryKind) -> bool {
        let include = &self.context.options.include;
        let below = |path: &[u8], of: &[u8]| {
            path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        include.is_empty()
            || include.iter().any(|wanted| {
                let wanted = wanted.strip_suffix(b"/").unwrap_or(wanted);
                below(source, wanted) || (kind == EntryKind::Directory && below(wanted, source))
            })
    }

    /// Reads a tree, refusing names that are not single components or come twice.
    fn level(&self, tree: &Id, path: &[u8], source: &[u8]) -> Result<Option<Level>, PortError> {
        let mut nodes = match self.trees.load(tree) {
            Ok(nodes) => nodes,
            Err(e) if crate::fetch::is_damage(&e) || e.reason == crate::store::BLOB_MISSING => {
                self.context.problem(path, ProblemKind::Damaged, e.chain());
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        nodes.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        let mut last: Option<Vec<u8>> = None;
        nodes.retain(|node| {
            let name = &node.entry.name;
            let twice = (last.as_ref() == Some(name)).then_some("name that comes twice");
            if let Some(why) = name_problem(name).or(twice) {
                let mut shown = path.to_vec();
                shown.push(b'/');
                shown.extend_from_slice(name);
                self.context.problem(&shown, ProblemKind::Refused, why);
                return false;
            }
            last = Some(name.clone());
            true
        });
        if self.context.options.delete_extra && !self.context.empty_target {
            self.delete_extra(path, source, &nodes)?;
        }
        let level = Level {
            nodes: nodes.into_iter(),
            target_length: path.len(),
            source_length: source.len(),
        };
        Ok(Some(level))
    }

    fn delete_extra(&self, path: &[u8], source: &[u8], nodes: &[Node]) -> Result<(), PortError> {
        let options = self.context.options;
        // With some paths only, what lies beside them is not this restore's to judge.
        let whole = options.include.iter().all(|i| source.starts_with(i));
        if options.dry_run || !whole {
            return Ok(());
        }
        for name in self.context.target.names(path)? {
            if nodes.binary_search_by(|n| n.entry.name.cmp(&name)).is_err() {
                let mut extra = path.to_vec();
                if !extra.is_empty() {
                    extra.push(b'/');
                }
                extra.extend_from_slice(&name);
                if let Err(e) = self.context.target.remove(&extra) {
                    self.context.unwritable(&extra, e)?;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, path: &[u8], entry: Entry) -> Result<bool, PortError> {
        self.context.tally.with(|s| s.dirs += 1);
        if self.context.options.dry_run {
            return Ok(true);
        }
        if let Err(e) = self.context.target.make_directory(path) {
            self.context.unwritable(path, e)?;
            return Ok(false);
        }
        self.directories.push((path.to_vec(), entry));
        Ok(true)
    }

    fn special(&self, path: &[u8], entry: &Entry) -> Result<(), PortError> {
        self.context.tally.with(|s| s.others += 1);
        if self.context.options.dry_run {
            return Ok(());
        }
        let made = self.context.target.make_special(path, entry, self.context.options.overwrite);
        self.context.metadata(path, made)
    }

    fn file(&mut self, path: &[u8], node: Node, gatherer: &mut Gatherer) -> Result<(), PortError> {
        self.context.tally.with(|s| s.files += 1);
        self.context.meter.files_total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let entry = &node.entry;
        if entry.links > 1 && entry.inode != 0 {
            let key = (entry.device, entry.inode);
            if let Some(first) = self.links.get(&key) {
                if self.context.options.overwrite != Overwrite::Never {
                    self.linked.push((first.clone(), path.to_vec()));
                }
                self.context.meter.done(1, 0);
                return Ok(());
            }
            self.links.insert(key, path.to_vec());
        }
        gatherer.add(self.context, path, node)
    }
}
