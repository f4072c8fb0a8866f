//! The ports that one runtime works with; wired by the command line, or by the simulated world.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use model::desired::Desired;
use model::diagnostic::Diagnostic;
use model::error::PortError;
use model::ports::agents::Agents;
use model::ports::clock::Clock;
use model::ports::engine::Engine;
use model::ports::source::{ConfigTree, Source};
use model::ports::state::State;

/// Everything outside.
#[derive(Clone)]
pub struct World {
    /// The config repository.
    pub source: Arc<dyn Source>,
    /// The data engine.
    pub engine: Arc<dyn Engine>,
    /// The protected things.
    pub agents: Arc<dyn Agents>,
    /// Our own memory.
    pub state: Arc<dyn State>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Built-in templates and policies, by path.
    pub builtin: Arc<BTreeMap<String, Vec<u8>>>,
    /// Told of each config tree before it is used, for adapters that keep secrets in it.
    pub on_config: Arc<dyn Fn(&ConfigTree) + Send + Sync>,
    /// The name of this machine, for snapshots.
    pub hostname: String,
    /// Limits.
    pub limits: Limits,
    /// Configurations that were loaded lately.
    pub remembered: Remembered,
}

/// Configurations that were loaded lately, by their files: a pass over a commit that is known costs
/// no reading and checking of documents. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Arc<Mutex<VecDeque<LoadedTree>>>);

/// One configuration, by everything that it was made of.
#[derive(Clone, Debug)]
struct LoadedTree {
    tree: Arc<ConfigTree>,
    desired: Arc<Desired>,
    diagnostics: Vec<Diagnostic>,
}

impl Remembered {
    /// Configurations that are kept: the newest, the last good one, and some that a person asked
    /// for.
    const TREES_MAX: usize = 4;

    /// Returns what the same files of the same commit gave before.
    pub(crate) fn find(&self, tree: &ConfigTree) -> Option<(Arc<Desired>, Vec<Diagnostic>)> {
        let trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&LoadedTree| {
            known.tree.commit == tree.commit && known.tree.files == tree.files
        };
        trees.iter().find(same).map(|known| (known.desired.clone(), known.diagnostics.clone()))
    }

    /// Keeps what files gave, and lets the oldest go.
    pub(crate) fn keep(
        &self,
        tree: ConfigTree,
        desired: &Arc<Desired>,
        diagnostics: &[Diagnostic],
    ) {
        let mut trees = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.len() >= Self::TREES_MAX {
            trees.pop_front();
        }
        trees.push_back(LoadedTree {
            tree: Arc::new(tree),
            desired: desired.clone(),
            diagnostics: diagnostics.to_vec(),
        });
    }
}

/// How much may be done at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Probes and repository looks at the same time. They mostly wait, so more than cores.
    pub observations_max: usize,
    /// Steps at the same time. Two: one may wait for a disk or a network while another computes;
    /// the engine itself uses all cores for one step.
    pub steps_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { observations_max: 8, steps_max: 2 }
    }
}

/// Serialises one of our own records.
pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, PortError> {
    serde_json::to_vec(value).map_err(|e| {
        PortError::terminal("RecordUnwritable", "a record could not be serialised").with_source(e)
    })
}
