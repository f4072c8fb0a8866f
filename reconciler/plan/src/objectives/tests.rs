//! Tests of what copies are worth.

use super::{CopiesReport, CopiesRule};
use crate::status::Verdict;
use crate::testing::*;

/// A resource at home with a proven young point in each of two repositories, and all of 3-2-1-1-0
/// promised.
fn world() -> World {
    World::new()
        .repository("disk")
        .repository("cloud")
        .repository("spare")
        .resource("shop/files")
        .backup("shop", &["shop/files"], &["disk", "cloud"])
        .point("disk", "a1", "shop/files", ago(1), |_| {})
        .point("cloud", "b1", "shop/files", ago(1), |_| {})
        .proven("a1")
        .proven("b1")
        .with(|w| {
            let here = w.desired.hosts.get_mut(&name("here")).unwrap();
            here.failure_domain.site = Some("home".to_owned());
            for (text, site, medium, immutable) in
                [("disk", "home", "disk", false), ("cloud", "away", "object", true)]
            {
                let spec = w.desired.repositories.get_mut(&name(text)).unwrap();
                spec.failure_domain.site = Some(site.to_owned());
                spec.medium = Some(medium.to_owned());
                spec.immutable = immutable;
                spec.password = model::agent::SecretRef(format!("{text}-password"));
            }
            let objectives = &mut w.desired.resources.get_mut(&address("shop/files")).unwrap();
            let objectives = &mut objectives.objectives;
            objectives.rpo_s = Some(2 * 3600);
            objectives.copies = Some(3);
            objectives.media = Some(2);
            objectives.offsite = Some(1);
            objectives.immutable = Some(1);
        })
}

fn report(world: &World) -> CopiesReport {
    let status = crate::status(&world.desired, &world.observed, world.now);
    let resource = &status.resources[&address("shop/files")];
    let report = resource.copies_report.clone().unwrap();
    assert_eq!(resource.copies_verdict, report.verdict());
    report
}

/// The promises that are not kept, and the mend.
fn missing(world: &World) -> (Vec<(CopiesRule, Verdict)>, Option<String>) {
    let report = report(world);
    let rules = report.rules.iter().filter(|r| r.verdict != Verdict::Kept);
    (rules.map(|r| (r.rule, r.verdict)).collect(), report.mend)
}

fn change(with: impl FnOnce(&mut model::desired::RepositorySpec)) -> World {
    world().with(|w| with(w.desired.repositories.get_mut(&name("cloud")).unwrap()))
}

#[test]
fn all_of_it_is_kept() {
    assert_eq!(missing(&world()), (vec![], None));
    assert_eq!(report(&world()).rules.len(), 5);
    assert!(report(&world()).shared.is_empty());
}

#[test]
fn without_a_promise_there_is_no_verdict() {
    let world = world().with(|w| {
        let resource = w.desired.resources.get_mut(&address("shop/files")).unwrap();
        resource.objectives.copies = None;
    });
    let status = crate::status(&world.desired, &world.observed, world.now);
    let resource = &status.resources[&address("shop/files")];
    assert_eq!((resource.copies_verdict, &resource.copies_report), (Verdict::NoObjective, &None));
}

#[test]
fn a_copy_that_is_not_proven_counts_for_nothing() {
    let (rules, mend) = missing(&world().with(|w| {
        w.observed.memory.evidence.remove(&snapshot("b1"));
    }));
    let all: Vec<CopiesRule> = rules.iter().map(|(rule, _)| *rule).collect();
    use CopiesRule::*;
    assert_eq!(all, [Total, Media, Offsite, Immutable, Unproven]);
    assert!(rules.iter().all(|(_, verdict)| *verdict == Verdict::Violated));
    assert!(mend.unwrap().starts_with("prove the newest point in cloud"));
}

#[test]
fn an_old_copy_counts_for_nothing() {
    let late = world().with(|w| w.now = ago(-2));
    let (rules, mend) = missing(&late);
    assert_eq!(rules[0], (CopiesRule::Total, Verdict::Violated));
    assert_eq!(mend.unwrap(), "back shop/files up to disk now, or more often");
}

#[test]
fn what_the_documents_do_not_say_is_not_known() {
    let unsaid = change(|spec| spec.failure_domain.site = None);
    assert_eq!(
        missing(&unsaid),
        (
            vec![(CopiesRule::Offsite, Verdict::Unknown)],
            Some("say in Repository cloud what its `failureDomain.site` is".to_owned())
        )
    );
    let unsaid = change(|spec| spec.medium = None);
    assert_eq!(missing(&unsaid).0, [(CopiesRule::Media, Verdict::Unknown)]);
    let homeless = world().with(|w| {
        w.desired.hosts.get_mut(&name("here")).unwrap().failure_domain.site = None;
    });
    let (rules, mend) = missing(&homeless);
    assert_eq!(rules, [(CopiesRule::Offsite, Verdict::Unknown)]);
    assert!(mend.unwrap().contains("Host"));
}

#[test]
fn a_repository_that_cannot_be_read_is_not_known() {
    let (rules, mend) = missing(&world().repository_unknown("cloud"));
    assert!(rules.iter().all(|(_, verdict)| *verdict == Verdict::Unknown), "{rules:?}");
    assert_eq!(mend.unwrap(), "make repository cloud readable again");
}

#[test]
fn the_same_site_or_medium_or_a_place_that_deletes_is_not_enough() {
    let near = change(|spec| spec.failure_domain.site = Some("home".to_owned()));
    assert_eq!(
        missing(&near),
        (
            vec![(CopiesRule::Offsite, Verdict::Violated)],
            Some("add a repository at another site".to_owned())
        )
    );
    let alike = change(|spec| spec.medium = Some("disk".to_owned()));
    assert_eq!(missing(&alike).0, [(CopiesRule::Media, Verdict::Violated)]);
    let open = change(|spec| spec.immutable = false);
    assert_eq!(missing(&open).0, [(CopiesRule::Immutable, Verdict::Violated)]);
    let spare = open.with(|w| {
        w.desired.repositories.get_mut(&name("spare")).unwrap().offline = true;
    });
    assert_eq!(missing(&spare).1.unwrap(), "add repository spare to its Backups");
}

#[test]
fn live_data_that_is_gone_is_no_copy() {
    let (rules, mend) = missing(&world().absent("shop/files"));
    assert_eq!(rules, [(CopiesRule::Total, Verdict::Violated)]);
    assert_eq!(mend.unwrap(), "add repository spare to its Backups");
}

#[test]
fn what_all_copies_share_is_named() {
    let world = world().with(|w| {
        for text in ["disk", "cloud"] {
            let spec = w.desired.repositories.get_mut(&name(text)).unwrap();
            spec.failure_domain.credentials = Some("root@backup".to_owned());
            spec.password = model::agent::SecretRef("one".to_owned());
        }
    });
    assert_eq!(report(&world).shared, ["credentials root@backup", "password one"]);
}

#[test]
fn another_format_is_not_made_here() {
    let world = world().with(|w| {
        let resource = w.desired.resources.get_mut(&address("shop/files")).unwrap();
        resource.objectives.formats = Some(2);
    });
    let (rules, mend) = missing(&world);
    assert_eq!(rules, [(CopiesRule::Formats, Verdict::Violated)]);
    assert!(mend.unwrap().contains("another format"));
}
