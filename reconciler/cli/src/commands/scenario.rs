//! `mainstay scenario`.

use std::path::Path;

use operations::scenario::{Ran, run as run_page};
use serde_json::json;

use crate::args::{ScenarioArgs, ScenarioCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;
use crate::wire::builtin;

pub fn run(args: &ScenarioArgs, ui: &Ui) -> Result<Exit, CliError> {
    let ScenarioCommand::Run { files, update } = &args.command;
    let mut well = true;
    let mut report = Vec::new();
    for file in files {
        let lift = |e: String| CliError::new(format!("{}: {e}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| lift(e.to_string()))?;
        let beside = file.parent().unwrap_or(Path::new("."));
        let include = |name: &str| {
            let inside = Path::new(name).components().all(|part| {
                matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
            });
            inside.then(|| std::fs::read_to_string(beside.join(name)).ok()).flatten()
        };
        let ran = run_page(&text, &builtin(), &include).map_err(|e| lift(e.to_string()))?;
        let differs = !ran.mismatches.is_empty();
        well &= ran.broken.is_empty() && (*update || !differs);
        if ui.is_json() {
            report.push(value(file, &ran));
        } else {
            show(file, &ran, *update, ui);
        }
        if *update && text != ran.text {
            adapters::durable::write_output(file, ran.text.as_bytes())?;
        }
    }
    if ui.is_json() {
        ui.json(&report)?;
    }
    Ok(if well { Exit::Success } else { Exit::Error })
}

fn show(file: &Path, ran: &Ran, update: bool, ui: &Ui) {
    let name = file.display();
    for broken in &ran.broken {
        ui.out(format!("{name}: a promise is broken: {broken}"));
    }
    if update {
        let n = ran.mismatches.len();
        ui.say(format!("{name}: {n} outputs written, {} plans", ran.plans));
        return;
    }
    for miss in &ran.mismatches {
        ui.out(format!("{name}:{}: {}", miss.line, miss.command));
        for line in difference(&miss.expected, &miss.got) {
            ui.out(format!("  {line}"));
        }
    }
    if ran.mismatches.is_empty() && ran.broken.is_empty() {
        ui.say(format!("{name}: as written, {} plans", ran.plans));
    }
}

/// The lines of both, what both begin and end with left out.
fn difference(expected: &str, got: &str) -> Vec<String> {
    let lines = |text: &str| text.trim_end().lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(expected), lines(got));
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail =
        old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let removed = old[same..old.len() - tail].iter().map(|line| format!("- {line}"));
    let added = new[same..new.len() - tail].iter().map(|line| format!("+ {line}"));
    removed.chain(added).collect()
}

fn value(file: &Path, ran: &Ran) -> serde_json::Value {
    let mismatches: Vec<_> = ran
        .mismatches
        .iter()
        .map(|m| {
            json!({
                "line": m.line, "command": m.command, "expected": m.expected, "got": m.got,
            })
        })
        .collect();
    json!({
        "file": file, "title": ran.title, "plans": ran.plans, "broken": ran.broken,
        "mismatches": mismatches,
    })
}
