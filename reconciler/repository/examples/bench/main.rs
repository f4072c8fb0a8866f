//! Compares this engine with restic, and with kopia where it is there, on data that it makes
//! itself. `tests/bench` runs it; `bench` without arguments says what else it can do.
//!
//! Each step, ours as well as theirs, runs as a process of its own: opening, key derivation and
//! all. Wall time, processor time and peak memory are what the kernel accounted to that process.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)] // A tool for people.

mod index;
mod limits;
mod measure;
mod ours;
mod peers;
mod report;
mod run;
mod sets;

use std::path::Path;

const USAGE: &str = "\
usage: bench run DIR [--scale N] [--rounds N] [--only PART[,PART]] [--history FILE]
       bench page FILE
       bench limits SET DIR

run     makes data below DIR, measures, prints a Markdown table; PART is one of
        tree, random, small, database, waste, memory, growth, index
page    prints the tables of docs/performance.md from a history file
limits  measures the parts of which a backup of the data set in DIR is made";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", dir, options @ ..] => run::run(Path::new(dir), &run::Plan::parse(options)),
        ["page", history] => report::page(Path::new(history)),
        ["limits", set, dir] => println!("{}", limits::measure(set, Path::new(dir)).json()),
        ["make", set, dir, scale] => sets::make(set, Path::new(dir), scale.parse().unwrap()),
        ["change", set, dir, seed] => {
            sets::change(set, Path::new(dir), seed.parse().unwrap());
        }
        ["ours", step @ ..] => ours::step(step),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(64);
        }
    }
}
