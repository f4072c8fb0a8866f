//! Small builders for tests: a desired state and a world in a few lines, and `check`, which plans
//! and compares what a user would read.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use model::agent::{Agent, SecretRef, Tree};
use model::desired::{
    Anomaly, Backup, Budget, ConditionKind, Connection, Desired, Erasure, FailureDomain, Guardrail,
    Hold, Hooks, Host, Keep, Objectives, Point, Recovery, RecoveryPolicy, Repeat, RepositorySpec,
    Resource, Response, Retention, Schedule, Scope, StorageSpec, Trigger, VerifyPolicy, When,
};
use model::digest::Digest;
use model::few::Numbers;
use model::id::{Address, CommitId, Name, PlanId, RepositoryId, SnapshotId, TargetRef};
use model::observed::{
    Observation, Observed, RecoveryPhase, RecoveryRecord, RepositoryObservation, SnapshotInfo,
};
use model::plan::Plan;
use model::receipt::{
    Control, ControlBody, Evidence, EvidenceKind, Marker, RECEIPT_VERSION, Receipt,
};

/// The instant of most tests.
pub(crate) const NOW: &str = "2026-11-20T12:00:00Z";

/// So many random cases; a failure prints its smallest input, which becomes a test of its own.
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at(NOW)
}

/// An instant so many hours before [`NOW`].
pub(crate) fn ago(hours: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_hours(hours)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// A snapshot id that begins with the given digits.
pub(crate) fn snapshot(digits: &str) -> SnapshotId {
    SnapshotId::from(format!("{digits:0<64}"))
}

pub(crate) fn repository_id(text: &str) -> RepositoryId {
    RepositoryId::from(format!("{text:0<64}"))
}

/// A marker with one counter.
pub(crate) fn position(n: u64) -> Marker {
    Marker {
        identity: Some("one".into()),
        counters: Numbers::from([("lsn", n)]),
        ..Marker::default()
    }
}

/// A marker with a content digest only.
pub(crate) fn content(text: &str) -> Marker {
    Marker { digest: Some(text.into()), ..Marker::default() }
}

pub(crate) fn agent(tree: bool) -> Agent {
    Agent {
        template: name(if tree { "directory" } else { "postgres" }),
        template_digest: Digest::from("t"),
        with: BTreeMap::new(),
        env: BTreeMap::new(),
        tree: tree.then(|| Tree { path: "/srv".to_owned(), ..Tree::default() }),
        probe: Vec::new(),
        session: None,
        streams: Vec::new(),
        recovery: None,
        recreate: Vec::new(),
        errors: Vec::new(),
    }
}

pub(crate) fn keep_last(n: u32) -> Retention {
    Retention {
        name: "inline".to_owned(),
        last: Keep::Count(n),
        hourly: Keep::Unset,
        daily: Keep::Unset,
        weekly: Keep::Unset,
        monthly: Keep::Unset,
        quarterly: Keep::Unset,
        yearly: Keep::Unset,
        within_s: None,
        within_each: Default::default(),
        overlap: Default::default(),
        tags: BTreeSet::new(),
        at_least: 1,
        time_zone: "UTC".to_owned(),
    }
}

pub(crate) fn every(seconds: u64) -> Schedule {
    Schedule {
        when: When::Every { seconds },
        time_zone: "UTC".to_owned(),
        jitter_s: 0,
        windows: Vec::new(),
        deadline_s: None,
    }
}

pub(crate) fn guardrail(resources: &[&str]) -> Guardrail {
    Guardrail {
        name: name("rail"),
        resources: resources.iter().map(|a| address(a)).collect(),
        windows: Vec::new(),
        expire: Budget::default(),
        restore_over: Budget::default(),
        recreate: Budget::default(),
        mass_loss_percent: 40,
    }
}

pub(crate) fn hold(scope: Scope) -> Hold {
    Hold {
        name: name("audit"),
        scope,
        owner: "ann".to_owned(),
        reason: "audit".to_owned(),
        until: None,
    }
}

/// A desired state and a world, changed by small verbs.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) now: Timestamp,
}

impl World {
    /// Nothing at all; our memory is known.
    pub(crate) fn new() -> Self {
        let mut desired =
            Desired::empty(CommitId::from("c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"));
        desired.documents = 5;
        desired.hosts.insert(
            name("here"),
            Host {
                name: name("here"),
                connection: Connection::Local,
                failure_domain: FailureDomain::default(),
            },
        );
        let mut observed = Observed::empty(now());
        observed.memory.known = true;
        observed.memory.epoch = 7;
        observed.memory.epoch_before = 6;
        Self { desired, observed, now: now() }
    }

    /// `shop/files`, a directory with 10 entries, backed up each hour to `local`, which is ready
    /// and empty.
    pub(crate) fn shop() -> Self {
        Self::new().repository("local").resource("shop/files").backup(
            "shop",
            &["shop/files"],
            &["local"],
        )
    }

    /// [`World::shop`] with a proven point of an hour ago that served this hour's slot.
    pub(crate) fn protected() -> Self {
        Self::shop()
            .point("local", "a1", "shop/files", ago(1), |r| r.slot = Some(now()))
            .proven("a1")
    }

    /// Much to do: expiry and reclaim, a backup and its verification, a policy's restore over live
    /// data.
    pub(crate) fn busy() -> Self {
        Self::new()
            .repository("local")
            .resource("shop/files")
            .resource("shop/db")
            .backup("shop", &["shop/files", "shop/db"], &["local"])
            .keep("shop", keep_last(1))
            .point("local", "a1", "shop/files", ago(1), |r| r.slot = Some(ago(1)))
            .point("local", "a2", "shop/files", ago(2), |_| {})
            .point("local", "b1", "shop/db", ago(1), |r| {
                r.slot = Some(ago(1));
                r.marker = position(9);
            })
            .proven("a1")
            .proven("a2")
            .proven("b1")
            .found("shop/db", position(5))
            .policy(&["shop/db"], &[(ConditionKind::RolledBack, Response::Restore)])
    }

    pub(crate) fn repository(mut self, text: &str) -> Self {
        let spec = RepositorySpec {
            name: name(text),
            storage: StorageSpec::Local { path: format!("/backup/{text}"), mount_point: false },
            password: SecretRef("password".to_owned()),
            id: None,
            failure_domain: FailureDomain::default(),
            medium: None,
            append_only: false,
            immutable: false,
            offline: false,
        };
        self.desired.repositories.insert(name(text), spec);
        self.observed.repositories.insert(
            name(text),
            RepositoryObservation::Known {
                id: repository_id(text),
                snapshots: Vec::new(),
                controls: Vec::new(),
                free_bytes: None,
                waste_bytes: None,
            },
        );
        self
    }

    pub(crate) fn repository_absent(mut self, text: &str) -> Self {
        let detail = "no config file".to_owned();
        self.observed.repositories.insert(name(text), RepositoryObservation::Absent { detail });
        self
    }

    pub(crate) fn repository_unknown(mut self, text: &str) -> Self {
        self.observed.repositories.insert(
            name(text),
            RepositoryObservation::Unknown {
                reason: "Timeout".to_owned(),
                detail: "no answer".to_owned(),
            },
        );
        self
    }

    pub(crate) fn resource(mut self, text: &str) -> Self {
        let resource = Resource {
            address: address(text),
            target: TargetRef::Host(name("here")),
            agent: agent(true),
            depends_on: BTreeSet::new(),
            priority: 0,
            formerly: Vec::new(),
            objectives: Objectives::default(),
            labels: BTreeMap::new(),
        };
        self.desired.resources.insert(address(text), resource);
        self.found(text, Marker::default())
    }

    pub(crate) fn needs(mut self, text: &str, dependency: &str) -> Self {
        let resource = self.desired.resources.get_mut(&address(text)).unwrap();
        resource.depends_on.insert(address(dependency));
        self
    }

    /// The resource is there, with this marker and 10 entries.
    pub(crate) fn found(self, text: &str, marker: Marker) -> Self {
        self.found_with(text, marker, Some(10), None)
    }

    pub(crate) fn found_with(
        mut self,
        text: &str,
        marker: Marker,
        entries: Option<u64>,
        damaged: Option<&str>,
    ) -> Self {
        self.observed.resources.insert(
            address(text),
            Observation::Known {
                marker,
                bytes: Some(4096),
                entries,
                damaged: damaged.map(str::to_owned),
                at: self.now,
            },
        );
        self
    }

    pub(crate) fn absent(mut self, text: &str) -> Self {
        let detail = "no such directory".to_owned();
        self.observed.resources.insert(address(text), Observation::Absent { detail, at: self.now });
        self
    }

    pub(crate) fn unknown(mut self, text: &str) -> Self {
        self.observed.resources.insert(
            address(text),
            Observation::Unknown { reason: "NoRoute".to_owned(), detail: "host is off".to_owned() },
        );
        self
    }

    pub(crate) fn backup(mut self, text: &str, resources: &[&str], repositories: &[&str]) -> Self {
        let backup = Backup {
            name: name(text),
            resources: resources.iter().map(|a| address(a)).collect(),
            schedule: every(3600),
            repositories: repositories.iter().map(|r| name(r)).collect(),
            retention: None,
            hooks: Hooks::default(),
            verify: VerifyPolicy { after_backup: true, again_after_s: None },
            anomaly: Anomaly { shrink_percent_max: 50 },
        };
        self.desired.backups.insert(name(text), backup);
        self
    }

    pub(crate) fn keep(mut self, backup: &str, retention: Retention) -> Self {
        self.desired.backups.get_mut(&name(backup)).unwrap().retention = Some(retention);
        self
    }

    pub(crate) fn policy(mut self, resources: &[&str], on: &[(ConditionKind, Response)]) -> Self {
        let policy = RecoveryPolicy {
            name: name("back"),
            resources: resources.iter().map(|a| address(a)).collect(),
            on: on.iter().copied().collect(),
            loss_s_max: None,
            commit_after_s: None,
            then: model::desired::CommitThen::Wait,
        };
        self.desired.recovery_policies.insert(name("back"), policy);
        self
    }

    /// A complete point of 10 files under backup `shop`, without slot, changed by `with`.
    pub(crate) fn point(
        mut self,
        repository: &str,
        digits: &str,
        of: &str,
        taken_at: Timestamp,
        with: impl FnOnce(&mut Receipt),
    ) -> Self {
        let mut receipt = Receipt {
            version: RECEIPT_VERSION,
            address: address(of),
            backup: Some(name("shop")),
            slot: None,
            trigger: None,
            taken_at,
            marker: Marker::default(),
            digest: "d".into(),
            files: 10,
            bytes: 1000,
            complete: true,
            failures: Default::default(),
            failures_count: 0,
            suspicious: None,
            template: name("directory"),
            template_digest: Digest::from("t"),
            commit: CommitId::from("c0ffee"),
            plan: PlanId::from("p"),
            writer: Default::default(),
            epoch: 6,
            mainstay: "0.1.0".into(),
        };
        with(&mut receipt);
        let info = SnapshotInfo {
            id: snapshot(digits),
            time: taken_at,
            address: Some(address(of)),
            receipt: Some(receipt),
            tags: Default::default(),
            hostname: "here".into(),
            paths: vec!["/srv".to_owned()].into(),
        };
        if let Some(RepositoryObservation::Known { snapshots, .. }) =
            self.observed.repositories.get_mut(&name(repository))
        {
            snapshots.push(info);
            snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        }
        self
    }

    pub(crate) fn proven(mut self, digits: &str) -> Self {
        self.observed
            .memory
            .evidence
            .entry(snapshot(digits))
            .or_default()
            .insert(Evidence { kind: EvidenceKind::Checked, at: ago(1) });
        self
    }

    pub(crate) fn control(mut self, repository: &str, when: Timestamp, body: ControlBody) -> Self {
        if let Some(RepositoryObservation::Known { controls, .. }) =
            self.observed.repositories.get_mut(&name(repository))
        {
            controls.push(Control::new(String::new(), 6, when, body));
        }
        self
    }

    pub(crate) fn recovery(
        mut self,
        text: &str,
        of: &str,
        with: impl FnOnce(&mut Recovery),
    ) -> Self {
        let mut recovery = Recovery {
            name: name(text),
            resource: address(of),
            repository: None,
            point: Point::Latest,
            into: None,
            paths: Vec::new(),
            repeat: Repeat::IfNotRecovered,
            acknowledges_newer_data: false,
            token: "t1".to_owned(),
        };
        with(&mut recovery);
        self.desired.recoveries.insert(name(text), recovery);
        self
    }

    pub(crate) fn record(
        mut self,
        of: &str,
        token: &str,
        digits: &str,
        phase: RecoveryPhase,
        recovery: Option<&str>,
    ) -> Self {
        self.observed.memory.recoveries.insert(
            token.to_owned(),
            RecoveryRecord {
                address: address(of),
                token: token.to_owned(),
                repository: name("local"),
                snapshot: snapshot(digits),
                recovery: recovery.map(name),
                elsewhere: false,
                phase,
                since: ago(2),
                kept: Some("what was there".to_owned()),
            },
        );
        self
    }

    /// An erasure `gdpr` of points of a resource, seen four days ago.
    pub(crate) fn erasure(
        mut self,
        of: &str,
        digits: &[&str],
        with: impl FnOnce(&mut Erasure),
    ) -> Self {
        let mut doc = Erasure {
            name: name("gdpr"),
            resource: address(of),
            reason: "asked for by the customer".to_owned(),
            snapshots: digits.iter().map(|digits| snapshot(digits)).collect(),
            approved_by: ["ann".to_owned(), "ben".to_owned()].into(),
            cooling_off_s: 72 * 3600,
        };
        with(&mut doc);
        self.observed.memory.erasures.insert(doc.digest(), ago(96));
        self.desired.erasures.insert(name("gdpr"), doc);
        self
    }

    pub(crate) fn trigger(mut self, text: &str, backup: &str, token: &str) -> Self {
        self.desired.triggers.insert(
            name(text),
            Trigger { name: name(text), backup: name(backup), token: token.to_owned() },
        );
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The plan; every plan of every test keeps all promises.
    pub(crate) fn plan(&self) -> Plan {
        let plan = crate::plan(&self.desired, &self.observed, self.now);
        let violations = crate::check(&self.desired, &self.observed, &plan);
        assert!(violations.is_empty(), "{violations:#?}");
        plan
    }

    /// The plan as a user reads it, without its first line, whose digests change with every field.
    pub(crate) fn text(&self) -> String {
        let plan = self.plan();
        let text = crate::render::text(&plan).to_plain();
        text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>().trim().to_owned()
    }

    /// The ids of the steps, each with its waits' kinds.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.plan()
            .steps
            .iter()
            .map(|step| {
                let waits: Vec<String> = step.waits.iter().map(kind).collect();
                if waits.is_empty() {
                    step.id.to_string()
                } else {
                    format!("{} waits {}", step.id, waits.join("+"))
                }
            })
            .collect()
    }

    /// What was not planned: step and code.
    pub(crate) fn deferred(&self) -> Vec<String> {
        self.plan().report.deferred.iter().map(|d| format!("{} {}", d.step, d.code)).collect()
    }
}

fn kind(wait: &model::plan::Wait) -> String {
    use model::plan::Wait;
    match wait {
        Wait::Approval { .. } => "approval".to_owned(),
        Wait::Hold { .. } => "hold".to_owned(),
        Wait::Window { .. } => "window".to_owned(),
        Wait::Budget { .. } => "budget".to_owned(),
        Wait::Backoff { .. } => "backoff".to_owned(),
        Wait::Alarm { accept, .. } => {
            format!("alarm:{}", accept.split(':').next().unwrap_or_default())
        }
    }
}
