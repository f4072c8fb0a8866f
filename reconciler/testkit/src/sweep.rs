//! Fails every call in turn: over a few scenarios that meet every kind of step, the n-th call of
//! each operation goes wrong, n = 1, 2, 3… until a run is not touched any more; once and for ever.
//! Called by the `simulate` program.

use std::collections::BTreeMap;

use crate::coverage::Coverage;
use crate::documents::{Documents, Proof, RecoveryDoc, ResourceDoc, Then};
use crate::faults::{Fate, Fault, FaultAt, Op};
use crate::scenario::{Event, Push, Scenario};
use crate::simulation::{Verdict, simulate};
use crate::world::things::Kind;

const HOUR_MS: i64 = 3_600_000;

/// The faults that a sweep tries at every call.
pub const FAULTS: [Fault; 12] = [
    Fault::Fails,
    Fault::FailsForGood,
    Fault::Hangs,
    Fault::Slow,
    Fault::DoneButFails,
    Fault::Stale,
    Fault::Partial,
    Fault::KilledBefore(Fate::Kept),
    Fault::KilledBefore(Fate::Lost),
    Fault::KilledAfter(Fate::Kept),
    Fault::KilledAfter(Fate::Lost),
    Fault::KilledAfter(Fate::Old),
];

fn documents(kind: Kind, lost: &str, rolled_back: &str, then: Then) -> Documents {
    let resource =
        |name: &str, kind, dependent| ResourceDoc { name: name.to_owned(), kind, dependent };
    Documents {
        resources: vec![resource("uploads", kind, false), resource("ledger", Kind::File, true)],
        repositories: vec![("near".to_owned(), None), ("far".to_owned(), None)],
        every_h: 1,
        keep_last: Some(2),
        proof: Proof::Each,
        answers: BTreeMap::from([
            ("lost".to_owned(), lost.to_owned()),
            ("rolledBack".to_owned(), rolled_back.to_owned()),
            ("replaced".to_owned(), "adopt".to_owned()),
            ("damaged".to_owned(), "restore".to_owned()),
        ]),
        then,
        restores_a_day: None,
        expiries_a_run: None,
        recoveries: Vec::new(),
        triggers: Vec::new(),
        held: false,
    }
}

fn scenario(documents: Documents, in_place: bool, events: Vec<(i64, Event)>) -> Scenario {
    let mut all: Vec<(i64, Event)> = events;
    for hour in 0..6 {
        all.push((hour * HOUR_MS + 11 * 60_000, Event::Write(0)));
        all.push((hour * HOUR_MS + 12 * 60_000, Event::Write(1)));
    }
    all.sort_by_key(|(at, _)| *at);
    Scenario {
        seed: 7,
        in_place: documents.resources.iter().map(|_| in_place).collect(),
        documents,
        interval_min: 60,
        events: all,
        faults: Vec::new(),
        length_ms: 8 * HOUR_MS,
    }
}

/// The scenarios by name; together they meet every kind of step.
pub fn scenarios() -> Vec<(&'static str, Scenario)> {
    use Kind::{File, Folder, Server};
    let at = |hours: f64, event| ((hours * HOUR_MS as f64) as i64, event);
    let recovery = |elsewhere| {
        Push::Recovery(RecoveryDoc {
            name: "back".to_owned(),
            resource: "uploads".to_owned(),
            token: "token-1".to_owned(),
            elsewhere,
            repeats: false,
        })
    };
    let looks = |hours: f64| at(hours, Event::PersonLooks);
    vec![
        (
            "lost folder comes back",
            scenario(
                documents(Folder, "restore", "hold", Then::Commit(1)),
                false,
                vec![at(3.4, Event::Lose(0))],
            ),
        ),
        (
            "server goes back, a person says yes, it is committed by time",
            scenario(
                documents(Server, "restore", "restore", Then::Commit(1)),
                true,
                vec![at(3.4, Event::GoBack(0, 2)), looks(4.7), looks(5.6)],
            ),
        ),
        (
            "damaged file is restored and rolled back by time",
            scenario(
                documents(File, "restore", "hold", Then::Rollback(1)),
                true,
                vec![at(3.4, Event::Damage(0)), looks(4.7), looks(5.6)],
            ),
        ),
        (
            "a document restores over live data, a person commits",
            scenario(
                documents(Server, "hold", "hold", Then::Wait),
                false,
                vec![at(3.4, Event::Push(recovery(false))), at(6.5, Event::PersonEnds(0, true))],
            ),
        ),
        (
            "a document restores into another place, another one is adopted",
            scenario(
                documents(Server, "restore", "adopt", Then::Wait),
                false,
                vec![at(2.4, Event::Push(recovery(true))), at(3.4, Event::Replace(0))],
            ),
        ),
        (
            "a lost server is made anew, and goes back once it is filled",
            scenario(
                documents(Server, "recreate", "recreate", Then::Wait),
                false,
                vec![at(2.4, Event::Lose(0)), at(5.4, Event::GoBack(0, 1)), looks(6.7)],
            ),
        ),
    ]
}

/// A run of a sweep that broke a promise.
#[derive(Clone, Debug)]
pub struct Found {
    /// What repeats it: see [`repeat`].
    pub words: String,
    /// What went wrong in it.
    pub scenario: Scenario,
    /// How it ended.
    pub verdict: Verdict,
}

/// One part of a sweep: calls of one operation that go wrong in one way, in one scenario.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which scenario, by its place in [`scenarios`].
    pub number: usize,
    /// The same.
    pub scenario: Scenario,
    /// Whose calls go wrong.
    pub op: Op,
    /// How.
    pub fault: Fault,
    /// From the n-th call on, not the n-th alone.
    pub forever: bool,
    /// The first call that goes wrong.
    pub first: u64,
    /// From one call that goes wrong to the next.
    pub stride: u64,
}

/// A scenario in which one thing goes wrong.
fn run(scenario: &Scenario, fault: FaultAt) -> Scenario {
    let mut run = scenario.clone();
    if fault.fault == Fault::KilledAfter(Fate::Old) {
        // What comes back is what was there three hours after the begin.
        run.events.push((3 * HOUR_MS, Event::CopyState));
        run.events.sort_by_key(|(at, _)| *at);
    }
    run.faults = vec![fault];
    run
}

/// One run of a sweep in words.
fn words(number: usize, FaultAt { op, nth, forever, fault }: FaultAt) -> String {
    let on = if forever { "on" } else { "once" };
    format!("{number} {op:?} {nth} {fault:?} {on}")
}

/// Returns one run of a sweep by its words: the scenario's place, the operation, which call of it,
/// the fault, and `once` or `on`.
pub fn repeat(words: &str) -> Option<Scenario> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let [number, op, nth, fault, on] = words.as_slice() else { return None };
    let (_, scenario) = scenarios().into_iter().nth(number.parse().ok()?)?;
    let op = Op::ALL.into_iter().find(|of| format!("{of:?}") == **op)?;
    let fault = FAULTS.into_iter().find(|of| format!("{of:?}") == **fault)?;
    let forever = match *on {
        "on" => true,
        "once" => false,
        _ => return None,
    };
    Some(run(&scenario, FaultAt { op, nth: nth.parse().ok()?, forever, fault }))
}

/// Returns the parts of a sweep over all scenarios. With `most`, about so many calls of each
/// operation go wrong in each way instead of all, spread over the run and beginning elsewhere for
/// each fault; a kill after each record of the journal is never left out.
pub fn jobs(most: Option<u64>) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (number, (_, scenario)) in scenarios().into_iter().enumerate() {
        let calls = simulate(&scenario, false).counts;
        for op in Op::ALL {
            let played = FAULTS.into_iter().enumerate().filter(|(_, fault)| fault.is_played(op));
            for (at, fault) in played {
                for forever in [false, true] {
                    let journal = op == Op::StateAppend
                        && fault == Fault::KilledAfter(Fate::Kept)
                        && !forever;
                    let calls = calls.get(&op).copied().unwrap_or(0);
                    let stride = match most {
                        Some(most) if !journal => calls.div_ceil(most.max(1)).max(1),
                        _ => 1,
                    };
                    let first = 1 + (at as u64 * 2 + u64::from(forever)) % stride;
                    let scenario = scenario.clone();
                    jobs.push(Job { number, scenario, op, fault, forever, first, stride });
                }
            }
        }
    }
    jobs
}

/// Runs one part of a sweep, and tells at once what breaks a promise. Returns how many runs it
/// took and what they covered.
pub fn sweep(job: &Job, mut tell: impl FnMut(Found)) -> (u64, Coverage) {
    let (mut runs, mut coverage) = (0, Coverage::default());
    let Job { number, op, fault, forever, .. } = *job;
    let mut nth = job.first;
    loop {
        let fault = FaultAt { op, nth, forever, fault };
        let scenario = run(&job.scenario, fault);
        let verdict = simulate(&scenario, false);
        runs += 1;
        let calls = verdict.counts.get(&op).copied().unwrap_or(0);
        coverage.add(&verdict.coverage);
        if !verdict.broken.is_empty() {
            tell(Found { words: words(number, fault), scenario, verdict });
        }
        if nth >= calls {
            return (runs, coverage);
        }
        nth += job.stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_again_by_its_words() {
        let fault = Fault::KilledAfter(Fate::Old);
        let fault = FaultAt { op: Op::StateWrite, nth: 17, forever: true, fault };
        let said = words(3, fault);
        assert_eq!(said, "3 StateWrite 17 KilledAfter(Old) on");
        assert_eq!(repeat(&said), Some(run(&scenarios()[3].1, fault)));
        assert_eq!(repeat("3 StateWrite 17 KilledAfter(Old) often"), None);
        assert_eq!(repeat("99 StateWrite 17 Fails once"), None);
    }
}
