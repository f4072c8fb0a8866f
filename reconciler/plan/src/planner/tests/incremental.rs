//! A planner that remembers plans what a planner from nothing plans, byte for byte.

use jiff::{SignedDuration, Timestamp};
use model::desired::{Point, When};
use model::observed::{BackupRequest, Observation, RecoveryPhase, RepositoryObservation};
use model::receipt::{ControlBody, Evidence, EvidenceKind};
use proptest::prelude::*;

use super::properties::{NAMES, REPOSITORIES, Recipe, recipe, world};
use crate::Planner;
use crate::testing::*;

/// Something that happens between two plans.
#[derive(Clone, Debug)]
enum Change {
    Time(i64),
    Found(usize, u8, u64),
    Snapshot(usize, usize, i64, u64, bool),
    Proven(usize, usize),
    Request(usize),
    Known(bool),
    Recovery(usize, usize, u8),
    Accept(usize),
    Repository(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let minutes = prop_oneof![
        4 => 0i64..90,
        2 => 60i64..3000,
        1 => -200i64..0,
        1 => Just(10),
    ];
    let of = 0..NAMES.len();
    let repository = 0..REPOSITORIES.len();
    prop_oneof![
        5 => minutes.prop_map(Change::Time),
        4 => (of.clone(), 0u8..6, 0u64..6).prop_map(|(of, kind, n)| Change::Found(of, kind, n)),
        4 => (of.clone(), repository.clone(), -20i64..200, 0u64..6, any::<bool>())
            .prop_map(|(of, r, ago, n, ok)| Change::Snapshot(of, r, ago, n, ok)),
        3 => (of.clone(), 0usize..12).prop_map(|(of, point)| Change::Proven(of, point)),
        1 => of.clone().prop_map(Change::Request),
        1 => any::<bool>().prop_map(Change::Known),
        2 => (of, 0usize..12, 0u8..5).prop_map(|(of, p, phase)| Change::Recovery(of, p, phase)),
        1 => (0usize..12).prop_map(Change::Accept),
        1 => (repository, 0u8..4).prop_map(|(r, kind)| Change::Repository(r, kind)),
    ]
}

/// A world in which the clock has a say in much.
fn timed(recipe: &Recipe, variant: u8) -> World {
    let mut world = world(recipe);
    let backup = world.desired.backups.get_mut(&name("shop")).unwrap();
    backup.schedule.jitter_s = u64::from(variant % 3) * 700;
    backup.schedule.deadline_s = (variant.is_multiple_of(2)).then_some(1200);
    backup.verify.again_after_s = (variant % 4 < 2).then_some(5 * 3600);
    if variant.is_multiple_of(5) {
        backup.schedule.when = When::Cron { expression: "*/20 * * * *".to_owned() };
    }
    if variant % 3 == 1 {
        world = world
            .recovery("again", NAMES[0], |r| r.point = Point::AtOrBefore(ago(3)))
            .recovery("named", NAMES[1], |r| {
                r.point = Point::Snapshot(snapshot("01"));
                r.into = Some(agent(true));
                r.token = "t2".to_owned();
            });
    }
    if variant % 7 == 3 {
        let marker = position(2);
        let reason = "adopted".to_owned();
        let body = ControlBody::Baseline { address: address(NAMES[2]), marker, reason };
        world = world.control("local", ago(-1), body);
    }
    world
}

/// The same change to the planner that remembers; the other one takes its observation from it.
fn apply(planner: &mut Planner<'_>, now: &mut Timestamp, number: usize, change: &Change) {
    match change {
        Change::Time(minutes) => *now += SignedDuration::from_mins(*minutes),
        Change::Found(of, kind, n) => {
            let name = NAMES[*of];
            let world = match kind {
                0 => World::new().absent(name),
                1 => World::new().unknown(name),
                2 => World::new().found_with(name, position(*n), Some(0), None),
                3 => World::new().found_with(name, position(*n), Some(3), Some("bad page")),
                _ => World::new().found(name, position(*n)),
            };
            let found: Observation = world.observed.resources[&address(name)].clone();
            planner.observe(&address(name), found);
        }
        Change::Snapshot(of, repository, minutes_ago, n, complete) => {
            let taken = *now - SignedDuration::from_mins(*minutes_ago);
            let place = name(REPOSITORIES[*repository]);
            arrive(planner, &place, number, |id| {
                World::new().repository("local").point("local", id, NAMES[*of], taken, |r| {
                    r.slot = Some(taken);
                    r.marker = position(*n);
                    r.complete = *complete;
                })
            });
        }
        Change::Proven(of, point) => {
            let id = snapshot(&format!("{point:02x}"));
            let proof = Evidence { kind: EvidenceKind::Checked, at: *now };
            planner.prove(&address(NAMES[*of]), &id, proof);
        }
        Change::Request(of) => planner.remember(|memory| {
            let address = address(NAMES[*of]);
            memory.requests.push(BackupRequest { address, token: format!("r{number}") });
        }),
        Change::Known(known) => planner.remember(|memory| memory.known = *known),
        Change::Recovery(of, point, phase) => {
            let phase = [
                RecoveryPhase::Restoring,
                RecoveryPhase::Swapping,
                RecoveryPhase::AwaitingCommit,
                RecoveryPhase::Committed,
                RecoveryPhase::Failed,
            ][usize::from(*phase)];
            let id = format!("{point:02x}");
            let records = World::new().record(NAMES[*of], "r1", &id, phase, None);
            planner.remember(|memory| memory.recoveries = records.observed.memory.recoveries);
        }
        Change::Accept(point) => planner.remember(|memory| {
            let id = snapshot(&format!("{point:02x}"));
            memory.accepted_alarms.insert(format!("suspicious:{id}"));
        }),
        Change::Repository(repository, kind) => {
            let text = REPOSITORIES[*repository];
            let world = match kind {
                0 => World::new().repository_absent(text),
                1 => World::new().repository_unknown(text),
                _ => World::new().repository(text),
            };
            let found = world.observed.repositories[&name(text)].clone();
            planner.observe_repository(&name(text), found);
        }
    }
}

/// One more snapshot in a repository, the newest that it lists.
fn arrive(
    planner: &mut Planner<'_>,
    place: &model::id::Name,
    number: usize,
    made: impl FnOnce(&str) -> World,
) {
    let made = made(&format!("f{number:02x}"));
    let Some(RepositoryObservation::Known { snapshots, .. }) =
        made.observed.repositories.get(&name("local"))
    else {
        unreachable!()
    };
    let mut info = snapshots[0].clone();
    // A repository lists its newest last, whatever the clock of the writer said.
    if let Some(RepositoryObservation::Known { snapshots, .. }) =
        planner.observed().repositories.get(place)
        && let Some(last) = snapshots.last()
    {
        info.time = info.time.max(last.time + SignedDuration::from_secs(1));
    }
    planner.add_snapshot(place, info);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn what_is_kept_gives_the_plan_from_nothing(
        recipe in recipe(),
        variant in any::<u8>(),
        changes in prop::collection::vec(change(), 1..14),
    ) {
        let start = timed(&recipe, variant);
        let mut now = start.now;
        let mut planner = Planner::new(&start.desired, start.observed.clone());
        prop_assert_eq!(&planner.plan(now), &crate::plan(&start.desired, &start.observed, now));
        // It is told nothing but what the world looks like as a whole.
        let mut whole =
            crate::KeptPlanner::new(start.desired.clone().into(), start.observed.clone());
        whole.plan(start.now);
        for (number, change) in changes.iter().enumerate() {
            apply(&mut planner, &mut now, number, change);
            let kept = planner.plan(now);
            let anew = crate::plan(&start.desired, planner.observed(), now);
            prop_assert_eq!(&kept, &anew, "after {:?} at {}", change, now);
            whole.take(planner.observed().clone());
            prop_assert_eq!(&whole.plan(now), &anew, "taken whole after {:?} at {}", change, now);
            let none = Default::default();
            let gates = crate::gates(&start.desired, planner.observed(), &anew, now, &none);
            prop_assert_eq!(whole.gates(&anew, now, &none), gates);
            prop_assert_eq!(kept.observed, planner.observed().digest());
        }
    }
}
