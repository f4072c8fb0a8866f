//! Tests of what-if questions.

use super::{Disaster, what_if};
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
    what_if(&world.desired, &world.observed, world.now, &disaster)
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
    let answer = what_if(&world.desired, &world.observed, world.now, &Disaster::Host(name("here")));
    assert!(!answer.resources[0].proven && answer.resources[0].point.is_some());
}
