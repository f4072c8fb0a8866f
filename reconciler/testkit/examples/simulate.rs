//! Runs seeds of the simulated world. Called by `tests/simulate`, which says how.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A tool for people.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mainstay_testkit::coverage::Coverage;
use mainstay_testkit::minimise::minimise;
use mainstay_testkit::scenario::{Scenario, scenario};
use mainstay_testkit::simulation::{Verdict, simulate};
use mainstay_testkit::sweep::{jobs, sweep};

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
    let well = match (asked.one, &asked.kept, asked.sweep) {
        (Some(seed), _, _) => show(seed),
        (None, Some(file), _) => kept(file),
        (None, None, true) => sweeps(&asked),
        (None, None, false) => seeds(&asked),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one seed and tells all that happened.
fn show(seed: u64) -> bool {
    let scenario = scenario(seed);
    let verdict = simulate(&scenario, true);
    println!("{scenario}");
    verdict.trace.iter().for_each(|line| println!("{line}"));
    tell(&verdict);
    if !verdict.broken.is_empty() {
        shortest(&scenario);
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

/// Sweeps; the faults that a sweep tries must have met every kind of step.
fn sweeps(asked: &Asked) -> bool {
    let started = Instant::now();
    let jobs = jobs(asked.most);
    let next = AtomicUsize::new(0);
    let results: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(sweep(job));
            }
            done
        };
        let handles: Vec<_> = (0..asked.threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(joined).collect()
    });
    let mut coverage = Coverage::default();
    let (mut runs, mut found) = (0, Vec::new());
    for (ran, of, covered) in results {
        runs += ran;
        found.extend(of);
        coverage.add(&covered);
    }
    for (at, found) in found.iter().enumerate() {
        let fault = &found.scenario.faults[0];
        println!("{}: {fault}", found.name);
        tell(&found.verdict);
        if at < SHOWN_MAX && !asked.quiet {
            shortest(&found.scenario);
        }
    }
    // A copy of the memory is an event of these scenarios, not a fault.
    let whole = is_whole(&coverage, &["copy-state"]);
    let seconds = started.elapsed().as_secs_f64();
    println!("{runs} runs, {} broke a promise, {seconds:.0} s", found.len());
    found.is_empty() && whole
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
