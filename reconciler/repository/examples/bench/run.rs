//! The order of a whole run: each part makes its data, and all programs take their steps in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::limits::{self, Limits};
use crate::measure::{Cost, measure};
use crate::ours::{self, folder_bytes};
use crate::peers::{kopia, kopia_binary, kopia_init, restic, restic_index, restic_kdf};
use crate::report::{Report, Tool};

/// What a run does.
pub struct Plan {
    /// 1 is the full size.
    pub scale: f64,
    /// How often each step is measured.
    pub rounds: usize,
    /// The parts that run; empty for all.
    pub only: Vec<String>,
    /// The file to which the figures are appended.
    pub history: Option<PathBuf>,
}

/// All parts, in their order.
pub const PARTS: [&str; 8] =
    ["tree", "random", "small", "database", "waste", "memory", "growth", "index"];

impl Plan {
    /// Reads the options.
    pub fn parse(options: &[&str]) -> Self {
        let mut plan = Self { scale: 1.0, rounds: 3, only: Vec::new(), history: None };
        for pair in options.chunks(2) {
            let [name, value] = *pair else { panic!("{} needs a value", pair[0]) };
            match name {
                "--scale" => plan.scale = value.parse().expect("--scale takes a number"),
                "--rounds" => plan.rounds = value.parse().expect("--rounds takes a number"),
                "--only" => plan.only = value.split(',').map(str::to_owned).collect(),
                "--history" => plan.history = Some(value.into()),
                _ => panic!("no such option: {name}"),
            }
        }
        for part in &plan.only {
            assert!(PARTS.contains(&part.as_str()), "no such part: {part}; there are {PARTS:?}");
        }
        plan
    }

    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|p| p == part)
    }
}

/// Runs the plan below a folder, which is emptied before and after.
pub fn run(dir: &Path, plan: &Plan) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    let mut report = Report::new(dir, plan);
    for part in PARTS.into_iter().filter(|p| plan.has(p)) {
        let bench = Bench { dir: dir.join(part), part, plan };
        fs::create_dir_all(&bench.dir).unwrap();
        match part {
            "waste" => bench.waste(&mut report),
            "memory" => bench.memory(&mut report),
            "growth" => bench.growth(&mut report),
            "index" => bench.index(&mut report),
            _ => bench.backups(&mut report),
        }
        fs::remove_dir_all(&bench.dir).unwrap();
        report.print(part);
    }
    fs::remove_dir_all(dir).unwrap();
    report.finish();
}

struct Bench<'p> {
    dir: PathBuf,
    part: &'static str,
    plan: &'p Plan,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn bench(args: &[&str]) {
    measure(Command::new(std::env::current_exe().unwrap()).args(args));
}

/// Makes a restic repository and one of ours, whose opening costs the same.
fn init_both(theirs: &Path, mine: &Path) {
    restic(theirs, &["init"]);
    let [n, r, p] = restic_kdf(theirs);
    ours::run(&["init", text(mine), &n, &r, &p]);
}

impl Bench<'_> {
    fn make(&self, set: &str) -> PathBuf {
        let source = self.dir.join("source");
        bench(&["make", set, text(&source), &self.plan.scale.to_string()]);
        source
    }

    /// Backups and restores of one data set by all programs.
    fn backups(&self, report: &mut Report) {
        let source = self.make(self.part);
        for round in 0..self.plan.rounds {
            let mut contest = Contest::new(&self.dir, self.part, &source, round);
            contest.round(report);
            contest.remove();
            let limit = self.limit(&source);
            report.limit(self.part, &limit);
        }
    }

    fn limit(&self, source: &Path) -> Limits {
        let args = ["limits", self.part, text(source)];
        let said = Command::new(std::env::current_exe().unwrap()).args(args).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        limits::parse(&String::from_utf8_lossy(&said.stdout))
    }

    /// Half of a repository becomes waste and is pruned; what is left is checked and copied.
    fn waste(&self, report: &mut Report) {
        let source = self.make("waste");
        for round in 0..self.plan.rounds {
            let (theirs, mine) = (self.dir.join("restic"), self.dir.join("ours"));
            init_both(&theirs, &mine);
            for seed in 0..2 {
                restic(&theirs, &["backup", text(&source)]);
                ours::run(&["backup", text(&mine), text(&source), "content"]);
                let seed = (2 * round + seed + 1).to_string();
                bench(&["change", "waste", text(&source), &seed]);
            }
            restic(&theirs, &["forget", "--keep-last", "1", "--group-by", ""]);
            ours::run(&["forget", text(&mine)]);
            let (their_copy, my_copy) = (self.dir.join("restic-copy"), self.dir.join("ours-copy"));
            init_both(&their_copy, &my_copy);
            let from = ["copy", "--from-repo", text(&theirs)];
            let mut turn = Turn { report, part: self.part, round };
            turn.take(
                "prune",
                &mut [
                    (Tool::Restic, &mut || restic(&theirs, &["prune"])),
                    (Tool::Ours, &mut || ours::run(&["prune", text(&mine)])),
                ],
            );
            turn.take(
                "check of all data",
                &mut [
                    (Tool::Restic, &mut || restic(&theirs, &["check", "--read-data"])),
                    (Tool::Ours, &mut || ours::run(&["check", text(&mine)])),
                ],
            );
            turn.take(
                "copy",
                &mut [
                    (Tool::Restic, &mut || restic(&their_copy, &from)),
                    (Tool::Ours, &mut || ours::run(&["copy", text(&mine), text(&my_copy)])),
                ],
            );
            for path in [theirs, mine, their_copy, my_copy] {
                fs::remove_dir_all(&path).unwrap();
                let _ = fs::remove_dir_all(path.with_extension("cache"));
            }
        }
    }

    /// A hundred snapshots of the same tree: what the first ones and the last ones cost.
    fn growth(&self, report: &mut Report) {
        let source = self.make_scaled("tree", 0.25);
        let (theirs, mine) = (self.dir.join("restic"), self.dir.join("ours"));
        init_both(&theirs, &mine);
        for number in 1..=100usize {
            let cost = ours::run(&["backup", text(&mine), text(&source), "content"]);
            match number {
                2..=6 => report.add(self.part, "backup, snapshots 2 to 6", Tool::Ours, cost),
                96..=100 => report.add(self.part, "backup, snapshots 96 to 100", Tool::Ours, cost),
                _ => {}
            }
            let listed = match number {
                6 => "list 6 snapshots",
                100 => "list 100 snapshots",
                _ => continue,
            };
            for _ in 0..self.plan.rounds {
                report.add(self.part, listed, Tool::Ours, ours::run(&["list", text(&mine)]));
            }
        }
    }

    /// Peak memory with a tenth of the data and with all of it.
    fn memory(&self, report: &mut Report) {
        for (set, factor, step) in [
            ("random", 0.1, "first backup, a tenth of random"),
            ("random", 1.0, "first backup, all of random"),
            ("small", 0.1, "first backup, a tenth of small"),
            ("small", 1.0, "first backup, all of small"),
        ] {
            let source = self.make_scaled(set, factor);
            let (theirs, mine) = (self.dir.join("restic"), self.dir.join("ours"));
            init_both(&theirs, &mine);
            let cost = ours::run(&["backup", text(&mine), text(&source), "content"]);
            report.add(self.part, step, Tool::Ours, cost);
            for path in [&source, &theirs, &mine] {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }

    fn make_scaled(&self, set: &str, factor: f64) -> PathBuf {
        let source = self.dir.join("source");
        bench(&["make", set, text(&source), &(self.plan.scale * factor).to_string()]);
        source
    }

    /// Both open the same repository of millions of blobs; ours looks up all of them besides.
    fn index(&self, report: &mut Report) {
        let source = self.make("index");
        let (theirs, mine) = (self.dir.join("restic"), self.dir.join("ours"));
        init_both(&theirs, &mine);
        let size = crate::sets::INDEX_PIECE_BYTES.to_string();
        ours::run(&["backup", text(&mine), text(&source), &size]);
        // Fills restic's cache, as it finds it at every use but the first.
        restic_index(&mine);
        for round in 0..self.plan.rounds {
            let mut turn = Turn { report, part: self.part, round };
            turn.take(
                "open, and look up all",
                &mut [
                    (Tool::Restic, &mut || restic_index(&mine)),
                    (Tool::Ours, &mut || ours::run(&["index", text(&mine)])),
                ],
            );
        }
    }
}

/// One round of a part.
struct Turn<'r> {
    report: &'r mut Report,
    part: &'static str,
    round: usize,
}

type Step<'s> = (Tool, &'s mut dyn FnMut() -> Cost);

impl Turn<'_> {
    /// Lets the programs take the same step one after the other, another one first each round.
    fn take(&mut self, step: &'static str, tools: &mut [Step<'_>]) {
        let count = tools.len();
        for at in 0..count {
            let (tool, work) = &mut tools[(at + self.round) % count];
            let cost = work();
            self.report.add(self.part, step, *tool, cost);
        }
    }
}

/// The programs' repositories in one round.
struct Contest {
    set: &'static str,
    round: usize,
    source: PathBuf,
    restic: PathBuf,
    ours: PathBuf,
    kopia: PathBuf,
    out: PathBuf,
    kopia_binary: Option<PathBuf>,
}

impl Contest {
    fn new(dir: &Path, set: &'static str, source: &Path, round: usize) -> Self {
        let contest = Self {
            set,
            round,
            source: source.to_path_buf(),
            restic: dir.join("restic"),
            ours: dir.join("ours"),
            kopia: dir.join("kopia"),
            out: dir.join("out"),
            kopia_binary: kopia_binary(),
        };
        init_both(&contest.restic, &contest.ours);
        if let Some(binary) = &contest.kopia_binary {
            kopia_init(binary, &contest.kopia);
        }
        contest
    }

    fn round(&mut self, report: &mut Report) {
        let sizes = |c: &Self| (folder_bytes(&c.restic), folder_bytes(&c.ours), c.kopia_bytes());
        self.backup("first backup", report);
        let first = sizes(self);
        self.backup("unchanged", report);
        let seed = (self.round + 1).to_string();
        bench(&["change", self.set, text(&self.source), &seed]);
        let before = sizes(self);
        self.backup("2 % changed", report);
        let after = sizes(self);
        for (step, a, b) in [("stored", (0, 0, 0), first), ("added by 2 %", before, after)] {
            report.stored(self.set, step, Tool::Restic, b.0 - a.0);
            report.stored(self.set, step, Tool::Ours, b.1 - a.1);
            if self.kopia_binary.is_some() {
                report.stored(self.set, step, Tool::Kopia, b.2 - a.2);
            }
        }
        self.restore(report);
    }

    fn kopia_bytes(&self) -> u64 {
        if self.kopia_binary.is_some() { folder_bytes(&self.kopia) } else { 0 }
    }

    fn backup(&self, step: &'static str, report: &mut Report) {
        let source = text(&self.source);
        let chunking = if self.set == "database" { "fixed" } else { "content" };
        let mut turn = Turn { report, part: self.set, round: self.round };
        let mut theirs = || restic(&self.restic, &["backup", source]);
        let mut mine = || ours::run(&["backup", text(&self.ours), source, chunking]);
        match &self.kopia_binary {
            None => turn.take(step, &mut [(Tool::Restic, &mut theirs), (Tool::Ours, &mut mine)]),
            Some(binary) => turn.take(
                step,
                &mut [
                    (Tool::Restic, &mut theirs),
                    (Tool::Ours, &mut mine),
                    (Tool::Kopia, &mut || {
                        kopia(binary, &self.kopia, &["snapshot", "create", source])
                    }),
                ],
            ),
        }
    }

    fn restore(&self, report: &mut Report) {
        let out = text(&self.out);
        let source = text(&self.source);
        let clean = |cost: Cost| {
            fs::remove_dir_all(&self.out).unwrap();
            cost
        };
        let mut turn = Turn { report, part: self.set, round: self.round };
        let from = ["restore", "latest", "--target", out];
        let mut theirs = || clean(restic(&self.restic, &from));
        let mut mine = || clean(ours::run(&["restore", text(&self.ours), out]));
        match &self.kopia_binary {
            None => {
                turn.take("restore", &mut [(Tool::Restic, &mut theirs), (Tool::Ours, &mut mine)]);
            }
            Some(binary) => turn.take(
                "restore",
                &mut [
                    (Tool::Restic, &mut theirs),
                    (Tool::Ours, &mut mine),
                    (Tool::Kopia, &mut || {
                        let args = ["restore", source, out, "--snapshot-time=latest"];
                        clean(kopia(binary, &self.kopia, &args))
                    }),
                ],
            ),
        }
    }

    fn remove(self) {
        for repo in [&self.restic, &self.ours, &self.kopia] {
            let _ = fs::remove_dir_all(repo);
            for extension in ["cache", "log"] {
                let _ = fs::remove_dir_all(repo.with_extension(extension));
            }
            let _ = fs::remove_file(repo.with_extension("config"));
        }
    }
}
