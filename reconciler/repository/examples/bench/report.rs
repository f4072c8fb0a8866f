//! Medians, spreads and ratios: printed as Markdown, kept as one line of JSON a run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::limits::Limits;
use crate::measure::Cost;
use crate::peers;
use crate::run::Plan;

/// Who took a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Restic,
    Ours,
    Kopia,
}

impl Tool {
    fn key(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Ours => "ours",
            Self::Kopia => "kopia",
        }
    }
}

/// What is wanted: part, step, and how many times as fast as restic.
const GOALS: [(&str, &str, f64); 20] = [
    ("tree", "first backup", 2.8),
    ("random", "first backup", 3.0),
    ("small", "first backup", 3.0),
    ("database", "first backup", 2.5),
    ("tree", "unchanged", 4.0),
    ("tree", "2 % changed", 3.3),
    ("small", "unchanged", 4.0),
    ("small", "2 % changed", 3.3),
    ("database", "2 % changed", 5.0),
    ("tree", "restore", 2.8),
    ("random", "restore", 1.5),
    ("small", "restore", 4.5),
    ("database", "restore", 1.9),
    ("waste", "prune", 2.0),
    ("waste", "check of all data", 2.0),
    ("waste", "copy", 2.0),
    ("index", "open, and look up all", 2.0),
    ("random", "unchanged", 0.0),
    ("random", "2 % changed", 0.0),
    ("database", "unchanged", 0.0),
];

type Samples = Vec<((&'static str, &'static str), BTreeMap<Tool, Vec<Cost>>)>;

/// The figures of one run.
pub struct Report {
    samples: Samples,
    limits: Vec<(&'static str, Limits)>,
    stored: Vec<(&'static str, &'static str, Tool, u64)>,
    head: Value,
    history: Option<PathBuf>,
}

impl Report {
    /// Begins a report with where and of what it is.
    pub fn new(dir: &Path, plan: &Plan) -> Self {
        let kopia = peers::kopia_binary().map(|k| peers::version(&k, "--version"));
        let head = json!({
            "time": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "machine": machine(),
            "file_system": file_system(dir),
            "load_before": load(),
            "restic": peers::version(&peers::restic_binary(), "version"),
            "kopia": kopia,
            "scale": plan.scale,
            "rounds": plan.rounds,
        });
        println!("{}\n", head_line(&head));
        let history = plan.history.clone();
        Self { samples: Vec::new(), limits: Vec::new(), stored: Vec::new(), head, history }
    }

    /// Adds what one step of one program took.
    pub fn add(&mut self, part: &'static str, step: &'static str, tool: Tool, cost: Cost) {
        let at = self.samples.iter().position(|(key, _)| *key == (part, step));
        let at = at.unwrap_or_else(|| {
            self.samples.push(((part, step), BTreeMap::new()));
            self.samples.len() - 1
        });
        self.samples[at].1.entry(tool).or_default().push(cost);
    }

    /// Adds the least that a first backup of a part can take.
    pub fn limit(&mut self, part: &'static str, limits: &Limits) {
        self.limits.push((part, limits.clone()));
    }

    /// Adds how many bytes a repository has, or has more than before.
    pub fn stored(&mut self, part: &'static str, step: &'static str, tool: Tool, bytes: u64) {
        self.stored.push((part, step, tool, bytes));
    }

    /// Prints the rows of a part that is done.
    pub fn print(&self, part: &str) {
        let rows = self.rows();
        let of_part = |r: &&Value| r["part"] == part;
        println!("{TABLE_HEAD}");
        rows.iter().filter(of_part).for_each(|r| println!("{}", table_row(r)));
        println!();
    }

    /// Appends the run to the history.
    pub fn finish(self) {
        let mut run = self.head.clone();
        run["load_after"] = json!(load());
        run["rows"] = Value::Array(self.rows());
        run["limits"] = Value::Array(self.limit_rows());
        run["stored"] = Value::Array(self.stored_rows());
        print!("{}", limit_table(&run));
        print!("{}", stored_table(&run));
        if let Some(history) = &self.history {
            let mut file = fs::File::options().create(true).append(true).open(history).unwrap();
            writeln!(file, "{run}").unwrap();
        }
    }

    fn rows(&self) -> Vec<Value> {
        let row = |((part, step), tools): &((&str, &str), BTreeMap<Tool, Vec<Cost>>)| {
            let goal = GOALS.iter().find(|(p, s, _)| p == part && s == step).map(|g| g.2);
            let mut row = json!({ "part": part, "step": step, "goal": goal.unwrap_or(0.0) });
            for (tool, costs) in tools {
                row[tool.key()] = summary(costs);
            }
            row
        };
        self.samples.iter().map(row).collect()
    }

    fn limit_rows(&self) -> Vec<Value> {
        let mut rows: Vec<Value> = Vec::new();
        for (part, _) in &self.limits {
            if rows.iter().any(|r| r["part"] == *part) {
                continue;
            }
            let of_part = || self.limits.iter().filter(|(p, _)| p == part).map(|(_, l)| l);
            let first = of_part().next().cloned().unwrap_or_default();
            let mut parts = serde_json::Map::new();
            for (at, (name, _)) in first.parts.iter().enumerate() {
                let seconds = median(of_part().map(|l| l.parts[at].1).collect());
                parts.insert((*name).to_owned(), json!(rounded(seconds)));
            }
            let sum = median(of_part().map(Limits::cpu_s).collect());
            rows.push(json!({
                "part": part, "bytes": first.bytes, "cpu_s": rounded(sum), "parts": parts,
            }));
        }
        rows
    }

    fn stored_rows(&self) -> Vec<Value> {
        let mut rows: Vec<Value> = Vec::new();
        for (part, step, tool, _) in &self.stored {
            let same = |s: &&(&str, &str, Tool, u64)| (s.0, s.1, s.2) == (*part, *step, *tool);
            let all = self.stored.iter().filter(same).map(|s| s.3 as f64 / 1e6).collect();
            let megabytes = json!(rounded(median(all)));
            match rows.iter_mut().find(|r| r["part"] == *part && r["step"] == *step) {
                Some(row) => row[tool.key()] = megabytes,
                None => rows.push(json!({ "part": part, "step": step, tool.key(): megabytes })),
            }
        }
        rows
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Half of the range, in percent of the median.
fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    50.0 * (most - least) / median(values.to_vec()).max(1e-9)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn summary(costs: &[Cost]) -> Value {
    let wall: Vec<f64> = costs.iter().map(|c| c.wall_s).collect();
    let cpu: Vec<f64> = costs.iter().map(|c| c.cpu_s).collect();
    let peak = costs.iter().map(|c| c.peak_mb).fold(0.0, f64::max);
    json!({
        "wall_s": rounded(median(wall.clone())),
        "wall_spread": spread(&wall).round(),
        "cpu_s": rounded(median(cpu.clone())),
        "cpu_spread": spread(&cpu).round(),
        "peak_mb": peak.round(),
        "runs": costs.len(),
    })
}

const TABLE_HEAD: &str = "\
| data | work | restic: s (± %), CPU s, MB | this engine | times as fast: wall, CPU | goal | kopia \
                          |
|---|---|---|---|---|---|---|";

fn cell(of: &Value) -> String {
    if of.is_null() {
        return "–".to_owned();
    }
    let n = |key: &str| of[key].as_f64().unwrap_or(0.0);
    let (wall, cpu) = (n("wall_s"), n("cpu_s"));
    format!("{wall:.2} (± {:.0}), {cpu:.2}, {:.0}", n("wall_spread"), n("peak_mb"))
}

fn table_row(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let ratio = |key: &str| match (row["restic"][key].as_f64(), row["ours"][key].as_f64()) {
        (Some(theirs), Some(mine)) => format!("{:.1}", theirs / mine.max(1e-9)),
        _ => "–".to_owned(),
    };
    let goal = match row["goal"].as_f64().unwrap_or(0.0) {
        0.0 => "–".to_owned(),
        goal => format!("{goal:.1}"),
    };
    format!(
        "| {} | {} | {} | {} | {}, {} | {goal} | {} |",
        text("part"),
        text("step"),
        cell(&row["restic"]),
        cell(&row["ours"]),
        ratio("wall_s"),
        ratio("cpu_s"),
        cell(&row["kopia"]),
    )
}

fn rows<'v>(run: &'v Value, key: &str) -> &'v [Value] {
    run[key].as_array().map_or(&[], Vec::as_slice)
}

fn limit_table(run: &Value) -> String {
    let limits = rows(run, "limits");
    let Some(names) = limits.first().and_then(|l| l["parts"].as_object()) else {
        return String::new();
    };
    let names: Vec<&String> = names.keys().collect();
    let mut out = String::from("| data |");
    names.iter().for_each(|name| out.push_str(&format!(" {name} |")));
    out.push_str(" sum, CPU s | first backup, CPU s | of the limit |\n|---|");
    out.push_str(&"---|".repeat(names.len() + 3));
    for limit in limits {
        let first = |r: &&Value| r["part"] == limit["part"] && r["step"] == "first backup";
        let row = rows(run, "rows").iter().find(first);
        let mine = row.and_then(|r| r["ours"]["cpu_s"].as_f64()).unwrap_or(0.0);
        let sum = limit["cpu_s"].as_f64().unwrap_or(0.0);
        out.push_str(&format!("\n| {} |", limit["part"].as_str().unwrap_or_default()));
        for name in &names {
            let seconds = limit["parts"][name.as_str()].as_f64().unwrap_or(0.0);
            out.push_str(&format!(" {seconds:.2} |"));
        }
        let percent = 100.0 * sum / mine.max(1e-9);
        out.push_str(&format!(" {sum:.2} | {mine:.2} | {percent:.0} % |"));
    }
    out.push_str("\n\n");
    out
}

fn stored_table(run: &Value) -> String {
    let stored = rows(run, "stored");
    if stored.is_empty() {
        return String::new();
    }
    let mut out = String::from("| data | | restic, MB | this engine, MB | kopia, MB |\n");
    out.push_str("|---|---|---|---|---|");
    for row in stored {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let size = |key: &str| row[key].as_f64().map_or("–".to_owned(), |n| format!("{n:.1}"));
        let (part, step) = (text("part"), text("step"));
        let (restic, ours, kopia) = (size("restic"), size("ours"), size("kopia"));
        out.push_str(&format!("\n| {part} | {step} | {restic} | {ours} | {kopia} |"));
    }
    out.push_str("\n\n");
    out
}

fn head_line(run: &Value) -> String {
    let text = |key: &str| run[key].as_str().unwrap_or("–").to_owned();
    let number = |key: &str| run[key].as_f64().unwrap_or(0.0);
    format!(
        "{}: {}, data and repositories on {}, load {:.1} before{}; restic {}, kopia {}; scale {}, \
         {} runs of each step.",
        text("time"),
        text("machine"),
        text("file_system"),
        number("load_before"),
        run["load_after"].as_f64().map(|l| format!(" and {l:.1} after")).unwrap_or_default(),
        text("restic"),
        text("kopia"),
        number("scale"),
        number("rounds"),
    )
}

/// Prints the tables of the newest figures in a history: of each part its latest run at full
/// size, or of any size where there is none.
pub fn page(history: &Path) {
    let lines = fs::read_to_string(history).unwrap();
    let runs: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let mut chosen: Vec<(usize, Vec<&str>)> = Vec::new();
    for part in crate::run::PARTS {
        let has = |run: &Value| rows(run, "rows").iter().any(|r| r["part"] == part);
        let full = |run: &Value| run["scale"].as_f64().is_some_and(|s| s >= 1.0);
        let latest = runs.iter().rposition(|r| has(r) && full(r));
        let Some(at) = latest.or_else(|| runs.iter().rposition(has)) else { continue };
        match chosen.iter_mut().find(|(run, _)| *run == at) {
            Some((_, parts)) => parts.push(part),
            None => chosen.push((at, vec![part])),
        }
    }
    for (run, parts) in &chosen {
        println!("- {}: {}", parts.join(", "), head_line(&runs[*run]));
    }
    let all = |key: &str| -> Value {
        let of_run = |(run, parts): &(usize, Vec<&str>)| -> Vec<Value> {
            let wanted = |r: &&Value| r["part"].as_str().is_some_and(|p| parts.contains(&p));
            rows(&runs[*run], key).iter().filter(wanted).cloned().collect()
        };
        chosen.iter().flat_map(of_run).collect()
    };
    let merged = json!({
        "rows": all("rows"), "limits": all("limits"), "stored": all("stored"),
    });
    println!("\n{TABLE_HEAD}");
    rows(&merged, "rows").iter().for_each(|r| println!("{}", table_row(r)));
    println!("\n{}", limit_table(&merged));
    print!("{}", stored_table(&merged));
}

fn first_value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Processor, cores and memory.
fn machine() -> String {
    let model = first_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = first_value("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    format!("{model}, {cores} cores, {:.0} GiB", kib / f64::from(1 << 20))
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// The kind of file system on which a folder lies: that of the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let above = |line: &&str| line.split(' ').nth(1).is_some_and(|point| dir.starts_with(point));
    let longest = |line: &&str| line.split(' ').nth(1).map_or(0, str::len);
    let line = mounts.lines().filter(above).max_by_key(longest).unwrap_or_default();
    line.split(' ').nth(2).unwrap_or("unknown").to_owned()
}
