//! Measures validation on made-up documents:
//! `cargo run --release -p mainstay-config --example validate -- [documents…]`. With `--beside
//! KUBECONFORM` it lets that program and itself read the same files in turn, from the top of the
//! repository; `tests/bench-planner` builds it.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use model::id::CommitId;

/// How often each size is read.
const RUNS: usize = 5;

/// Documents in one file.
const PER_FILE: usize = 10;

/// Documents that are there whatever the size: a host, a repository, a schedule, a retention.
const SHARED: &str = "\
apiVersion: mainstay.dev/v1
kind: Host
metadata: { name: here }
spec: { connection: local }
---
apiVersion: mainstay.dev/v1
kind: Repository
metadata: { name: local }
spec:
  storage: { local: { path: /backups } }
  password: { secret: repository-password }
---
apiVersion: mainstay.dev/v1
kind: Schedule
metadata: { name: nightly }
spec: { when: \"30 2 * * *\", timeZone: Europe/Berlin, jitter: 30m }
---
apiVersion: mainstay.dev/v1
kind: RetentionPolicy
metadata: { name: standard }
spec: { daily: 7, weekly: 4, monthly: 12 }
";

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == "--read").is_some() {
        return read(Path::new(&words.next().expect("a folder")));
    }
    if words.next_if(|word| word == "--beside").is_some() {
        let program = words.next().expect("a program");
        let count = words.next().map_or(35_000, |n| n.parse().expect("a number of documents"));
        return beside(&program, count);
    }
    let asked: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 10_000, 35_000] } else { asked };
    println!("documents  bytes  median_ms  least_ms  most_ms  cpu_ms  peak_mb");
    for size in sizes {
        let tree = documents(size);
        let bytes: usize = tree.values().map(Vec::len).sum();
        let mut taken: Vec<(f64, f64)> = (0..RUNS).map(|_| once(&tree)).collect();
        taken.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (median, least, most) = (taken[RUNS / 2], taken[0], taken[RUNS - 1]);
        let cpu = taken.iter().map(|t| t.1).fold(f64::MAX, f64::min);
        println!(
            "{size}  {bytes}  {:.0}  {:.0}  {:.0}  {cpu:.0}  {}",
            median.0,
            least.0,
            most.0,
            peak_mb()
        );
    }
}

/// Validates the files of a folder, as a process of its own.
fn read(folder: &Path) {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        (name, std::fs::read(entry.path()).expect("a file"))
    });
    let loaded = mainstay_config::load(&files.collect(), &builtin(), CommitId::from("c0ffee"));
    assert!(loaded.desired.is_some(), "{:?}", loaded.diagnostics.first());
}

/// Lets kubeconform and this program read the same files in turn, another one first each round.
fn beside(program: &str, count: usize) {
    let work = std::env::temp_dir().join(format!("mainstay-validate-{}", std::process::id()));
    let (folder, schemas) = (work.join("documents"), work.join("schemas"));
    for folder in [&folder, &schemas] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    for (path, bytes) in documents(count) {
        std::fs::write(folder.join(path), bytes).expect("a file");
    }
    for entry in std::fs::read_dir("schema").expect("the schemas") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        // kubeconform asks for kinds in small letters.
        std::fs::copy(&path, schemas.join(name.to_lowercase())).expect("a schema");
    }
    let location = format!("{}/{{{{ .ResourceKind }}}}.json", schemas.display());
    let mut ours = Command::new(std::env::current_exe().expect("a program"));
    ours.arg("--read").arg(&folder);
    let mut theirs = Command::new(program);
    theirs.args(["-n", "2", "-schema-location", &location]).arg(&folder);
    let (mut ours_took, mut theirs_took) = (Vec::new(), Vec::new());
    for round in 0..RUNS {
        let mut turns = [(&mut ours, &mut ours_took), (&mut theirs, &mut theirs_took)];
        turns.rotate_left(round % 2);
        for (command, took) in turns {
            took.push(run(command));
        }
    }
    std::fs::remove_dir_all(&work).expect("the folder goes");
    println!("{count} documents: median wall ms (least to most), median processor ms");
    let words = [("this program", &mut ours_took), ("kubeconform", &mut theirs_took)];
    let medians = words.map(|(name, took)| {
        took.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (wall, least, most) = (took[RUNS / 2].0, took[0].0, took[RUNS - 1].0);
        let mut cpu: Vec<f64> = took.iter().map(|t| t.1).collect();
        cpu.sort_by(f64::total_cmp);
        println!("{name}: {wall:.0} ({least:.0} to {most:.0}), {:.0}", cpu[RUNS / 2]);
        (wall, cpu[RUNS / 2])
    });
    let [(wall, cpu), (their_wall, their_cpu)] = medians;
    println!(
        "times as fast: {:.1} by wall, {:.1} by processor",
        their_wall / wall,
        their_cpu / cpu
    );
}

/// Runs a program once; returns wall and processor time in milliseconds.
fn run(command: &mut Command) -> (f64, f64) {
    let (cpu, wall) = (children_ms(), Instant::now());
    let done = command.stdout(Stdio::null()).status().expect("it starts");
    let wall = wall.elapsed().as_secs_f64() * 1000.0;
    assert!(done.success(), "{command:?} ended with {done}");
    (wall, children_ms() - cpu)
}

/// Loads once; returns wall and processor time in milliseconds.
fn once(tree: &BTreeMap<String, Vec<u8>>) -> (f64, f64) {
    let (cpu, wall) = (cpu_ms(), Instant::now());
    let loaded = mainstay_config::load(tree, &builtin(), CommitId::from("c0ffee"));
    let wall = wall.elapsed().as_secs_f64() * 1000.0;
    assert!(loaded.desired.is_some(), "{:?}", loaded.diagnostics.first());
    (wall, cpu_ms() - cpu)
}

/// The one type that the documents name, as it comes with the program.
fn builtin() -> BTreeMap<String, Vec<u8>> {
    let text = include_bytes!("../../../templates/directory.yaml").to_vec();
    BTreeMap::from([("templates/directory.yaml".to_owned(), text)])
}

/// Processor time of all threads, in steps of the kernel's tick.
fn cpu_ms() -> f64 {
    ticks_ms(11)
}

/// Processor time of all processes that this one waited for.
fn children_ms() -> f64 {
    ticks_ms(13)
}

/// Two fields of `/proc/self/stat`, counted behind the name.
fn ticks_ms(first: usize) -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after.split_whitespace().skip(first).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks * 10.0
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}

/// Half of the documents are applications of three resources, half the backups of them.
fn documents(count: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> =
        BTreeMap::from([("shared.yaml".to_owned(), SHARED.as_bytes().to_vec())]);
    let shared = SHARED.matches("apiVersion").count();
    for number in 0..count.saturating_sub(shared) / 2 {
        let file = format!("team-{:05}.yaml", number * 2 / PER_FILE);
        let text = files.entry(file).or_default();
        if !text.is_empty() {
            text.extend_from_slice(b"---\n");
        }
        text.extend_from_slice(pair(number).as_bytes());
    }
    files
}

fn pair(number: usize) -> String {
    let before = match number {
        0 => String::new(),
        _ => format!("\n      dependsOn: [app-{:05}/files]", number - 1),
    };
    format!(
        "apiVersion: mainstay.dev/v1
kind: Application
metadata:
  name: app-{number:05}
  labels: {{ team: t{}, tier: web }}
spec:
  resources:
    - name: files
      type: directory
      target: host/here{before}
      with: {{ path: /srv/{number}/files, excludes: [\"*.tmp\", cache] }}
    - name: config
      type: directory
      target: host/here
      with: {{ path: /srv/{number}/config }}
      objectives: {{ rpo: 26h, rto: 2h }}
    - name: uploads
      type: directory
      target: host/here
      dependsOn: [files, config]
      with: {{ path: /srv/{number}/uploads }}
---
apiVersion: mainstay.dev/v1
kind: Backup
metadata: {{ name: app-{number:05} }}
spec:
  select: {{ application: app-{number:05} }}
  schedule: nightly
  repositories: [local]
  retention: standard
",
        number % 50
    )
}
