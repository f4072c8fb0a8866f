//! The config repository: commits with their parents, and which of them the branch names.

use std::collections::BTreeMap;

use model::id::CommitId;

use crate::documents::Documents;

/// One commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// The commit before it.
    pub parent: Option<usize>,
    /// Its files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the files ask for, for the checks; `None` when they are no valid configuration.
    pub documents: Option<Documents>,
}

/// All commits; the branch names one.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Commits in the order in which they were made.
    pub commits: Vec<Commit>,
    /// The one that the branch names.
    pub head: usize,
    /// The one that it named before; what a lagging mirror still answers.
    pub before: usize,
    /// It cannot be reached.
    pub cut_off: bool,
}

impl History {
    /// Adds a commit after another and lets the branch name it.
    pub fn push(
        &mut self,
        parent: Option<usize>,
        files: BTreeMap<String, Vec<u8>>,
        documents: Option<Documents>,
    ) -> usize {
        let number = self.commits.len();
        let id = CommitId::from(format!(
            "{:040x}",
            (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ));
        self.commits.push(Commit { id, parent, files, documents });
        self.point_to(number);
        number
    }

    /// Lets the branch name a commit.
    pub fn point_to(&mut self, commit: usize) {
        self.before = if self.commits.len() > 1 { self.head } else { commit };
        self.head = commit;
    }

    /// Returns the number of a commit.
    pub fn find(&self, id: &CommitId) -> Option<usize> {
        self.commits.iter().position(|commit| commit.id == *id)
    }

    /// Returns whether `new` is `old` or comes after it.
    pub fn descends(&self, new: usize, old: usize) -> bool {
        let mut at = Some(new);
        while let Some(number) = at {
            if number == old {
                return true;
            }
            at = self.commits.get(number).and_then(|commit| commit.parent);
        }
        false
    }
}
