//! Runs seeds of the simulated world. Called by `tests/simulate`, which says how.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A tool for people.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mainstay_testkit::coverage::Coverage;
use mainstay_testkit::minimise::minimise;
use mainstay_testkit::scenario::{Scenario, scenario};
use mainstay_testkit::simulation::{Verdict, simulate};
use mainstay_testkit::sweep::{Found, Job, jobs, repeat, scenarios, sweep};

/// Failing seeds that are shortened and shown; of the others only the numbers are.
const SHOWN_MAX: usize = 5;
/// A run stops after so many failing seeds.
const FAILED_MAX: u64 = 200;

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    seeds: u64,
    from: u64,
    threads: usize,
    one: Option<u64>,
    repeat: Option<String>,
    kept: Option<String>,
    sweep: bool,
    most: Option<u64>,
    first: bool,
    quiet: bool,
}

fn asked() -> Result<Asked, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked = Asked { threads, ..Asked::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64, String> {
            let value = args.next().ok_or(format!("{arg} needs a number"))?;
            value.parse().map_err(|_| format!("{arg}: `{value}` is no number"))
        };
        match arg.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--threads" => asked.threads = usize::try_from(number()?.max(1)).unwrap_or(1),
            "--seed" => asked.one = Some(number()?),
            "--repeat" => asked.repeat = Some(args.next().ok_or("--repeat needs words")?),
            "--kept" => asked.kept = Some(args.next().ok_or("--kept needs a file")?),
            "--sweep" => asked.sweep = true,
            "--most" => asked.most = Some(number()?),
            "--first" => asked.first = true,
            "--quiet" => asked.quiet = true,
            other => return Err(format!("`{other}` is not known; see tests/simulate --help")),
        }
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("simulate: {error}");
            return ExitCode::from(64);
        }
    };
    let well = match (asked.one, &asked.repeat, &asked.kept, asked.sweep) {
        (Some(seed), ..) => shown(&scenario(seed)),
        (None, Some(words), ..) => again(words),
        (None, None, Some(file), _) => kept(file),
        (None, None, None, true) => sweeps(&asked),
        (None, None, None, false) => seeds(&asked),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario and tells all that happened.
fn shown(scenario: &Scenario) -> bool {
    let verdict = simulate(scenario, true);
    println!("{scenario}");
    verdict.trace.iter().for_each(|line| println!("{line}"));
    tell(&verdict);
    if !verdict.broken.is_empty() {
        shortest(scenario);
    }
    verdict.broken.is_empty()
}

fn tell(verdict: &Verdict) {
    match verdict.broken.first() {
        Some(broken) => println!("BROKEN {}: {}", broken.promise, broken.detail),
        None => println!("no promise was broken"),
    }
}

/// Shows the shortest scenario that breaks the same promise, with what happens in it.
fn shortest(scenario: &Scenario) {
    let (short, verdict) = minimise(scenario);
    println!("--- shortened:\n{short}");
    let traced = simulate(&short, true);
    let from = traced.trace.len().saturating_sub(60);
    traced.trace[from..].iter().for_each(|line| println!("    {line}"));
    tell(&verdict);
}

/// Runs the kept seeds: one number a line, the rest of the line says why it is kept.
fn kept(file: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("simulate: {file} cannot be read");
        return false;
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let numbers: Vec<&str> = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut well = true;
    for number in &numbers {
        let Ok(seed) = number.parse() else {
            eprintln!("simulate: {file}: `{number}` is no seed");
            return false;
        };
        let verdict = simulate(&scenario(seed), false);
        if !verdict.broken.is_empty() {
            println!("seed {seed}, kept in {file}, fails again: tests/simulate --seed {seed}");
            tell(&verdict);
            well = false;
        }
    }
    println!("{} kept seeds: {}", numbers.len(), if well { "all hold" } else { "NOT all hold" });
    well
}

/// Runs one run of a sweep again and tells all that happened.
fn again(words: &str) -> bool {
    let Some(scenario) = repeat(words) else {
        eprintln!("simulate: `{words}` is no run of a sweep");
        return false;
    };
    shown(&scenario)
}

/// What a sweep has shown so far.
struct Shown {
    started: Instant,
    names: Vec<&'static str>,
    /// Jobs that are left, runs, and broken promises of each scenario.
    left: Vec<(usize, u64, u64)>,
    coverage: Coverage,
    found: Vec<Found>,
}

impl Shown {
    fn new(jobs: &[Job]) -> Self {
        let names: Vec<&str> = scenarios().into_iter().map(|(name, _)| name).collect();
        let of = |number| jobs.iter().filter(|job| job.number == number).count();
        let left = (0..names.len()).map(|number| (of(number), 0, 0)).collect();
        let (started, coverage) = (Instant::now(), Coverage::default());
        Self { started, names, left, coverage, found: Vec::new() }
    }

    /// Tells of a broken promise at once.
    fn found(&mut self, number: usize, found: Found) {
        println!("{}: tests/simulate --repeat '{}'", self.names[number], found.words);
        tell(&found.verdict);
        self.left[number].2 += 1;
        self.found.push(found);
    }

    /// Tells of a scenario when its last job is done.
    fn done(&mut self, number: usize, (runs, coverage): (u64, Coverage)) {
        self.coverage.add(&coverage);
        let (left, all, broke) = &mut self.left[number];
        (*left, *all) = (*left - 1, *all + runs);
        if *left == 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            let name = self.names[number];
            println!("{name}: {all} runs, {broke} broke a promise; so far {seconds:.0} s and");
            println!("{}", self.coverage.table());
        }
    }

    fn has_found_enough(&self) -> bool {
        self.found.len() as u64 >= FAILED_MAX
    }
}

/// Sweeps; the faults that a sweep tries must have met every kind of step. What is known is told at
/// once, so that a sweep that is cut off has said something.
fn sweeps(asked: &Asked) -> bool {
    let jobs = jobs(asked.most);
    let next = AtomicUsize::new(0);
    let shown = Mutex::new(Shown::new(&jobs));
    let known = || shown.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if known().has_found_enough() {
                    break;
                }
                let swept = sweep(job, |found| known().found(job.number, found));
                known().done(job.number, swept);
            }
        };
        let handles: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().for_each(joined);
    });
    let shown = known();
    if !asked.quiet {
        shown.found.iter().take(SHOWN_MAX).for_each(|found| shortest(&found.scenario));
    }
    // A copy of the memory is an event of these scenarios, not a fault.
    let whole = is_whole(&shown.coverage, &["copy-state"]);
    let runs: u64 = shown.left.iter().map(|(_, runs, _)| runs).sum();
    let seconds = shown.started.elapsed().as_secs_f64();
    println!("{runs} runs, {} broke a promise, {seconds:.0} s", shown.found.len());
    shown.found.is_empty() && whole
}

/// Returns what a thread found; one that broke off must not pass for one that found nothing.
fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Shows which fault met which kind of step. Returns whether nothing is at zero.
fn is_whole(coverage: &Coverage, left_out: &[&str]) -> bool {
    println!("{}", coverage.table());
    let missing = coverage.missing(left_out);
    for (class, word) in &missing {
        println!("NOT SHOWN: {class} never met {word}");
    }
    missing.is_empty()
}

fn seeds(asked: &Asked) -> bool {
    let started = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let results: Vec<(Coverage, Vec<(u64, Verdict)>)> = std::thread::scope(|scope| {
        let work = || {
            let (mut coverage, mut broken) = (Coverage::default(), Vec::new());
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let failed_max = if asked.first { 1 } else { FAILED_MAX };
                if at >= asked.seeds || failed.load(Ordering::Relaxed) >= failed_max {
                    break (coverage, broken);
                }
                let verdict = simulate(&scenario(asked.from + at), false);
                coverage.add(&verdict.coverage);
                if !verdict.broken.is_empty() {
                    failed.fetch_add(1, Ordering::Relaxed);
                    broken.push((asked.from + at, verdict));
                }
            }
        };
        let handles: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(joined).collect()
    });
    let mut coverage = Coverage::default();
    let mut broken = Vec::new();
    for (covered, of) in results {
        coverage.add(&covered);
        broken.extend(of);
    }
    let seconds = started.elapsed().as_secs_f64();
    broken.sort_by_key(|(seed, _)| *seed);
    for (at, (seed, verdict)) in broken.iter().enumerate() {
        println!("seed {seed} fails: tests/simulate --seed {seed}");
        tell(verdict);
        if at < SHOWN_MAX && !asked.quiet {
            shortest(&scenario(*seed));
        }
    }
    // What seeds meet is left to chance, so nothing is held to it; a sweep meets everything.
    if !asked.quiet {
        println!("{}", coverage.table());
    }
    let ran = next.load(Ordering::Relaxed).min(asked.seeds);
    let rate = ran as f64 / seconds;
    println!("{ran} seeds, {} failed, {seconds:.0} s, {rate:.0} a second", broken.len());
    broken.is_empty()
}
