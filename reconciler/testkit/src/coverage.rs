//! Which fault met which kind of step: what a run has shown, and what it has not.

use std::collections::BTreeMap;

use model::plan::{Action, Over};

/// Kinds of steps that exist, and `observe` and `pass` for what belongs to none.
pub const CLASSES: [&str; 13] = [
    "pass",
    "observe",
    "init",
    "backup",
    "verify",
    "expire",
    "reclaim",
    "restore",
    "restore-over",
    "recreate",
    "commit",
    "rollback",
    "adopt",
];

/// Words of all faults.
pub const FAULTS: [&str; 10] = [
    "fails",
    "fails-for-good",
    "hangs",
    "slow",
    "done-but-fails",
    "stale",
    "partial",
    "killed-before",
    "killed-after",
    "copy-state",
];

/// What cannot meet: a step that looks at no repository gets no part of one, and a commit looks at
/// nothing.
const NEVER: [(&str, &str); 4] =
    [("commit", "stale"), ("commit", "partial"), ("rollback", "partial"), ("recreate", "partial")];

/// Returns the kind of a step.
pub fn class(action: &Action) -> &'static str {
    match action {
        Action::Init { .. } => "init",
        Action::Backup { .. } => "backup",
        Action::Verify { .. } => "verify",
        Action::Expire { .. } => "expire",
        Action::Reclaim { .. } => "reclaim",
        Action::Restore { over: Over::Nothing, .. } => "restore",
        Action::Restore { .. } => "restore-over",
        Action::Recreate { .. } => "recreate",
        Action::Commit { .. } => "commit",
        Action::Rollback { .. } => "rollback",
        Action::Adopt { .. } => "adopt",
    }
}

/// Counts by kind of step and word of the fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(pub BTreeMap<(&'static str, &'static str), u64>);

impl Coverage {
    /// Counts one meeting.
    pub fn met(&mut self, class: &'static str, fault: &'static str) {
        *self.0.entry((class, fault)).or_default() += 1;
    }

    /// Adds what another run has shown.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            *self.0.entry(*key).or_default() += count;
        }
    }

    /// Returns how often a fault met a kind of step.
    pub fn count(&self, class: &str, fault: &str) -> u64 {
        self.0.iter().find(|((c, f), _)| *c == class && *f == fault).map_or(0, |(_, n)| *n)
    }

    /// Returns what was never shown: a fault that met no step of a kind, a kind of which no step
    /// was done, or none was ended otherwise. `left_out` are words of faults that were not tried.
    pub fn missing(&self, left_out: &[&str]) -> Vec<(&'static str, &'static str)> {
        let steps = |class: &str| !matches!(class, "pass" | "observe");
        let ends = ["done", "not-done"];
        let faults =
            CLASSES.iter().flat_map(|class| FAULTS.iter().map(move |word| (*class, *word)));
        let ended = CLASSES.iter().filter(|class| steps(class));
        let ended = ended.flat_map(|class| ends.iter().map(move |word| (*class, *word)));
        faults
            .chain(ended)
            .filter(|(class, word)| !left_out.contains(word) && self.count(class, word) == 0)
            .filter(|meeting| !NEVER.contains(meeting))
            .collect()
    }

    /// Returns a table for people.
    pub fn table(&self) -> String {
        let mut faults: Vec<&str> = self.0.keys().map(|(_, fault)| *fault).collect();
        faults.sort_unstable();
        faults.dedup();
        let mut text = format!("{:<12}", "");
        for fault in &faults {
            text.push_str(&format!(" {fault:>14}"));
        }
        for class in CLASSES {
            text.push_str(&format!("\n{class:<12}"));
            for fault in &faults {
                text.push_str(&format!(" {:>14}", self.count(class, fault)));
            }
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_shown_is_missing() {
        let mut coverage = Coverage::default();
        for class in CLASSES {
            for word in FAULTS.into_iter().chain(["done", "not-done"]) {
                if (class, word) != ("adopt", "hangs") && word != "copy-state" {
                    coverage.met(class, word);
                }
            }
        }
        assert_eq!(coverage.missing(&["copy-state"]), [("adopt", "hangs")]);
        assert_eq!(coverage.missing(&[]).len(), 1 + CLASSES.len());
    }
}
