//! Shortens a scenario that breaks a promise: leaves out one event or fault after the other, as
//! long as the same promise is still broken.

use crate::scenario::Scenario;
use crate::simulation::{Verdict, simulate};

/// Runs that one shortening may take: a scenario has some dozens of parts, and a few rounds over
/// them find all that can go.
const RUNS_MAX: usize = 600;

/// Returns the promise that a run broke first.
fn broken(verdict: &Verdict) -> Option<&'static str> {
    verdict.broken.first().map(|broken| broken.promise)
}

/// Returns the shortest scenario that was found, with how it breaks.
pub fn minimise(scenario: &Scenario) -> (Scenario, Verdict) {
    let mut best = scenario.clone();
    let mut verdict = simulate(&best, false);
    let promise = broken(&verdict);
    let mut runs = 0;
    let mut shorter = promise.is_some();
    while shorter && runs < RUNS_MAX {
        shorter = false;
        for candidate in candidates(&best) {
            if runs >= RUNS_MAX {
                break;
            }
            runs += 1;
            let tried = simulate(&candidate, false);
            if broken(&tried) == promise {
                (best, verdict, shorter) = (candidate, tried, true);
                break;
            }
        }
    }
    (best, verdict)
}

/// Scenarios with one part less.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    for at in (0..scenario.faults.len()).rev() {
        let mut shorter = scenario.clone();
        shorter.faults.remove(at);
        candidates.push(shorter);
    }
    for at in (0..scenario.events.len()).rev() {
        let mut shorter = scenario.clone();
        shorter.events.remove(at);
        candidates.push(shorter);
    }
    if scenario.documents.resources.len() > 1 {
        let mut shorter = scenario.clone();
        shorter.documents.resources.pop();
        candidates.push(shorter);
    }
    if scenario.documents.repositories.len() > 1 {
        let mut shorter = scenario.clone();
        shorter.documents.repositories.pop();
        candidates.push(shorter);
    }
    candidates
}
