//! Fails every call in turn: over a few scenarios that meet every kind of step, the n-th call of
//! each operation goes wrong, n = 1, 2, 3… until a run is not touched any more; once and for ever.

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
    ]
}

/// A run of a sweep that broke a promise.
#[derive(Clone, Debug)]
pub struct Found {
    /// The scenario's name.
    pub name: &'static str,
    /// What went wrong in it.
    pub scenario: Scenario,
    /// How it ended.
    pub verdict: Verdict,
}

/// One part of a sweep.
#[derive(Clone, Debug)]
pub struct Job {
    /// The scenario's name.
    pub name: &'static str,
    /// The scenario.
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

/// Returns the parts of a sweep over all scenarios. With `most`, about so many calls of each
/// operation go wrong in each way instead of all, spread over the run and beginning elsewhere for
/// each fault; a kill after each record of the journal is never left out.
pub fn jobs(most: Option<u64>) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, scenario) in scenarios() {
        let calls = simulate(&scenario, false).counts;
        for op in Op::ALL {
            for (at, fault) in FAULTS.into_iter().enumerate() {
                for forever in [false, true] {
                    let journal = op == Op::StateAppend
                        && fault == Fault::KilledAfter(Fate::Kept)
                        && !forever;
                    let calls = calls.get(&op).copied().unwrap_or(0);
                    let stride = match most {
                        Some(most) if !journal => calls.div_ceil(most.max(1)).max(1),
                        _ => 1,
                    };
                    let mut scenario = scenario.clone();
                    if fault == Fault::KilledAfter(Fate::Old) {
                        // What comes back is what was there three hours after the begin.
                        scenario.events.push((3 * HOUR_MS, Event::CopyState));
                        scenario.events.sort_by_key(|(at, _)| *at);
                    }
                    let first = 1 + (at as u64 * 2 + u64::from(forever)) % stride;
                    jobs.push(Job { name, scenario, op, fault, forever, first, stride });
                }
            }
        }
    }
    jobs
}

/// Runs one part of a sweep. Returns runs, findings and coverage.
pub fn sweep(job: &Job) -> (u64, Vec<Found>, Coverage) {
    let (mut runs, mut found, mut coverage) = (0, Vec::new(), Coverage::default());
    let Job { name, op, fault, forever, .. } = *job;
    let mut nth = job.first;
    loop {
        let mut broken = job.scenario.clone();
        broken.faults = vec![FaultAt { op, nth, forever, fault }];
        let verdict = simulate(&broken, false);
        runs += 1;
        let calls = verdict.counts.get(&op).copied().unwrap_or(0);
        coverage.add(&verdict.coverage);
        if !verdict.broken.is_empty() {
            found.push(Found { name, scenario: broken, verdict });
        }
        if nth >= calls {
            return (runs, found, coverage);
        }
        nth += job.stride;
    }
}
