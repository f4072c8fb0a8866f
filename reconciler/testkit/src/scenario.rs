//! What a seed means: a first configuration, what happens when, and what goes wrong. All of it is
//! listed, so that it can be printed, shortened and repeated.

use std::collections::BTreeMap;
use std::fmt;

use crate::documents::{Documents, Proof, RecoveryDoc, ResourceDoc, Then};
use crate::faults::{Fate, Fault, FaultAt, Op};
use crate::random::Random;
use crate::world::things::Kind;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// A restore is asked for.
    Recovery(RecoveryDoc),
    /// A backup is asked for.
    Trigger(String),
    /// A document is removed.
    Drop(String),
    /// All documents are as at first.
    Restore,
    /// Fewer points are kept.
    KeepLast(u32),
    /// Everything is stopped, or goes on.
    Held(bool),
    /// Repositories are pinned by their ids.
    Pin,
    /// All files are gone.
    Empty,
    /// A file cannot be read as a document.
    Broken,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody works with a thing.
    Write(usize),
    /// It is gone.
    Lose(usize),
    /// It is empty.
    Empty(usize),
    /// It cannot be used.
    Damage(usize),
    /// A person brings it back by hand, as it last was.
    Mend(usize),
    /// One of its files cannot be read, or can again.
    Unreadable(usize, bool),
    /// It goes back to what it was so many writes ago.
    GoBack(usize, usize),
    /// Another one is in its place.
    Replace(usize),
    /// Its host is cut off, or returns.
    CutThing(usize, bool),
    /// The whole site is cut off, or returns.
    CutSite(bool),
    /// A repository is cut off, or returns.
    CutStore(usize, bool),
    /// Its disk is full, or has room again.
    FillStore(usize, bool),
    /// It is taken away, or brought back.
    TakeStore(usize, bool),
    /// A copy of its disk is taken.
    CopyStore(usize),
    /// The disk goes back to the copy.
    StoreGoesBack(usize),
    /// Stored content of its newest point rots.
    Rot(usize),
    /// A person deletes the newest point by hand.
    DeletePoint(usize),
    /// Git is cut off, or returns.
    CutGit(bool),
    /// A commit is pushed.
    Push(Push),
    /// The branch is forced back by so many commits.
    ForceBack(usize),
    /// The clock jumps by so many minutes.
    ClockJumps(i64),
    /// A copy of our memory is taken.
    CopyState,
    /// We are killed.
    Kill(Fate),
    /// We are asked to stop, and start again.
    Restart,
    /// A person reads the plan, and accepts and approves what waits.
    PersonLooks,
    /// A person ends the recovery of a thing.
    PersonEnds(usize, bool),
    /// A second daemon starts on the same memory.
    SecondDaemon,
    /// A second daemon starts on a memory of its own.
    OtherDaemon,
    /// The second daemon ends.
    SecondEnds,
}

/// Everything about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The seed; it also decides how long calls take.
    pub seed: u64,
    /// The first configuration.
    pub documents: Documents,
    /// Things that are written over in place.
    pub in_place: Vec<bool>,
    /// Minutes between the daemon's passes.
    pub interval_min: u64,
    /// Things that happen, after so many milliseconds.
    pub events: Vec<(i64, Event)>,
    /// Things that go wrong.
    pub faults: Vec<FaultAt>,
    /// How long it runs before everything calms down, in milliseconds.
    pub length_ms: i64,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.documents;
        writeln!(f, "seed {}", self.seed)?;
        let things: Vec<String> =
            d.resources.iter().map(|r| format!("{} ({:?})", r.name, r.kind)).collect();
        let stores: Vec<&str> = d.repositories.iter().map(|(name, _)| name.as_str()).collect();
        writeln!(f, "  things {}; repositories {}", things.join(", "), stores.join(", "))?;
        writeln!(
            f,
            "  every {} h, keep {:?}, proof {:?}, answers {:?}, then {:?}, in place {:?}",
            d.every_h, d.keep_last, d.proof, d.answers, d.then, self.in_place
        )?;
        writeln!(f, "  a pass every {} min for {} h", self.interval_min, self.length_ms / HOUR_MS)?;
        for (at, event) in &self.events {
            writeln!(f, "  at {:>9.3} s  {event:?}", *at as f64 / 1000.0)?;
        }
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

/// From this seed on, policies make things anew as well; those before stay what they were.
pub const ANEW_FROM: u64 = 1_000_000;

/// Returns the scenario of a seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut random = Random::of(seed, "configuration");
    let documents = first_documents(&mut random);
    let in_place = documents.resources.iter().map(|_| random.percent(25)).collect();
    let length_ms = i64::try_from(random.within(6, 20)).unwrap_or(6) * HOUR_MS;
    let interval_min = random.one_of(&[45, 60, 90]);
    let events = events(&mut Random::of(seed, "events"), &documents, length_ms);
    let mut faults = faults(&mut Random::of(seed, "faults"));
    let mut documents = documents;
    if seed >= ANEW_FROM {
        made_anew(&mut Random::of(seed, "anew"), &mut documents, &mut faults);
    }
    Scenario { seed, documents, in_place, interval_min, events, faults, length_ms }
}

/// Lets policies make things anew instead of restoring them, and that go wrong.
fn made_anew(random: &mut Random, documents: &mut Documents, faults: &mut Vec<FaultAt>) {
    for answer in documents.answers.values_mut() {
        if random.percent(60) {
            "recreate".clone_into(answer);
        }
    }
    if random.percent(50) {
        let fault = random.one_of(&[
            Fault::Fails,
            Fault::FailsForGood,
            Fault::Hangs,
            Fault::DoneButFails,
            Fault::KilledBefore(Fate::Kept),
            Fault::KilledAfter(Fate::Kept),
            Fault::KilledAfter(Fate::Lost),
            Fault::KilledAfter(Fate::Old),
        ]);
        let (op, nth, forever) = (Op::AgentsRecreate, random.within(1, 3), random.percent(10));
        faults.push(FaultAt { op, nth, forever, fault });
    }
}

fn first_documents(random: &mut Random) -> Documents {
    let kinds = [Kind::Folder, Kind::File, Kind::Server];
    let names = ["uploads", "ledger", "orders", "queue"];
    let count = usize::try_from(random.one_of(&[1, 1, 2, 2, 3, 4])).unwrap_or(1);
    let resources = (0..count)
        .map(|at| ResourceDoc {
            name: names[at].to_owned(),
            kind: random.one_of(&kinds),
            dependent: random.percent(30),
        })
        .collect();
    let repositories: &[&str] = if random.percent(60) { &["near", "far"] } else { &["near"] };
    let repositories = repositories.iter().map(|name| ((*name).to_owned(), None)).collect();
    let mut answers = BTreeMap::new();
    for (condition, choices) in [
        ("lost", &["restore", "restore", "hold"][..]),
        ("rolledBack", &["restore", "adopt", "hold"]),
        ("replaced", &["hold", "adopt", "restore"]),
        ("damaged", &["restore", "hold"]),
    ] {
        answers.insert(condition.to_owned(), random.one_of(choices).to_owned());
    }
    let then = match random.below(4) {
        0 => Then::Wait,
        1 => Then::Rollback(random.within(1, 5)),
        _ => Then::Commit(random.within(1, 5)),
    };
    Documents {
        resources,
        repositories,
        every_h: random.one_of(&[1, 2, 3]),
        keep_last: random.percent(85).then(|| u32::try_from(random.within(1, 3)).unwrap_or(2)),
        proof: random.one_of(&[Proof::Each, Proof::Each, Proof::Each, Proof::Again(6)]),
        answers,
        then,
        restores_a_day: random.percent(15).then_some(1),
        expiries_a_run: random.percent(15).then_some(1),
        recoveries: Vec::new(),
        triggers: Vec::new(),
        held: false,
    }
}

fn events(random: &mut Random, documents: &Documents, length_ms: i64) -> Vec<(i64, Event)> {
    let things = documents.resources.len() as u64;
    let stores = documents.repositories.len() as u64;
    let mut events = Vec::new();
    let somewhen = |random: &mut Random| {
        i64::try_from(random.within(10, u64::try_from(length_ms / MINUTE_MS).unwrap_or(10)))
            .unwrap_or(10)
            * MINUTE_MS
            + i64::try_from(random.below(60_000)).unwrap_or(0)
    };
    for _ in 0..random.within(4, 16) {
        let thing = usize::try_from(random.below(things)).unwrap_or(0);
        events.push((somewhen(random), Event::Write(thing)));
    }
    for _ in 0..random.within(0, 6) {
        let at = somewhen(random);
        let thing = usize::try_from(random.below(things)).unwrap_or(0);
        let store = usize::try_from(random.below(stores)).unwrap_or(0);
        let until = at + i64::try_from(random.within(20, 400)).unwrap_or(20) * MINUTE_MS;
        for (at, event) in disaster(random, documents, (at, until), thing, store) {
            events.push((at, event));
        }
    }
    for _ in 0..random.within(0, 4) {
        let thing = usize::try_from(random.below(things)).unwrap_or(0);
        let event = match random.below(4) {
            0 => Event::PersonEnds(thing, random.percent(50)),
            _ => Event::PersonLooks,
        };
        events.push((somewhen(random), event));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

/// One disaster, with its end where it has one.
fn disaster(
    random: &mut Random,
    documents: &Documents,
    (at, until): (i64, i64),
    thing: usize,
    store: usize,
) -> Vec<(i64, Event)> {
    use Event as E;
    let fate = random.one_of(&[Fate::Kept, Fate::Kept, Fate::Lost, Fate::Old]);
    let pair = |event: fn(usize, bool) -> Event, which| {
        vec![(at, event(which, true)), (until, event(which, false))]
    };
    let switch = |event: fn(bool) -> Event| vec![(at, event(true)), (until, event(false))];
    match random.below(30) {
        0..=2 => vec![(at, E::Lose(thing))],
        3 => vec![(at, E::Empty(thing))],
        4 => vec![(at, E::Damage(thing))],
        5 => vec![(at, E::Lose(thing)), (until, E::Mend(thing))],
        6 => pair(E::Unreadable, thing),
        7..=8 => {
            let writes = usize::try_from(random.within(1, 4)).unwrap_or(1);
            vec![(at, E::GoBack(thing, writes))]
        }
        9 => vec![(at, E::Replace(thing))],
        10 => pair(E::CutThing, thing),
        11 => switch(E::CutSite),
        12..=13 => pair(E::CutStore, store),
        14 => pair(E::FillStore, store),
        15 => pair(E::TakeStore, store),
        16..=17 => vec![(at, E::CopyStore(store)), (until, E::StoreGoesBack(store))],
        18 => vec![(at, E::Rot(store))],
        19 => vec![(at, E::DeletePoint(store))],
        20 => switch(E::CutGit),
        21..=23 => {
            let mut events = vec![(at, E::Push(push(random, documents, thing)))];
            if random.percent(40) {
                events.push((until, E::Push(Push::Restore)));
            }
            events
        }
        24 => {
            let back = usize::try_from(random.within(1, 2)).unwrap_or(1);
            vec![(at, E::Push(push(random, documents, thing))), (until, E::ForceBack(back))]
        }
        25 => {
            let minutes = i64::try_from(random.within(15, 2000)).unwrap_or(15);
            let minutes = if random.percent(50) { minutes } else { -minutes };
            vec![(at, E::ClockJumps(minutes)), (until, E::ClockJumps(-minutes))]
        }
        26 => vec![(at, E::CopyState), (until, E::Kill(fate))],
        27 => vec![(at, E::Kill(fate))],
        28 => vec![(at, E::SecondDaemon), (until, E::SecondEnds)],
        _ => match random.below(3) {
            0 => vec![(at, E::OtherDaemon), (until, E::SecondEnds)],
            _ => vec![(at, E::Restart)],
        },
    }
}

fn push(random: &mut Random, documents: &Documents, thing: usize) -> Push {
    let resource = documents.resources[thing].name.clone();
    let number = random.below(1000);
    match random.below(14) {
        0..=4 => Push::Recovery(RecoveryDoc {
            name: format!("back-{number}"),
            resource,
            token: format!("token-{number}"),
            elsewhere: random.percent(20),
            repeats: random.percent(10),
        }),
        5..=6 => Push::Trigger(format!("now-{number}")),
        7 => Push::Drop(resource),
        8 => Push::KeepLast(1),
        9 => Push::Held(true),
        10..=11 => Push::Pin,
        12 => Push::Empty,
        _ => Push::Broken,
    }
}

/// How many calls of each operation a run makes at least; later ones are seldom reached.
fn reach(op: Op) -> u64 {
    match op {
        Op::StateList => 600,
        Op::StateWrite | Op::StateAppend => 150,
        Op::EngineObserve | Op::AgentsProbe => 60,
        Op::SourceFetch | Op::SourceAncestry => 12,
        Op::EngineBackup | Op::EngineVerify | Op::AgentsOpen | Op::AgentsClose => 14,
        Op::StateAcquire | Op::StateReadJournal => 5,
        Op::EngineForget | Op::EngineReclaim => 6,
        _ => 3,
    }
}

fn faults(random: &mut Random) -> Vec<FaultAt> {
    let mut faults = Vec::new();
    for _ in 0..random.one_of(&[0, 1, 2, 3, 4, 6, 8]) {
        let op = random.one_of(&Op::ALL[..Op::DRAWN]);
        let fate = random.one_of(&[Fate::Kept, Fate::Kept, Fate::Kept, Fate::Lost, Fate::Old]);
        let fault = match random.below(14) {
            0..=2 => Fault::Fails,
            3 => Fault::FailsForGood,
            4 => Fault::Hangs,
            5 => Fault::Slow,
            6..=7 => Fault::DoneButFails,
            8 => Fault::Stale,
            9 => Fault::Partial,
            10..=11 => Fault::KilledBefore(fate),
            12 => Fault::KilledAfter(fate),
            _ => Fault::CopyState,
        };
        let nth = random.within(1, reach(op));
        faults.push(FaultAt { op, nth, forever: random.percent(5), fault });
    }
    faults
}
