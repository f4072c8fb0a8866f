//! The data engine behind its port, on real folders and commands.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_adapters::agents::Fleet;
use mainstay_adapters::clock::System;
use mainstay_adapters::secrets::Chain;
use mainstay_adapters::vault::{Parts, Vault};
use model::Timestamp;
use model::agent::{Agent, Arg, Command, SecretRef};
use model::cancel::Cancel;
use model::desired::{FailureDomain, Hooks, RepositorySpec, StorageSpec};
use model::digest::Digest;
use model::error::PortError;
use model::id::{CommitId, PlanId, SnapshotId};
use model::observed::RepositoryObservation;
use model::ports::agents::Agents as _;
use model::ports::engine::{BackupMade, BackupOrder, Engine as _};
use model::progress::Silent;
use model::receipt::{Control, ControlBody, Marker, RECEIPT_VERSION, Receipt};
use support::{fleet, render, resource};
use tempfile::TempDir;

struct World {
    temp: TempDir,
    spec: RepositorySpec,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("repository").display().to_string();
        let spec = RepositorySpec {
            name: "local".parse().unwrap(),
            storage: StorageSpec::Local { path, mount_point: false },
            password: SecretRef("password".to_owned()),
            id: None,
            failure_domain: FailureDomain::default(),
            medium: None,
            append_only: false,
        };
        Self { temp, spec }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn vault_with(&self, password: &str) -> Vault {
        let variable = ("MAINSTAY_SECRET_PASSWORD".into(), password.into());
        Vault::new(Parts {
            secrets: Arc::new(Chain::new().with_environment([variable])),
            clock: Arc::new(System),
            cache: self.path("cache"),
            run: "test".to_owned(),
        })
    }

    fn vault(&self) -> Vault {
        self.vault_with("correct horse")
    }

    fn fleet(&self) -> Fleet {
        fleet(&self.path("scratch"), &[])
    }

    async fn backup(
        &self,
        agent: &Agent,
        parent: Option<SnapshotId>,
    ) -> Result<BackupMade, PortError> {
        let (resource, cancel) = (resource(agent.clone()), Cancel::default());
        let source = self.fleet().open(&resource, &Hooks::default(), &cancel).await?;
        let order = BackupOrder {
            receipt: receipt(&source.marker, source.taken_at),
            source,
            parent,
            hostname: "here".to_owned(),
            tags: BTreeSet::from(["kept".to_owned()]),
            judge: &|receipt| {
                assert!(!receipt.digest.is_empty());
                receipt.suspicious = (receipt.files == 1).then(|| "only one file".to_owned());
            },
        };
        self.vault().backup(&self.spec, order, &Silent, &cancel).await
    }

    async fn snapshots(&self) -> (Vec<model::observed::SnapshotInfo>, Vec<Control>) {
        match self.vault().observe(&self.spec).await {
            RepositoryObservation::Known { snapshots, controls, .. } => (snapshots, controls),
            other => panic!("{other:?}"),
        }
    }
}

fn receipt(marker: &Marker, taken_at: Timestamp) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        address: "app/res".parse().unwrap(),
        backup: Some("nightly".parse().unwrap()),
        slot: Some("2026-01-02T03:00:00Z".parse().unwrap()),
        trigger: None,
        taken_at,
        marker: marker.clone(),
        digest: String::new(),
        files: 0,
        bytes: 0,
        complete: false,
        failures: Vec::new(),
        failures_count: 0,
        suspicious: None,
        template: "directory".parse().unwrap(),
        template_digest: Digest("d".to_owned()),
        commit: CommitId::from("c"),
        plan: PlanId::from("p"),
        writer: "w".to_owned(),
        epoch: 7,
        mainstay: "0".to_owned(),
    }
}

fn reason(observation: &RepositoryObservation) -> &str {
    match observation {
        RepositoryObservation::Unknown { reason, .. } => reason,
        RepositoryObservation::Absent { .. } => "absent",
        RepositoryObservation::Known { .. } => "known",
    }
}

#[tokio::test]
async fn absent_unknown_and_known_are_told_apart() {
    let mut world = World::new();
    assert_eq!(reason(&world.vault().observe(&world.spec).await), "absent");
    fs::create_dir(world.path("repository")).unwrap();
    assert_eq!(reason(&world.vault().observe(&world.spec).await), "absent");
    fs::write(world.path("repository/holiday.jpg"), "x").unwrap();
    assert_eq!(reason(&world.vault().observe(&world.spec).await), "NotARepository");
    assert_eq!(world.vault().init(&world.spec).await.unwrap_err().reason, "NotARepository");
    fs::remove_file(world.path("repository/holiday.jpg")).unwrap();
    let id = world.vault().init(&world.spec).await.unwrap();
    let seen = world.vault().observe(&world.spec).await;
    let RepositoryObservation::Known { id: seen_id, free_bytes, .. } = &seen else { panic!() };
    assert_eq!(*seen_id, id);
    assert!(free_bytes.unwrap() > 0);
    assert_eq!(world.vault().init(&world.spec).await.unwrap_err().reason, "AlreadyInitialised");
    let wrong = world.vault_with("battery staple");
    assert_eq!(reason(&wrong.observe(&world.spec).await), "WrongPassword");
    world.spec.id = Some("0".repeat(64).into());
    assert_eq!(reason(&world.vault().observe(&world.spec).await), "WrongRepository");
    fs::remove_file(world.path("repository/config")).unwrap();
    assert_eq!(reason(&world.vault().observe(&world.spec).await), "NotARepository");
    let path = world.path("not-mounted").display().to_string();
    world.spec.storage = StorageSpec::Local { path: format!("/{path}"), mount_point: true };
    if !matches!(rustix::fs::stat("/"), Ok(root) if rustix::fs::stat(world.temp.path()).unwrap().st_dev != root.st_dev)
    {
        assert_eq!(reason(&world.vault().observe(&world.spec).await), "absent");
        assert_eq!(world.vault().init(&world.spec).await.unwrap_err().reason, "NotMounted");
    }
}

#[tokio::test]
async fn a_folder_goes_and_comes_back() {
    let world = World::new();
    let data = world.path("data[1]*");
    fs::create_dir_all(data.join("deep")).unwrap();
    fs::write(data.join("deep/file"), vec![7; 300_000]).unwrap();
    fs::write(data.join("other"), "x").unwrap();
    let agent = render("directory", &serde_json::json!({ "path": data }).to_string());
    let vault = world.vault();
    vault.init(&world.spec).await.unwrap();
    let made = world.backup(&agent, None).await.unwrap();
    assert!(made.receipt.complete && made.receipt.suspicious.is_none());
    assert_eq!((made.receipt.files, made.receipt.bytes), (2, 300_001));
    let (snapshots, _) = world.snapshots().await;
    assert_eq!(snapshots[0].receipt.as_ref(), Some(&made.receipt));
    assert_eq!(snapshots[0].tags, BTreeSet::from(["kept".to_owned()]));
    let again = world.backup(&agent, Some(made.snapshot.clone())).await.unwrap();
    assert!(again.counts.bytes_new < 10_000, "no content is stored twice: {:?}", again.counts);

    let verified =
        vault.verify(&world.spec, &made.snapshot, &Silent, &Cancel::default()).await.unwrap();
    assert!(verified.failures.is_empty() && verified.counts.bytes_done > 0);

    fs::remove_dir_all(&data).unwrap();
    let (fleet, target, cancel) = (world.fleet(), "host/here".parse().unwrap(), Cancel::default());
    let beside = fleet.prepare(&target, &agent, "t", &cancel).await.unwrap();
    let restored =
        vault.restore(&world.spec, &made.snapshot, &[], beside, &Silent, &cancel).await.unwrap();
    assert_eq!(restored.failures, []);
    assert_eq!(restored.digest.as_ref(), Some(&made.receipt.digest));
    fleet.swap(&target, &agent, "t", &cancel).await.unwrap();
    fleet.commit(&target, &agent, "t", &cancel).await.unwrap();
    assert_eq!(fs::read(data.join("deep/file")).unwrap(), vec![7; 300_000]);
    let third = world.backup(&agent, None).await.unwrap();
    assert_eq!(third.receipt.files, 2, "nothing of ours came along");

    let gone = vault.forget(&world.spec, &[again.snapshot.clone()]).await.unwrap();
    assert_eq!(gone, [again.snapshot]);
    let reclaimed = vault.reclaim(&world.spec, Timestamp::now(), &Silent, &cancel).await.unwrap();
    assert_eq!(reclaimed.freed_bytes, 0, "the grace period has not passed");
    assert_eq!(world.snapshots().await.0.len(), 2);
}

fn shell(script: &str) -> Command {
    let argv = ["sh", "-c", script].map(Arg::text).to_vec();
    Command { argv, input: None, timeout_s: 0 }
}

/// An agent of streams whose commands are scripts.
fn scripts(session: &str, streams: &[(&str, &str)]) -> Agent {
    let mut agent = render("sqlite", r#"{ path: /nowhere }"#);
    agent.session = Some(model::agent::Session { command: shell(session) });
    agent.streams = streams
        .iter()
        .map(|(name, script)| model::agent::Stream {
            name: (*name).to_owned(),
            command: shell(script),
            chunking: model::agent::Chunking::Content,
        })
        .collect();
    agent
}

#[tokio::test]
async fn streams_go_and_come_back_or_leave_no_snapshot() {
    let world = World::new();
    let vault = world.vault();
    vault.init(&world.spec).await.unwrap();
    let session = "echo '{\"counts\":{\"rows:t\":3}}'; cat >/dev/null";
    let good = scripts(session, &[("z", "echo first"), ("a", "true")]);
    let made = world.backup(&good, None).await.unwrap();
    assert_eq!(made.receipt.marker.counts, BTreeMap::from([("rows:t".to_owned(), 3)]));
    let mut into = good.clone();
    let out = world.path("out").display().to_string();
    let load = |name: &str| model::agent::Load {
        stream: name.to_owned(),
        command: shell(&format!("cat > '{out}.{name}'")),
    };
    into.recovery = Some(model::agent::RecoverySteps {
        load: vec![load("z"), load("a")],
        ..model::agent::RecoverySteps::default()
    });
    let (target, cancel) = ("host/here".parse().unwrap(), Cancel::default());
    let beside = world.fleet().prepare(&target, &into, "t", &cancel).await.unwrap();
    let restored =
        vault.restore(&world.spec, &made.snapshot, &[], beside, &Silent, &cancel).await.unwrap();
    assert_eq!(restored.digest.as_ref(), Some(&made.receipt.digest));
    assert_eq!(fs::read_to_string(format!("{out}.z")).unwrap(), "first\n");
    assert_eq!(fs::read_to_string(format!("{out}.a")).unwrap(), "");

    let dies = scripts(session, &[("z", "echo first; echo 'DiskFull: x' >&2; exit 1")]);
    assert_eq!(world.backup(&dies, None).await.unwrap_err().reason, "DiskFull");
    let ends_badly = scripts(&format!("{session}; echo bad end >&2; exit 5"), &[("z", "echo x")]);
    let error = world.backup(&ends_badly, None).await.unwrap_err();
    assert!(error.message.contains("bad end"), "{}", error.chain());
    assert_eq!(world.snapshots().await.0.len(), 1, "no snapshot of what failed");

    into.recovery.as_mut().unwrap().load[0].command = shell("echo 'DiskFull: y' >&2; exit 1");
    let beside = world.fleet().prepare(&target, &into, "t", &cancel).await.unwrap();
    let failed = vault.restore(&world.spec, &made.snapshot, &[], beside, &Silent, &cancel).await;
    assert_eq!(failed.unwrap_err().reason, "DiskFull");
}

#[tokio::test]
async fn what_must_not_be_forgotten_stays_when_snapshots_are_rewritten() {
    let world = World::new();
    let vault = world.vault();
    vault.init(&world.spec).await.unwrap();
    let data = world.path("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("one"), "x").unwrap();
    let agent = render("directory", &serde_json::json!({ "path": data }).to_string());
    let made = world.backup(&agent, None).await.unwrap();
    assert_eq!(made.receipt.suspicious.as_deref(), Some("only one file"));
    let control = |body| Control {
        version: RECEIPT_VERSION,
        writer: "w".to_owned(),
        epoch: 7,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        body,
    };
    let served = control(ControlBody::RecoveryServed {
        address: "app/res".parse().unwrap(),
        token: "t".to_owned(),
        snapshot: made.snapshot.clone(),
    });
    vault.record(&world.spec, &served).await.unwrap();
    assert_eq!(world.snapshots().await.1, [served.clone()]);

    let repository = vault.open(&world.spec).unwrap();
    for snapshot in repository.snapshots().unwrap() {
        let change = repository::Rewrite {
            receipt: Some(serde_json::Value::Null),
            ..repository::Rewrite::default()
        };
        repository.rewrite(&snapshot.id, &change, &Cancel::default()).unwrap();
    }
    let (snapshots, controls) = world.snapshots().await;
    assert_eq!(controls, [served]);
    let kept = snapshots[0].receipt.as_ref().unwrap();
    assert_eq!(
        (&kept.address, kept.slot, kept.epoch),
        (&made.receipt.address, made.receipt.slot, 7)
    );
    assert!(kept.complete && kept.suspicious.is_some());
    assert_eq!((kept.files, kept.bytes), (1, 1));

    let fixed = RepositorySpec { append_only: true, ..world.spec.clone() };
    let refused = vault.forget(&fixed, &[snapshots[0].id.clone()]).await;
    assert_eq!(refused.unwrap_err().reason, "AppendOnly");
}
