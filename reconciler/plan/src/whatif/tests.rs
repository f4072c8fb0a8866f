//! Tests of what-if questions.

use model::desired::{ConditionKind, Response};
use model::observed::Observation;

use super::{Disaster, Duration, Fate, Measured, Rate, difference, forecast, what_if};
use crate::testing::*;

/// Two resources on one host, copied to a repository on that host and to one in another site.
fn world() -> World {
    World::new()
        .repository("local")
        .repository("offsite")
        .resource("shop/api")
        .resource("shop/db")
        .needs("shop/api", "shop/db")
        .backup("shop", &["shop/api", "shop/db"], &["local", "offsite"])
        .point("local", "a1", "shop/api", ago(1), |_| {})
        .point("local", "b1", "shop/db", ago(1), |_| {})
        .point("offsite", "b2", "shop/db", ago(5), |_| {})
        .proven("a1")
        .proven("b1")
        .proven("b2")
        .with(|w| {
            let local = w.desired.repositories.get_mut(&name("local")).unwrap();
            local.failure_domain.host = Some("here".to_owned());
            local.failure_domain.site = Some("berlin".to_owned());
            let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
            offsite.failure_domain.host = Some("far".to_owned());
            offsite.failure_domain.account = Some("cloud".to_owned());
            let here = w.desired.hosts.get_mut(&name("here")).unwrap();
            here.failure_domain.site = Some("berlin".to_owned());
        })
}

fn ask(disaster: Disaster) -> super::WhatIf {
    let world = world();
    what_if(&world.desired, &world.observed, world.now, &Measured::default(), &disaster)
}

#[test]
fn what_a_policy_makes_anew_is_not_brought_back_from_a_point() {
    let world = world().policy(&["shop/db"], &[(ConditionKind::Lost, Response::Recreate)]);
    let lost = Disaster::Host(name("here"));
    let answer = what_if(&world.desired, &world.observed, world.now, &Measured::default(), &lost);
    let db = &answer.resources[0];
    assert_eq!((db.fate, &db.point, db.loss_s), (Fate::MadeAnew, &None, None));
    let why = db.why.as_deref().unwrap();
    assert!(why.ends_with("has it made anew; what it held is gone"), "{why}");
    let text = crate::render::what_if(&answer).to_plain();
    assert!(text.contains(&format!("  1. shop/db {why}\n")), "{text}");
    assert!(text.contains("1 made anew; 1 gone for good"), "{text}");
    let mended = answer.mends.iter().any(|mend| mend.resources.contains(&address("shop/db")));
    assert!(!mended, "{:?}", answer.mends);
}

#[test]
fn a_lost_host_takes_its_repository_along() {
    let answer = ask(Disaster::Host(name("here")));
    assert_eq!(answer.repositories, [name("local")].into());
    let of: Vec<_> = answer
        .resources
        .iter()
        .map(|s| (s.resource.to_string(), s.point.as_ref().map(|p| p.snapshot.clone()), s.loss_s))
        .collect();
    assert_eq!(
        of,
        [
            ("shop/db".to_owned(), Some(snapshot("b2")), Some(5 * 3600)),
            ("shop/api".to_owned(), None, None),
        ],
        "the database first, five hours old; the api is gone for good"
    );
    assert_eq!(answer.resources[1].after, [address("shop/db")].into());
}

#[test]
fn a_lost_site_is_its_hosts_and_repositories() {
    let answer = ask(Disaster::Site("berlin".to_owned()));
    assert_eq!((answer.hosts.len(), answer.repositories.len()), (1, 1));
    assert_eq!(answer.resources.len(), 2);
    assert_eq!(answer.unknown_domains, ["repository/offsite".to_owned()].into());
}

#[test]
fn a_lost_repository_leaves_the_data_and_may_leave_it_unprotected() {
    let answer = ask(Disaster::Repository(name("local")));
    assert!(answer.resources.is_empty());
    assert_eq!(answer.unprotected, [address("shop/api")].into());
    let account = ask(Disaster::Account("cloud".to_owned()));
    assert_eq!(account.repositories, [name("offsite")].into());
    assert!(account.unprotected.is_empty());
}

#[test]
fn what_is_not_proven_is_said_to_be_not() {
    let world = world().with(|w| w.observed.memory.evidence.clear());
    let host = Disaster::Host(name("here"));
    let answer = what_if(&world.desired, &world.observed, world.now, &Measured::default(), &host);
    assert_eq!(answer.resources[0].fate, Fate::Unproven);
    assert!(!answer.resources[0].proven && answer.resources[0].point.is_some());
}

#[test]
fn a_lost_key_is_every_repository_that_it_opens() {
    let world = world().with(|w| {
        let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
        offsite.password = model::agent::SecretRef("offsite-password".to_owned());
    });
    let ask = |key: &str| {
        let key = Disaster::Key(key.to_owned());
        what_if(&world.desired, &world.observed, world.now, &Measured::default(), &key)
    };
    let answer = ask("password");
    assert_eq!(answer.repositories, [name("local")].into());
    assert!(answer.resources.is_empty(), "the live data stays");
    assert_eq!(answer.unprotected, [address("shop/api")].into(), "no other repository has it");
    assert!(answer.mends[0].what.contains("keep the secret `password` in a second place"));
    assert!(ask("offsite-password").unprotected.is_empty());
}

#[test]
fn a_secret_of_a_resource_locks_it() {
    let mut world = world();
    let db = world.desired.resources.get_mut(&address("shop/db")).unwrap();
    let secret = model::agent::Piece::Secret(model::agent::SecretRef("db".to_owned()));
    db.agent.env.insert("PGPASSWORD".to_owned(), model::agent::Arg(vec![secret]));
    let key = Disaster::Key("db".to_owned());
    let answer = what_if(&world.desired, &world.observed, world.now, &Measured::default(), &key);
    assert_eq!(answer.locked, [address("shop/db")].into());
    assert!(answer.repositories.is_empty());
    assert!(super::names(&world.desired)["key"].contains("db"));
}

#[test]
fn a_lost_credential_closes_the_repositories_that_it_reaches() {
    let world = world().with(|w| {
        let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
        let service = model::remote::Service::Rest(model::remote::Rest {
            url: "https://host/a".to_owned(),
            user: Some("me".to_owned()),
            password: Some(model::agent::SecretRef("rest".to_owned())),
            ca_file: None,
        });
        let remote = model::remote::Remote { service, limits: Default::default() };
        offsite.storage = model::desired::StorageSpec::Remote(Box::new(remote));
    });
    let ask = |key: &str| {
        let key = Disaster::Key(key.to_owned());
        what_if(&world.desired, &world.observed, world.now, &Measured::default(), &key)
    };
    let answer = ask("rest");
    assert_eq!(answer.closed, [name("offsite")].into());
    assert!(answer.repositories.is_empty(), "its data is not lost");
    assert!(ask("password").closed.is_empty());
    assert!(super::names(&world.desired)["key"].contains("rest"));
}

#[test]
fn times_are_measured_or_said_to_be_unknown() {
    let world = world();
    let host = Disaster::Host(name("here"));
    let ask = |measured: &Measured| {
        what_if(&world.desired, &world.observed, world.now, measured, &host).duration
    };
    assert!(matches!(ask(&Measured::default()), Duration::Unknown { .. }));
    let mut rate = Rate::default();
    rate.add(500, 2000);
    rate.add(500, 2000);
    let mut measured = Measured::default();
    measured.verifications.insert(name("offsite"), rate);
    assert_eq!(ask(&measured), Duration::MoreThan { seconds: 4 });
    measured.restores.insert(name("offsite"), rate);
    assert_eq!(
        ask(&measured),
        Duration::About { seconds: 4, runs: 2 },
        "1000 bytes at 250 a second"
    );
}

#[test]
fn a_repository_that_cannot_be_read_leaves_the_answer_open() {
    let world = world().repository_unknown("offsite");
    let host = Disaster::Host(name("here"));
    let answer = what_if(&world.desired, &world.observed, world.now, &Measured::default(), &host);
    let fates: Vec<Fate> = answer.resources.iter().map(|s| s.fate).collect();
    assert_eq!(fates, [Fate::Unknown, Fate::Unknown]);
    assert!(answer.resources[0].why.as_deref().unwrap().contains("no answer"));
}

#[test]
fn the_cheapest_mend_is_named() {
    let answer = ask(Disaster::Host(name("here")));
    let mends: Vec<&str> = answer.mends.iter().map(|m| m.what.as_str()).collect();
    assert_eq!(mends, ["run `mainstay apply`: offsite has no point of it yet"]);
    let one = world().with(|w| {
        w.desired.backups.get_mut(&name("shop")).unwrap().repositories = vec![name("local")];
    });
    let site = Disaster::Site("berlin".to_owned());
    let mend = |world: &World| {
        let none = Measured::default();
        what_if(&world.desired, &world.observed, world.now, &none, &site).mends.remove(0)
    };
    assert!(
        mend(&one).what.contains("make a repository outside of site berlin"),
        "where offsite lies is not known: it is no mend"
    );
    let known = one.with(|w| {
        let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
        offsite.failure_domain.site = Some("paris".to_owned());
    });
    assert_eq!(mend(&known).what, "name the repository offsite in Backup shop as well");
}

#[test]
fn a_point_older_than_promised_asks_for_more_backups() {
    let world = world().with(|w| {
        let db = w.desired.resources.get_mut(&address("shop/db")).unwrap();
        db.objectives.rpo_s = Some(7200);
    });
    let host = Disaster::Host(name("here"));
    let answer = what_if(&world.desired, &world.observed, world.now, &Measured::default(), &host);
    let mends: Vec<String> = answer.mends.iter().map(|m| m.what.clone()).collect();
    assert!(
        mends.contains(&"back up to offsite within 2 h: Backup shop runs every 1 h".to_owned()),
        "{mends:?}"
    );
}

#[test]
fn a_day_of_hourly_backups_is_counted_by_repository_target_and_link() {
    let world = world();
    let of = forecast(&world.desired, &world.observed, world.now, 1);
    assert_eq!(of.slots, 96, "two resources to two repositories, each hour");
    let local = &of.repositories["local"];
    assert_eq!((local.backups, local.bytes), (48, 48 * 1000));
    assert_eq!((local.busiest_backups, local.busiest_bytes), (2, 2000));
    assert_eq!(local.longest_gap_s, 3600);
    assert_eq!(of.targets["host/here"].backups, 96);
    assert_eq!(of.links["host/here → offsite"].backups, 48);
    assert!(of.unknown_sizes.is_empty() && of.never.is_empty());
}

#[test]
fn what_no_clock_starts_and_what_has_no_size_is_said() {
    let world = World::shop().with(|w| {
        let at = w.now;
        w.observed
            .resources
            .insert(address("shop/files"), Observation::Absent { detail: "gone".to_owned(), at });
    });
    let of = forecast(&world.desired, &world.observed, world.now, 1);
    assert_eq!(of.unknown_sizes, [address("shop/files")]);
    let never = world.with(|w| {
        let backup = w.desired.backups.get_mut(&name("shop")).unwrap();
        backup.schedule.when = model::desired::When::Never;
    });
    let of = forecast(&never.desired, &never.observed, never.now, 1);
    assert_eq!((of.slots, of.never), (0, vec!["shop".to_owned()]));
}

#[test]
fn two_plans_are_compared_step_by_step() {
    let keep = |n| World::protected().keep("shop", keep_last(n));
    let two =
        |world: World| world.point("local", "a0", "shop/files", ago(2), |_| {}).proven("a0").plan();
    let (many, few) = (two(keep(5)), two(keep(1)));
    assert!(difference(&many, &many).is_empty());
    let differs = difference(&many, &few);
    let added: Vec<&str> = differs.added.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(added, ["expire/shop/files/local", "reclaim/local"]);
    assert_eq!(differs.retention.len(), 1);
    assert_eq!(
        (&differs.retention[0].snapshot, differs.retention[0].keep),
        (&snapshot("a0"), false)
    );
    let back = difference(&few, &many);
    assert_eq!((back.removed.len(), back.added.len()), (2, 0));
    assert!(back.retention[0].keep);
}
