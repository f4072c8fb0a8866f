//! Tests of the runbook.

use model::agent::{Agent, Arg, Command, Load, Piece, RecoverySteps, SecretRef, Stream};
use model::desired::{ConditionKind, Response};

use super::{Runbook, Surroundings, html, markdown, runbook, stale, text};
use crate::testing::*;
use crate::whatif::Measured;

/// Two folders in Berlin, one of them copied to Paris.
fn world() -> World {
    World::new()
        .repository("local")
        .repository("offsite")
        .resource("shop/files")
        .resource("shop/notes")
        .backup("shop", &["shop/files"], &["local", "offsite"])
        .backup("notes", &["shop/notes"], &["local"])
        .point("local", "a1", "shop/files", ago(1), |_| {})
        .point("local", "b1", "shop/notes", ago(1), |r| r.backup = Some(name("notes")))
        .point("offsite", "a2", "shop/files", ago(3), |_| {})
        .proven("a1")
        .proven("a2")
        .proven("b1")
        .with(|w| {
            let site = |w: &mut World, repository: &str, site: &str| {
                let spec = w.desired.repositories.get_mut(&name(repository)).unwrap();
                spec.failure_domain.site = Some(site.to_owned());
            };
            site(w, "local", "berlin");
            site(w, "offsite", "paris");
            let here = w.desired.hosts.get_mut(&name("here")).unwrap();
            here.failure_domain.site = Some("berlin".to_owned());
        })
}

fn make(world: &World) -> Runbook {
    let around = Surroundings {
        secrets: [("password".to_owned(), "the safe of the Berlin office".to_owned())].into(),
        config: "https://git.example/policies".to_owned(),
    };
    runbook(&world.desired, &world.observed, world.now, &Measured::default(), &around)
}

#[test]
fn every_loss_has_its_chapter_and_every_point_its_commands() {
    let of = text(&make(&world()));
    for chapter in [
        "Lost: site berlin",
        "Lost: site paris",
        "Lost: host here",
        "Lost: repository local",
        "Lost: repository offsite",
        "Lost: key password",
    ] {
        assert!(of.contains(chapter), "{chapter}\n{of}");
    }
    let berlin = of.split("Lost: site berlin").nth(1).unwrap().split("Lost:").next().unwrap();
    assert!(berlin.contains("1. shop/files: recipe 1, from offsite."), "{berlin}");
    assert!(berlin.contains("2026-11-20T09:00:00Z (3 h)"), "{berlin}");
    assert!(berlin.contains("shop/notes: GONE FOR GOOD."), "{berlin}");
    let recipe = of.split("Recipe 1: shop/files from offsite").nth(1).unwrap();
    let commands = "export RESTIC_REPOSITORY=/backup/offsite\nexport \
                    RESTIC_PASSWORD_FILE=\"$SECRETS\"/password\nrestic snapshots a2000000\nrestic \
                    restore --verify --target /srv.restored a2000000:/srv\nls -la -- \
                    /srv.restored\ntest ! -e /srv || mv -T -- /srv /srv.before-recovery\nmv -T -- \
                    /srv.restored /srv\n";
    assert!(recipe.contains(commands), "{recipe}");
    assert!(of.contains("where it lies: the safe of the Berlin office"), "{of}");
}

#[test]
fn a_lost_key_warns_of_what_has_no_other_copy() {
    let world = world().with(|w| {
        let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
        offsite.password = SecretRef("offsite-password".to_owned());
    });
    let of = text(&make(&world));
    let key = of.split("Lost: key password").nth(1).unwrap();
    assert!(key.contains("!! The live data of shop/notes stays, but no proven copy"), "{key}");
    assert!(of.contains("WHERE IT LIES IS NOT KNOWN"), "the second password");
}

#[test]
fn a_repository_on_a_service_is_reached_with_credentials_from_their_files() {
    let world = world().with(|w| {
        let offsite = w.desired.repositories.get_mut(&name("offsite")).unwrap();
        let service = model::remote::Service::Rest(model::remote::Rest {
            url: "https://host/a".to_owned(),
            user: Some("me".to_owned()),
            password: Some(SecretRef("rest".to_owned())),
            ca_file: None,
        });
        let remote = model::remote::Remote { service, limits: Default::default() };
        offsite.storage = model::desired::StorageSpec::Remote(Box::new(remote));
    });
    let of = text(&make(&world));
    let commands = "export RESTIC_REPOSITORY=rest:https://host/a\n\
                    export RESTIC_PASSWORD_FILE=\"$SECRETS\"/password\n\
                    unset RESTIC_CACERT\n\
                    export RESTIC_REST_USERNAME=me\n\
                    RESTIC_REST_PASSWORD=\"$(cat -- \"$SECRETS\"/rest)\"; \
                    export RESTIC_REST_PASSWORD\n\
                    restic snapshots a2000000\n";
    assert!(of.contains(commands), "{of}");
    assert!(of.contains("reaches the repository offsite"), "{of}");
    let key = of.split("Lost: key rest").nth(1).unwrap().split("Lost:").next().unwrap();
    let key = key.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(key.contains("without the credential: offsite."), "{key}");
    assert!(!key.contains("No data is lost by it"), "{key}");
}

#[test]
fn a_printed_document_is_stale_when_something_but_the_points_changed() {
    let world = world();
    let made = make(&world);
    for printed in [text(&made), markdown(&made), html(&made)] {
        assert_eq!(stale(&printed, &made, &world.observed), Vec::<String>::new());
        // A newer point leaves it right: the old one is still there.
        let newer = world.clone().point("offsite", "a3", "shop/files", ago(0), |_| {}).proven("a3");
        assert!(stale(&printed, &make(&newer), &newer.observed).is_empty());
        assert_ne!(make(&newer), made);
        // The old one is gone.
        let gone = newer.with(|w| {
            let offsite = w.observed.repositories.get_mut(&name("offsite")).unwrap();
            if let model::observed::RepositoryObservation::Known { snapshots, .. } = offsite {
                snapshots.retain(|s| s.id != snapshot("a2"));
            }
        });
        let why = stale(&printed, &make(&gone), &gone.observed);
        assert_eq!(why, ["the point a2000000 is not there any more"]);
        // Another place.
        let moved = world.clone().resource("shop/more");
        assert_eq!(stale(&printed, &make(&moved), &moved.observed).len(), 1);
        let hostless = world.clone().with(|w| {
            let local = w.desired.repositories.get_mut(&name("local")).unwrap();
            local.storage =
                model::desired::StorageSpec::Local { path: "/mnt".into(), mount_point: false };
        });
        assert_eq!(stale(&printed, &make(&hostless), &hostless.observed).len(), 1);
    }
    assert_eq!(stale("hello", &made, &world.observed), ["it is no runbook: it has no fingerprint"]);
}

/// A database whose template loads a stream through its own program.
fn database() -> Agent {
    let text = |t: &str| Arg::text(t);
    let hole = || Piece::Hole("token".to_owned());
    let new = Arg(vec![Piece::Text("orders__new_".to_owned()), hole()]);
    let run = |argv: Vec<Arg>, input: Option<&str>| Command {
        argv,
        input: input.map(text),
        timeout_s: 60,
    };
    let user = vec![text("runuser"), text("-u"), text("db admin"), text("--")];
    let mut load = user.clone();
    load.extend([text("loader"), new]);
    Agent {
        tree: None,
        env: [(
            "DBPASSWORD".to_owned(),
            Arg(vec![Piece::Secret(SecretRef("db-password".to_owned()))]),
        )]
        .into(),
        streams: vec![
            Stream {
                name: "data.dump".to_owned(),
                command: run(vec![text("dumper")], None),
                chunking: model::agent::Chunking::Content,
            },
            Stream {
                name: "roles.sql".to_owned(),
                command: run(vec![text("roles")], None),
                chunking: model::agent::Chunking::Content,
            },
        ],
        recovery: Some(RecoverySteps {
            prepare: vec![run(vec![text("make"), text("it's")], Some("CREATE;\nEND\n"))],
            load: vec![Load {
                stream: "data.dump".to_owned(),
                optional: false,
                command: run(load, None),
            }],
            swap: vec![run(vec![text("swap")], None)],
            commit: vec![run(vec![text("drop")], Some("DROP;\n"))],
            ..RecoverySteps::default()
        }),
        ..agent(false)
    }
}

#[test]
fn a_database_comes_back_through_its_own_programs() {
    let world = world().with(|w| {
        w.desired.resources.get_mut(&address("shop/files")).unwrap().agent = database();
    });
    let of = text(&make(&world));
    let commands = "export DBPASSWORD=\"$(cat -- \"$SECRETS\"/db-password)\"\nmake 'it'\\''s' \
                    <<'END_'\nCREATE;\nEND\nEND_\nrestic dump a2000000 /data.dump | runuser -u \
                    'db admin' -- loader orders__new_byhand\nswap\n";
    assert!(of.contains(commands), "{of}");
    assert!(of.contains("drop <<'END'\nDROP;\nEND\n"), "the end is shown apart: {of}");
    assert!(of.contains("Beside it: restic dump a2000000 /roles.sql"), "{of}");
    assert!(of.contains("loader, for shop/files"), "the program behind the change of user: {of}");
}

#[test]
fn a_file_that_our_own_tool_loads_is_moved_into_its_place() {
    let world = world().with(|w| {
        let own = ["mainstay", "tool", "sqlite", "load"].map(Arg::text).to_vec();
        let command = Command { argv: own, input: None, timeout_s: 60 };
        let mut file = database();
        file.env.clear();
        file.with.insert("path".to_owned(), "/srv/a b.db".to_owned());
        file.recovery = Some(RecoverySteps {
            load: vec![Load {
                stream: "data.dump".to_owned(),
                optional: false,
                command: command.clone(),
            }],
            prepare: vec![command.clone()],
            swap: vec![command],
            ..RecoverySteps::default()
        });
        w.desired.resources.get_mut(&address("shop/files")).unwrap().agent = file;
    });
    let of = text(&make(&world));
    let commands = "restic dump a2000000 /data.dump > '/srv/a b.db.restored'\nls -la -- '/srv/a \
                    b.db.restored'\ntest ! -e '/srv/a b.db' || mv -T -- '/srv/a b.db' '/srv/a \
                    b.db.before-recovery'\nmv -T -- '/srv/a b.db.restored' '/srv/a b.db'\n";
    assert!(of.contains(commands), "{of}");
    assert!(!of.contains("mainstay tool"), "our tools are gone: {of}");
}

#[test]
fn hostile_names_stay_text() {
    let world = world().with(|w| {
        let resource = w.desired.resources.get_mut(&address("shop/files")).unwrap();
        let tree = resource.agent.tree.as_mut().unwrap();
        tree.path = "/srv/$(reboot)'; rm <b>".to_owned();
    });
    let made = make(&world);
    let of = text(&made);
    assert!(of.contains("'a2000000:/srv/$(reboot)'\\''; rm <b>'"), "{of}");
    assert!(of.contains("'/srv/$(reboot)'\\''; rm <b>.before-recovery'"), "{of}");
    assert!(html(&made).contains("rm &lt;b&gt;") && !html(&made).contains("rm <b>"));
}

#[test]
fn what_a_policy_makes_anew_comes_with_its_commands() {
    let anew = |argv: &[&str]| {
        let argv = argv.iter().map(|word| Arg(vec![Piece::Text((*word).to_owned())])).collect();
        let lost = [(ConditionKind::Lost, Response::Recreate)];
        make(&world().policy(&["shop/notes"], &lost).with(|w| {
            let notes = w.desired.resources.get_mut(&address("shop/notes")).unwrap();
            notes.agent.recreate = vec![Command { argv, ..Command::default() }];
        }))
    };
    let made = anew(&["make-notes", "a b"]);
    let of = text(&made);
    let host = of.split("Lost: host here").nth(1).unwrap().split("Lost:").next().unwrap();
    let flat = host.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("has it made anew; what it held is gone. On host/here:"), "{host}");
    assert!(flat.contains("make-notes 'a b'."), "{host}");
    let other = anew(&["make-notes", "c"]);
    assert_ne!(made.shape, other.shape, "another command is another runbook");
}
