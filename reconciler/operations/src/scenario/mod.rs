//! Scenarios: pages that say what is written in the config repository, what is there, and what the
//! planner makes of it, with the output below each command. A page is a test of the planner, a page
//! of the documentation and the form of a bug report at once.
//!
//! Nothing outside is touched: applying a plan means that each step succeeds and the scenario's own
//! world changes accordingly. Called by `mainstay scenario run` and by a test over
//! `docs/scenarios/`. The language is described in `docs/scenarios/README.md`.
//!
//! `page` reads and writes the Markdown, `words` one command, `state` is the world, `facts` change
//! it, `act` applies plans.

mod act;
mod facts;
mod page;
mod state;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use model::Timestamp;
use model::id::Address;
use model::plan::{Plan, Wait};
use plan::whatif::Disaster;

use self::page::Part;
use self::state::State;
use self::words::Words;

/// The longest page; a scenario is read by people.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Most commands of a page.
pub const COMMANDS_MAX: usize = 2000;

/// What became of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its title.
    pub title: String,
    /// Its first sentence.
    pub sentence: String,
    /// The page with the output that came.
    pub text: String,
    /// Where another output came than the page has.
    pub mismatches: Vec<Mismatch>,
    /// Promises that a plan of the page breaks: faults of the planner, whatever the page expects.
    pub broken: Vec<String>,
    /// How many plans were made.
    pub plans: usize,
}

/// One command whose output is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The line of the page.
    pub line: usize,
    /// The command.
    pub command: String,
    /// What the page has.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// A page that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PageError(pub String);

/// Runs a page. `builtin` are the documents that come with the program; `include` gives the text of
/// a file that a page names with `> config`, by its name.
///
/// # Errors
/// When the page is none: a block without end, too long. A command that fails is no error: its
/// output begins with `error:`.
pub fn run(
    text: &str,
    builtin: &BTreeMap<String, Vec<u8>>,
    include: &dyn Fn(&str) -> Option<String>,
) -> Result<Ran, PageError> {
    if text.len() > PAGE_BYTES_MAX {
        return Err(PageError(format!("the page has more than {PAGE_BYTES_MAX} bytes")));
    }
    let mut parts = page::parse(text).map_err(PageError)?;
    let mut runner = Runner {
        state: State::new(),
        before: Vec::new(),
        branches: BTreeMap::new(),
        builtin,
        include,
        broken: Vec::new(),
        plans: 0,
    };
    let (mut mismatches, mut count) = (Vec::new(), 0);
    for part in &mut parts {
        match part {
            Part::Prose(_) => {}
            Part::Documents { change, text, line } => {
                let add = runner.state.add(text, !*change);
                add.map_err(|why| PageError(format!("line {line}: {why}")))?;
            }
            Part::Commands(commands) => {
                for command in commands.iter_mut() {
                    count += 1;
                    if count > COMMANDS_MAX {
                        return Err(PageError(format!("more than {COMMANDS_MAX} commands")));
                    }
                    let got = runner.run(&command.text).unwrap_or_else(|e| format!("error: {e}"));
                    let got = page::shaped(&masked(&got));
                    if got != page::shaped(&command.output) {
                        mismatches.push(Mismatch {
                            line: command.line,
                            command: command.text.clone(),
                            expected: command.output.clone(),
                            got: got.clone(),
                        });
                    }
                    command.output = got;
                }
                if let Some(last) = commands.last_mut() {
                    last.output = last.output.trim_end_matches('\n').to_owned();
                    if !last.output.is_empty() {
                        last.output.push('\n');
                    }
                }
            }
        }
    }
    let (title, sentence) = page::about(text);
    Ok(Ran {
        title,
        sentence,
        text: page::write(&parts),
        mismatches,
        broken: runner.broken,
        plans: runner.plans,
    })
}

/// Replaces digests, which change with every field of every document, by a word. Ids of snapshots
/// and commits are a scenario's own and end with zeros.
fn masked(text: &str) -> String {
    const DIGITS_MIN: usize = 12;
    let mut out = String::new();
    let mut run = String::new();
    let flush = |run: &mut String, out: &mut String| {
        let mixed = run.chars().any(|c| c.is_ascii_alphabetic()) || run.len() > 20;
        if run.len() >= DIGITS_MIN && mixed && !run.ends_with("00000000") {
            out.push_str("DIGEST");
        } else {
            out.push_str(run);
        }
        run.clear();
    };
    for c in text.chars() {
        if c.is_ascii_digit() || ('a'..='f').contains(&c) {
            run.push(c);
        } else {
            flush(&mut run, &mut out);
            out.push(c);
        }
    }
    flush(&mut run, &mut out);
    out
}

struct Runner<'a> {
    state: State,
    /// The states before each command that changed something, for `undo`.
    before: Vec<State>,
    branches: BTreeMap<String, State>,
    builtin: &'a BTreeMap<String, Vec<u8>>,
    include: &'a dyn Fn(&str) -> Option<String>,
    broken: Vec<String>,
    plans: usize,
}

impl Runner<'_> {
    fn run(&mut self, line: &str) -> Result<String, String> {
        let mut words = Words::read(line)?;
        let verb = words.need("a command")?;
        match verb.as_str() {
            "plan" | "steps" | "apply" | "status" | "diff" | "explain" | "lose" | "forecast"
            | "graph" | "validate" | "points" | "undo" | "branch" | "switch" => {}
            _ => self.before.push(self.state.clone()),
        }
        match verb.as_str() {
            "plan" => self.plan(words),
            "steps" => self.steps(words),
            "apply" => self.apply(words),
            "status" => self.status(words),
            "diff" => self.diff(words),
            "explain" => self.explain(words),
            "lose" => self.lose(words),
            "forecast" => self.forecast(words),
            "graph" => {
                self.commit()?;
                let desired = self.state.desired.as_ref().ok_or("no configuration")?;
                Ok(plan::graph::Graph::new(desired).to_text())
            }
            "validate" => self.state.commit(self.builtin).map(|()| "valid\n".to_owned()),
            "points" => {
                let only = words.next().map(|text| facts::parse::<Address>(&text)).transpose()?;
                words.end()?;
                Ok(facts::points(&self.state, only.as_ref()))
            }
            "undo" | "branch" | "switch" => self.travel(&verb, words),
            "commit" | "rollback" => {
                let address = facts::parse(&words.need("an address")?)?;
                words.end()?;
                self.commit()?;
                act::end(&mut self.state, &address, verb == "commit")
            }
            _ => self.change(&verb, words).map(|()| String::new()),
        }
    }

    /// Commands that change the world and print nothing.
    fn change(&mut self, verb: &str, mut words: Words) -> Result<(), String> {
        let state = &mut self.state;
        match verb {
            "config" => {
                let name = words.need("a file")?;
                words.end()?;
                let text = (self.include)(&name).ok_or(format!("there is no file `{name}`"))?;
                state.add(&text, true)
            }
            "remove" => {
                let name = words.need("KIND/NAME")?;
                words.end()?;
                state.remove(&name)
            }
            "replace" => {
                let (old, new) = (words.need("the old text")?, words.need("the new text")?);
                words.end()?;
                state.replace(&old, &new)
            }
            "git" => {
                let how = words.need("`back`, `rewritten`, `shallow` or `whole`")?;
                words.end()?;
                state.git(&how)
            }
            "at" => {
                state.now = facts::instant(state.now, &words.need("an instant")?)?;
                words.end()
            }
            "wait" => {
                let text = words.need("a duration")?;
                state.now = facts::instant(state.now, &format!("+{text}"))?;
                words.end()
            }
            "world" => facts::world(state, words),
            "repository" => facts::repository(state, words),
            "point" => facts::point(state, words),
            "prove" => facts::prove(state, words),
            "delete" => facts::delete(state, words),
            "baseline" => facts::baseline(state, words),
            "memory" => facts::memory(state, words),
            "accept" => facts::accept(state, words),
            "approve" => facts::approve(state, words),
            "hold" => facts::hold(state, words),
            "release" => facts::release(state, words),
            "request" => facts::request(state, words),
            "failed" => facts::failed(state, words),
            "did" => facts::did(state, words),
            "recovery" => facts::recovery(state, words),
            "measured" => {
                let name = facts::parse(&words.need("a repository")?)?;
                let bytes = words.number("bytes")?.ok_or("`bytes=` is missing")?;
                let seconds = words.number("seconds")?.ok_or("`seconds=` is missing")?;
                words.end()?;
                state.measured.restores.entry(name).or_default().add(bytes, seconds * 1000);
                Ok(())
            }
            other => Err(format!("there is no command `{other}`")),
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        self.state.commit(self.builtin)
    }

    fn make_plan(&mut self, only: &BTreeSet<Address>) -> Result<Plan, String> {
        self.commit()?;
        let desired = self.state.desired.clone().ok_or("there is no configuration")?;
        let observed = self.state.observed(&desired);
        let now = self.state.now;
        let made = if only.is_empty() {
            plan::plan(&desired, &observed, now)
        } else {
            plan::plan_only(&desired, &observed, now, only)
        };
        self.plans += 1;
        for violation in plan::check(&desired, &observed, &made) {
            self.broken.push(violation.to_string());
        }
        self.state.plans.push(made.clone());
        Ok(made)
    }

    fn plan(&mut self, mut words: Words) -> Result<String, String> {
        let mut only = BTreeSet::new();
        if words.flag("only") {
            while let Some(word) = words.next() {
                only.insert(facts::parse(&word)?);
            }
        }
        words.end()?;
        let made = self.make_plan(&only)?;
        let text = plan::render::text(&made).to_plain();
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        Ok(format!("at {}\n{}", self.state.now, rest.trim_start_matches('\n')))
    }

    /// The plan in short: steps, what they wait for, what is left out.
    fn steps(&mut self, words: Words) -> Result<String, String> {
        words.end()?;
        let made = self.make_plan(&BTreeSet::new())?;
        let mut out = String::new();
        for step in &made.steps {
            let waits: Vec<String> = step.waits.iter().map(kind).collect();
            let waits = match waits.is_empty() {
                true => String::new(),
                false => format!("  waits for {}", waits.join(", ")),
            };
            let mark = if step.class == model::plan::Class::Destructive { "! " } else { "  " };
            writeln!(out, "{mark}{}{waits}", step.id).map_err(|e| e.to_string())?;
        }
        for deferred in &made.report.deferred {
            writeln!(out, "- {} {}", deferred.step, deferred.code).map_err(|e| e.to_string())?;
        }
        for alarm in &made.report.alarms {
            writeln!(out, "* {}", kind(alarm)).map_err(|e| e.to_string())?;
        }
        for why in &made.report.incomplete {
            writeln!(out, "? {why}").map_err(|e| e.to_string())?;
        }
        Ok(if out.is_empty() { "nothing to do\n".to_owned() } else { out })
    }

    fn apply(&mut self, mut words: Words) -> Result<String, String> {
        let fail: BTreeSet<String> = if words.flag("failing") {
            std::iter::from_fn(|| words.next()).collect()
        } else {
            BTreeSet::new()
        };
        let saved = words.flag("saved");
        words.end()?;
        let plan = match (saved, self.state.plans.last()) {
            (true, Some(plan)) => plan.clone(),
            (true, None) => return Err("no plan was made".to_owned()),
            (false, _) => self.make_plan(&BTreeSet::new())?,
        };
        let known = |name: &String| plan.steps.iter().any(|s| s.id.as_str() == name);
        if let Some(name) = fail.iter().find(|name| !known(name)) {
            return Err(format!("the plan has no step {name}"));
        }
        self.before.push(self.state.clone());
        self.commit()?;
        act::apply(&mut self.state, &plan, &fail)
    }

    fn status(&mut self, words: Words) -> Result<String, String> {
        words.end()?;
        self.commit()?;
        let desired = self.state.desired.as_ref().ok_or("there is no configuration")?;
        let status = plan::status(desired, &self.state.observed(desired), self.state.now);
        let mut out = String::new();
        for (address, of) in &status.resources {
            let age = of.age_s.map_or("never proven".to_owned(), |s| {
                format!("proven {} ago", plan::render::duration(s))
            });
            let copies = of.copies_wanted.map_or(String::new(), |wanted| {
                format!(", copies {} of {wanted} {:?}", of.copies, of.copies_verdict)
            });
            writeln!(out, "{address}: {}, {age}, RPO {:?}{copies}", of.condition.word(), of.rpo)
                .map_err(|e| e.to_string())?;
        }
        for (name, of) in status.repositories.iter().filter(|(_, of)| !of.usable) {
            writeln!(out, "repository {name}: {}", of.state).map_err(|e| e.to_string())?;
        }
        Ok(out)
    }

    fn diff(&mut self, words: Words) -> Result<String, String> {
        words.end()?;
        match self.state.plans.as_slice() {
            [.., before, after] => {
                let differs = plan::whatif::difference(before, after);
                Ok(plan::render::difference(&differs).to_plain())
            }
            _ => Err("two plans are needed".to_owned()),
        }
    }

    fn explain(&mut self, mut words: Words) -> Result<String, String> {
        let subject = words.need("a step, an address or a point")?;
        words.end()?;
        let made = self.make_plan(&BTreeSet::new())?;
        let subject = match self.state.find(&subject) {
            Ok((_, found)) => plan::explain::Subject::Snapshot(found.id),
            Err(_) => plan::explain::Subject::parse(&subject, &made),
        };
        let desired = self.state.desired.as_ref().ok_or("there is no configuration")?;
        let observed = self.state.observed(desired);
        let lines = plan::explain(desired, &observed, &made, self.state.now, &subject);
        lines.map(|lines| lines.to_plain()).ok_or("nothing is known of it".to_owned())
    }

    fn lose(&mut self, mut words: Words) -> Result<String, String> {
        let (kind, name) = (words.need("what")?, words.need("its name")?);
        words.end()?;
        self.commit()?;
        let desired = self.state.desired.as_ref().ok_or("there is no configuration")?;
        let disaster = disaster(desired, &kind, &name)?;
        let observed = self.state.observed(desired);
        let answer = plan::whatif::what_if(
            desired,
            &observed,
            self.state.now,
            &self.state.measured,
            &disaster,
        );
        Ok(plan::render::what_if(&answer).to_plain())
    }

    fn forecast(&mut self, mut words: Words) -> Result<String, String> {
        let days = words.number("days")?.unwrap_or(1);
        words.end()?;
        self.commit()?;
        let desired = self.state.desired.as_ref().ok_or("there is no configuration")?;
        let observed = self.state.observed(desired);
        let days = u32::try_from(days).map_err(|_| "too many days".to_owned())?;
        let forecast = plan::whatif::forecast(desired, &observed, self.state.now, days);
        Ok(plan::render::forecast(&forecast).to_plain())
    }

    /// `undo`, `branch NAME`, `switch NAME`.
    fn travel(&mut self, verb: &str, mut words: Words) -> Result<String, String> {
        match verb {
            "undo" => self.state = self.before.pop().ok_or("there is nothing to undo")?,
            "branch" => {
                self.branches.insert(words.need("a name")?, self.state.clone());
            }
            _ => {
                let name = words.need("a name")?;
                let state = self.branches.get(&name).ok_or(format!("no branch is named {name}"))?;
                self.before.push(std::mem::replace(&mut self.state, state.clone()));
            }
        }
        words.end()?;
        Ok(String::new())
    }
}

/// Reads what is lost; the name must be one that the documents know.
///
/// # Errors
/// In words, with the names that are known.
pub fn disaster(
    desired: &model::desired::Desired,
    kind: &str,
    name: &str,
) -> Result<Disaster, String> {
    let names = plan::whatif::names(desired);
    let known = names.get(kind).ok_or_else(|| {
        let kinds: Vec<&str> = names.keys().copied().collect();
        format!("`{kind}` is not one of {}", kinds.join(", "))
    })?;
    if !known.contains(name) {
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(if all.is_empty() {
            format!("no document names a {kind}")
        } else {
            format!("no document names the {kind} `{name}`; known: {}", all.join(", "))
        });
    }
    let name = name.to_owned();
    Ok(match kind {
        "host" => Disaster::Host(facts::parse(&name)?),
        "cluster" => Disaster::Cluster(facts::parse(&name)?),
        "repository" => Disaster::Repository(facts::parse(&name)?),
        "site" => Disaster::Site(name),
        "account" => Disaster::Account(name),
        "credentials" => Disaster::Credentials(name),
        _ => Disaster::Key(name),
    })
}

fn kind(wait: &Wait) -> String {
    match wait {
        Wait::Approval { .. } => "approval".to_owned(),
        Wait::Hold { name, .. } => format!("hold {name}"),
        Wait::Window { name, .. } => format!("window of {name}"),
        Wait::Budget { name, .. } => format!("budget of {name}"),
        Wait::Backoff { .. } => "backoff".to_owned(),
        Wait::Alarm { accept, .. } => {
            format!("alarm {}", accept.split(':').next().unwrap_or_default())
        }
    }
}

/// Returns the instant at which every scenario begins.
pub fn begin() -> Timestamp {
    State::new().now
}
