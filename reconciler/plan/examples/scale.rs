//! Measures the planner on a made-up fleet:
//! `cargo run --release -p mainstay-plan --example scale -- [resources…]`. For each size it prints
//! how long loading, a full plan, a plan after one change and a plan after nothing take, and the
//! peak memory.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use mainstay_plan as plan;
use model::agent::{Agent, SecretRef, Tree};
use model::desired::{
    Anomaly, Backup, Connection, Desired, FailureDomain, Hooks, Host, Keep, Objectives,
    RepositorySpec, Resource, Retention, Schedule, StorageSpec, VerifyPolicy, When,
};
use model::digest::Digest;
use model::few::{Numbers, Proofs};
use model::id::{Address, CommitId, Name, PlanId, RepositoryId, SnapshotId, TargetRef};
use model::observed::{Observation, Observed, RepositoryObservation, SnapshotInfo};
use model::receipt::{Evidence, EvidenceKind, Marker, RECEIPT_VERSION, Receipt};
use model::text::{Interner, Text};

const EDGES_PER_RESOURCE: usize = 10;
const POINTS_PER_RESOURCE: usize = 20;
/// Repositories of the fleet; each resource is in two of them.
const REPOSITORIES: usize = 8;
/// How often each figure is taken.
const RUNS: usize = 5;

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 10_000, 100_000] } else { asked };
    println!("resources  edges  snapshots  figure  median_ms  least_ms  most_ms  wall_ms  peak_mb");
    for size in sizes {
        measure(size);
    }
}

fn measure(size: usize) {
    let now: Timestamp = "2026-05-04T12:30:00Z".parse().expect("an instant");
    let desired = desired(size);
    let observed = observed(size, now);
    let input_mb = peak_mb();
    let edges: usize = desired.resources.values().map(|r| r.depends_on.len()).sum();
    let label = format!("{size}  {edges}  {}", size * POINTS_PER_RESOURCE);
    println!("{label}  input  -  -  -  -  {input_mb}");
    let show = |figure: &str, mut taken: Vec<Taken>| {
        taken.sort_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
        let wall = taken[0].wall_ms;
        taken.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
        println!(
            "{label}  {figure}  {:.1}  {:.1}  {:.1}  {wall:.2}  {}",
            taken[taken.len() / 2].cpu_ms,
            taken[0].cpu_ms,
            taken[taken.len() - 1].cpu_ms,
            peak_mb()
        );
    };
    show("graph", times(|| drop(plan::graph::Graph::new(&desired))));
    show("digests", times(|| drop((desired.digest(), observed.digest()))));
    let quiet = plan::plan(&desired, &observed, now);
    println!("{label}  steps  {}  -  -  -  {}", quiet.steps.len(), peak_mb());

    // The planner that remembers takes the observation over; nothing is held twice.
    let start = Start::now();
    let mut planner = plan::Planner::new(&desired, observed);
    show("load", vec![start.taken()]);
    let start = Start::now();
    let first = planner.plan(now);
    show("full plan", vec![start.taken()]);
    assert_eq!(first, quiet, "the planner that remembers plans the same");
    show("full plan again", times(|| drop(planner.plan_anew(now))));
    let mut at = now;
    let mut changes = Vec::new();
    for number in 0..50 {
        at += SignedDuration::from_secs(1);
        let address = address((number * 7919) % size);
        let start = Start::now();
        planner.observe(&address, found(at, number as u64 % 2 * 1_000_000));
        drop(planner.plan(at));
        changes.push(start.taken());
    }
    show("plan after one change", changes);
    show("whole observation, one change", taken_whole(&mut planner, &mut at));
    let mut nothing = Vec::new();
    for _ in 0..50 {
        at += SignedDuration::from_secs(1);
        let start = Start::now();
        drop(planner.plan(at));
        nothing.push(start.taken());
    }
    show("plan after nothing", nothing);
    let start = Start::now();
    let busy = planner.plan(now + SignedDuration::from_hours(24));
    show("everything is due", vec![start.taken()]);
    println!("{label}  steps  {}  -  -  -  {}", busy.steps.len(), peak_mb());
}

/// A pass of the daemon gives the whole observation; here one resource of it differs.
fn taken_whole(planner: &mut plan::Planner<'_>, at: &mut Timestamp) -> Vec<Taken> {
    (0..RUNS)
        .map(|number| {
            *at += SignedDuration::from_secs(1);
            let mut seen = planner.observed().clone();
            seen.at = *at;
            let more = number as u64 % 2 * 1_000_000 + 7;
            seen.resources.insert(address(number), found(*at, more));
            let start = Start::now();
            planner.take(seen);
            drop(planner.plan(*at));
            start.taken()
        })
        .collect()
}

fn times(mut work: impl FnMut()) -> Vec<Taken> {
    (0..RUNS)
        .map(|_| {
            let start = Start::now();
            work();
            start.taken()
        })
        .collect()
}

/// The time of the wall and that of the processor: where many share a machine, only the latter says
/// something, in steps of the scheduler's tick; the least of the former where that is too coarse.
struct Start {
    wall: Instant,
    cpu_ns: u64,
}

struct Taken {
    wall_ms: f64,
    cpu_ms: f64,
}

impl Start {
    fn now() -> Self {
        Self { cpu_ns: cpu_ns(), wall: Instant::now() }
    }

    fn taken(&self) -> Taken {
        let wall_ms = self.wall.elapsed().as_secs_f64() * 1000.0;
        Taken { wall_ms, cpu_ms: cpu_ns().saturating_sub(self.cpu_ns) as f64 / 1e6 }
    }
}

/// How long all threads were on a processor, in steps of the kernel's tick.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks * 10_000_000
}

/// The most memory that this process ever held, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn address(number: usize) -> Address {
    format!("app-{:05}/res-{:02}", number / 20, number % 20).parse().expect("an address")
}

fn homes(number: usize) -> [usize; 2] {
    [number % REPOSITORIES, (number + 3) % REPOSITORIES]
}

fn desired(size: usize) -> Desired {
    let mut desired = Desired::empty(CommitId::from("c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"));
    desired.documents = size as u64 / 3;
    let host = Host {
        name: name("here"),
        connection: Connection::Local,
        failure_domain: FailureDomain::default(),
    };
    desired.hosts.insert(name("here"), host);
    for number in 0..REPOSITORIES {
        let name = name(&format!("store-{number}"));
        let spec = RepositorySpec {
            name: name.clone(),
            storage: StorageSpec::Local { path: format!("/backup/{number}"), mount_point: false },
            password: SecretRef("password".to_owned()),
            id: None,
            failure_domain: FailureDomain::default(),
            medium: None,
            append_only: false,
            immutable: false,
            offline: false,
        };
        desired.repositories.insert(name, spec);
    }
    for number in 0..size {
        desired.resources.insert(address(number), resource(number));
        let homes = homes(number);
        let backup = desired
            .backups
            .entry(name(&format!("backup-{}", homes[0])))
            .or_insert_with_key(|name| backup(name, homes));
        backup.resources.insert(address(number));
    }
    desired
}

fn resource(number: usize) -> Resource {
    // Edges to earlier ones near and far: deep, wide and without circles.
    let depends_on: BTreeSet<Address> = (1..=EDGES_PER_RESOURCE)
        .filter_map(|edge| number.checked_sub(edge * edge * 17 % 4001 + 1))
        .map(address)
        .collect();
    Resource {
        address: address(number),
        target: TargetRef::Host(name("here")),
        agent: Agent {
            template: name("directory"),
            template_digest: Digest::from("t".repeat(64)),
            with: BTreeMap::new(),
            env: BTreeMap::new(),
            tree: Some(Tree { path: format!("/srv/{number}"), ..Tree::default() }),
            probe: Vec::new(),
            session: None,
            streams: Vec::new(),
            recovery: None,
            recreate: Vec::new(),
            errors: Vec::new(),
        },
        depends_on,
        priority: 0,
        formerly: Vec::new(),
        objectives: Objectives::default(),
        labels: BTreeMap::new(),
    }
}

fn backup(of: &Name, homes: [usize; 2]) -> Backup {
    Backup {
        name: of.clone(),
        resources: BTreeSet::new(),
        schedule: Schedule {
            when: When::Cron { expression: "30 2 * * *".to_owned() },
            time_zone: "Europe/Berlin".to_owned(),
            jitter_s: 3600,
            windows: Vec::new(),
            deadline_s: None,
        },
        repositories: homes.map(|home| name(&format!("store-{home}"))).to_vec(),
        retention: Some(Retention {
            name: "gfs".to_owned(),
            last: Keep::Unset,
            hourly: Keep::Unset,
            daily: Keep::Count(7),
            weekly: Keep::Count(4),
            monthly: Keep::Count(12),
            quarterly: Keep::Unset,
            yearly: Keep::Forever,
            within_s: None,
            within_each: Default::default(),
            overlap: Default::default(),
            tags: Default::default(),
            at_least: 1,
            time_zone: "Europe/Berlin".to_owned(),
        }),
        hooks: Hooks::default(),
        verify: VerifyPolicy { after_backup: true, again_after_s: None },
        anomaly: Anomaly { shrink_percent_max: 50 },
    }
}

fn marker(counter: u64) -> Marker {
    Marker {
        identity: Some("7301234567890123456".into()),
        counters: Numbers::from([("lsn", counter)]),
        ..Marker::default()
    }
}

fn found(at: Timestamp, more: u64) -> Observation {
    Observation::Known {
        marker: marker(1_000_000 + more),
        bytes: Some(4096),
        entries: Some(10),
        damaged: None,
        at,
    }
}

fn observed(size: usize, now: Timestamp) -> Observed {
    let mut observed = Observed::empty(now);
    observed.memory.known = true;
    for number in 0..size {
        observed.resources.insert(address(number), found(now, 0));
    }
    // Days kept by seven daily and four weekly points in each of two repositories.
    let per_home = POINTS_PER_RESOURCE / 2;
    let mut stores: Vec<Vec<SnapshotInfo>> = vec![Vec::new(); REPOSITORIES];
    // As where repositories are read: what many snapshots say is held once.
    let mut interner = Interner::default();
    for back in (0..per_home).rev() {
        let days = if back < 7 { back as i64 } else { (back as i64 - 6) * 7 + 1 };
        let slot = now - SignedDuration::from_hours(24 * days + 12);
        let slot = slot.round(jiff::Unit::Hour).expect("an hour") + SignedDuration::from_mins(30);
        for number in 0..size {
            for (copy, home) in homes(number).into_iter().enumerate() {
                let mut info = info(number, copy, back, slot);
                info.share(&mut interner);
                stores[home].push(info);
            }
        }
    }
    for (number, snapshots) in stores.into_iter().enumerate() {
        for info in &snapshots {
            let proof = Evidence { kind: EvidenceKind::Checked, at: info.time };
            observed.memory.evidence.insert(info.id.clone(), Proofs::from([proof]));
        }
        let known = RepositoryObservation::Known {
            id: RepositoryId::from(format!("{number:064}")),
            snapshots,
            controls: Vec::new(),
            free_bytes: None,
            waste_bytes: None,
        };
        observed.repositories.insert(name(&format!("store-{number}")), known);
    }
    observed
}

fn info(number: usize, copy: usize, back: usize, slot: Timestamp) -> SnapshotInfo {
    let id = Digest::of_bytes("snapshot", format!("{number} {copy} {back}").as_bytes());
    let taken_at = slot + SignedDuration::from_secs(number as i64 % 3600);
    let receipt = Receipt {
        version: RECEIPT_VERSION,
        address: address(number),
        backup: Some(name(&format!("backup-{}", homes(number)[0]))),
        slot: Some(slot),
        trigger: None,
        taken_at,
        marker: marker(1_000_000 - back as u64),
        digest: id.as_str().into(),
        files: 10,
        bytes: 4096,
        complete: true,
        failures: Default::default(),
        failures_count: 0,
        suspicious: None,
        template: name("directory"),
        template_digest: Digest::from("t".repeat(64)),
        commit: CommitId::from("c".repeat(40)),
        plan: PlanId::from("p".repeat(64)),
        writer: Text::new(),
        epoch: 6,
        mainstay: "0.1.0".into(),
    };
    SnapshotInfo {
        id: SnapshotId::from(id.as_str()),
        time: taken_at,
        address: Some(address(number)),
        receipt: Some(receipt),
        tags: Default::default(),
        hostname: "here".into(),
        paths: vec![format!("/srv/{number}")].into(),
    }
}
