//! The recovery plans for every site, cluster, host, repository and key as one document that works
//! with this program gone: what to install, which passwords from where, which commands in which
//! order, what is lost. Called by `runbook`; a pure function of an observation.
//!
//! `reach` tells restic where a repository lies, `recipe` writes the commands that bring one point
//! back, `shell` quotes them, `render` prints the document. The document holds references to
//! secrets, never values.

mod reach;
mod recipe;
mod render;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::desired::Desired;
use model::digest::Digest;
use model::id::{Address, Name, SnapshotId};
use model::observed::{Observed, RepositoryObservation};
use serde::{Deserialize, Serialize};

pub use self::render::{html, markdown, text};
use crate::render::{bytes, duration, time};
use crate::status::PointStatus;
use crate::whatif::{Disaster, Fate, Measured, Survival, WhatIf, names, secrets_of, what_if};

/// The oldest restic whose commands the document uses: `restore SNAPSHOT:FOLDER`.
pub const RESTIC_MIN: &str = "0.17";

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runbook {
    /// The instant of its observation.
    pub at: Timestamp,
    /// Digest of everything in it except points, times and sizes: of what a new backup does not
    /// change.
    pub shape: Digest,
    /// The points that it names, by the beginning of their ids.
    pub points: BTreeSet<String>,
    /// Its content.
    pub blocks: Vec<Block>,
}

/// A part of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Block {
    /// A heading; 1 is the document's own.
    Heading {
        /// 1 to 3.
        level: u8,
        /// Its text.
        text: String,
    },
    /// A paragraph.
    Paragraph {
        /// Its text.
        text: String,
    },
    /// What one must not miss.
    Warning {
        /// Its text.
        text: String,
    },
    /// A list; ordered where the order counts.
    List {
        /// With numbers.
        ordered: bool,
        /// Its entries.
        items: Vec<String>,
    },
    /// A table.
    Table {
        /// Its columns' heads.
        header: Vec<String>,
        /// Its rows.
        rows: Vec<Vec<String>>,
    },
    /// Lines for a POSIX shell, to be given as they are.
    Commands {
        /// The lines.
        lines: Vec<String>,
    },
}

/// What the document cannot know from an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Where each secret was found, in words, by its name; never its value.
    pub secrets: BTreeMap<String, String>,
    /// Where the config repository lies.
    pub config: String,
}

/// Writes the document.
pub fn runbook(
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
    measured: &Measured,
    around: &Surroundings,
) -> Runbook {
    let mut writer = Writer::new(desired, observed, now, measured, around);
    writer.write(true);
    let (blocks, points) = (std::mem::take(&mut writer.blocks), std::mem::take(&mut writer.points));
    // The same once more without what every backup changes.
    let mut bare = Writer::new(desired, observed, now, measured, around);
    bare.write(false);
    Runbook { at: now, shape: Digest::of("runbook", &bare.blocks), points, blocks }
}

/// Says why a document that was printed before is no longer right; empty: it is.
pub fn stale(printed: &str, runbook: &Runbook, observed: &Observed) -> Vec<String> {
    let mut why = Vec::new();
    let word = |label: &str| {
        let (_, rest) = printed.split_once(label)?;
        Some(rest.split(['\n', '<']).next().unwrap_or_default().trim().to_owned())
    };
    match word(render::SHAPE_LABEL) {
        None => why.push("it is no runbook: it has no fingerprint".to_owned()),
        Some(shape) if shape != runbook.shape.short() => {
            why.push("what is protected, or how it comes back, has changed since".to_owned());
        }
        Some(_) => {}
    }
    let there = |digits: &str| {
        observed.repositories.values().any(|seen| match seen {
            RepositoryObservation::Known { snapshots, .. } => {
                snapshots.iter().any(|s| s.id.starts_with(digits))
            }
            // What cannot be read now may still be there.
            _ => true,
        })
    };
    let points = word(render::POINTS_LABEL).unwrap_or_default();
    for digits in points.split_whitespace().filter(|digits| !there(digits)) {
        why.push(format!("the point {digits} is not there any more"));
    }
    why
}

struct Writer<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Timestamp,
    measured: &'a Measured,
    around: &'a Surroundings,
    blocks: Vec<Block>,
    points: BTreeSet<String>,
    /// The recipes by resource and repository, numbered in the order in which they are needed.
    recipes: Vec<(Address, PointStatus)>,
    /// With points, times and sizes.
    full: bool,
}

impl<'a> Writer<'a> {
    fn new(
        desired: &'a Desired,
        observed: &'a Observed,
        now: Timestamp,
        measured: &'a Measured,
        around: &'a Surroundings,
    ) -> Self {
        Self {
            desired,
            observed,
            now,
            measured,
            around,
            blocks: Vec::new(),
            points: BTreeSet::new(),
            recipes: Vec::new(),
            full: true,
        }
    }

    fn write(&mut self, full: bool) {
        self.full = full;
        self.opening();
        self.tools();
        self.passwords();
        self.repositories();
        let disasters = self.disasters();
        self.heading(2, "What to do when something is lost");
        if disasters.is_empty() {
            self.paragraph("The documents name nothing that could be lost.");
        }
        for disaster in disasters {
            self.disaster(&disaster);
        }
        self.recipes();
        self.closing();
    }

    fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.blocks.push(Block::Heading { level, text: text.into() });
    }

    fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph { text: text.into() });
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Warning { text: text.into() });
    }

    fn list(&mut self, ordered: bool, items: Vec<String>) {
        if !items.is_empty() {
            self.blocks.push(Block::List { ordered, items });
        }
    }

    /// What only counts in the full document.
    fn now_only(&self, text: String) -> String {
        if self.full { text } else { String::new() }
    }

    fn opening(&mut self) {
        self.heading(1, "Recovery runbook");
        let at = self.now_only(format!(" It was made of what was seen at {}.", seconds(self.now)));
        self.paragraph(format!(
            "How to bring back, without Mainstay, what it protects.{at} Everything here is done \
             with restic and the programs of the protected systems themselves. Keep this \
             document, and the passwords that it names, where none of what it is about can take \
             them along: on paper, or with another provider."
        ));
        let config = &self.around.config;
        self.paragraph(format!(
            "What is protected is written in the config repository {config}. If Mainstay can run, \
             it does all of this by itself: mainstay plan, then mainstay apply."
        ));
        self.list(
            true,
            vec![
                "Stop what still writes: a half-dead application must not write into restored \
                 data."
                    .to_owned(),
                "Stop every mainstay daemon, so that nothing expires while you work.".to_owned(),
                "Install the programs, and put the passwords in place (the next two chapters)."
                    .to_owned(),
                "Find the chapter of what is lost, and follow its steps in their order.".to_owned(),
                "Data is always restored beside what is there, looked at, and only then moved \
                 into its place. Do not delete what was there before people have said that all is \
                 well."
                    .to_owned(),
            ],
        );
    }

    fn tools(&mut self) {
        self.heading(2, "What to install");
        let mut items = vec![format!(
            "restic, version {RESTIC_MIN} or later: the package restic of the system, or its own \
             release. The repositories are in restic's format, version 2."
        )];
        let over_ssh: Vec<&str> = self
            .desired
            .repositories
            .values()
            .filter(|spec| reach::over_ssh(spec))
            .map(|spec| spec.name.as_str())
            .collect();
        if !over_ssh.is_empty() {
            items.push(format!("ssh, for the repositories {}", over_ssh.join(", ")));
        }
        let mut programs: BTreeMap<String, BTreeSet<&Address>> = BTreeMap::new();
        for resource in self.desired.resources.values() {
            for program in recipe::programs(resource) {
                programs.entry(program).or_default().insert(&resource.address);
            }
        }
        for (program, of) in programs {
            let names: Vec<String> = of.iter().map(ToString::to_string).collect();
            items.push(format!("{program}, for {}", names.join(", ")));
        }
        self.list(false, items);
    }

    fn passwords(&mut self) {
        self.heading(2, "Which passwords, from where");
        self.paragraph(
            "Each password below goes into a file of its name, without a line break at its end, \
             in one folder that only you can read. The commands find it by the variable SECRETS.",
        );
        self.commands(vec![
            "umask 077".to_owned(),
            "export SECRETS=\"${SECRETS:-$HOME/recovery-secrets}\"".to_owned(),
            "mkdir -p -- \"$SECRETS\"".to_owned(),
        ]);
        let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for spec in self.desired.repositories.values() {
            let what = format!("opens the repository {}", spec.name);
            uses.entry(spec.password.0.clone()).or_default().push(what);
            for secret in reach::secrets(spec) {
                let what = format!("reaches the repository {}", spec.name);
                uses.entry(secret.0.clone()).or_default().push(what);
            }
        }
        for resource in self.desired.resources.values() {
            for secret in secrets_of(&resource.agent) {
                uses.entry(secret).or_default().push(format!("reaches {}", resource.address));
            }
        }
        let rows = uses
            .into_iter()
            .map(|(secret, uses)| {
                let place = self.around.secrets.get(&secret).cloned();
                let place = place.unwrap_or_else(|| "WHERE IT LIES IS NOT KNOWN".to_owned());
                vec![secret, uses.join("; "), place]
            })
            .collect();
        let header = ["password", "what it does", "where it lies"].map(str::to_owned).to_vec();
        self.blocks.push(Block::Table { header, rows });
    }

    fn repositories(&mut self) {
        self.heading(2, "Where the copies lie");
        let rows = self
            .desired
            .repositories
            .values()
            .map(|spec| {
                let domain = &spec.failure_domain;
                let parts = [("site", &domain.site), ("host", &domain.host)];
                let more = [("account", &domain.account), ("credentials", &domain.credentials)];
                let parts = parts.into_iter().chain(more);
                let domain: Vec<String> = parts
                    .filter_map(|(word, value)| Some(format!("{word} {}", value.as_ref()?)))
                    .collect();
                let domain =
                    if domain.is_empty() { "not said".to_owned() } else { domain.join(", ") };
                let id = match self.observed.repositories.get(&spec.name) {
                    Some(RepositoryObservation::Known { id, .. }) => id.short().to_owned(),
                    _ => "could not be read".to_owned(),
                };
                let id = self.now_only(id);
                let place = reach::place(spec);
                vec![spec.name.to_string(), place, domain, id, spec.password.0.clone()]
            })
            .collect();
        let header = ["repository", "place", "fails with", "id", "password"];
        let header = header.map(str::to_owned).to_vec();
        self.blocks.push(Block::Table { header, rows });
    }

    /// Everything that can be lost, the largest first.
    fn disasters(&self) -> Vec<Disaster> {
        let names = names(self.desired);
        let mut all = Vec::new();
        let of = |kind: &str| names.get(kind).cloned().unwrap_or_default();
        let name = |text: String| text.parse::<Name>().ok();
        all.extend(of("site").into_iter().map(Disaster::Site));
        all.extend(of("cluster").into_iter().filter_map(name).map(Disaster::Cluster));
        all.extend(of("host").into_iter().filter_map(name).map(Disaster::Host));
        all.extend(of("account").into_iter().map(Disaster::Account));
        all.extend(of("repository").into_iter().filter_map(name).map(Disaster::Repository));
        all.extend(of("key").into_iter().map(Disaster::Key));
        all
    }

    fn disaster(&mut self, disaster: &Disaster) {
        let answer = what_if(self.desired, self.observed, self.now, self.measured, disaster);
        self.heading(3, format!("Lost: {}", disaster.words()));
        let with: Vec<String> = answer
            .hosts
            .iter()
            .map(|n| format!("host {n}"))
            .chain(answer.repositories.iter().map(|n| format!("repository {n}")))
            .filter(|word| *word != disaster.words())
            .collect();
        if !with.is_empty() {
            self.paragraph(format!("With it goes: {}.", with.join(", ")));
        }
        if let Disaster::Key(key) = disaster
            && !answer.repositories.is_empty()
        {
            self.paragraph(format!(
                "Without the password {key} nothing can be read from the repositories that it \
                 opens. Look in the second place where it is kept. If it is lost for good, the \
                 data there is too: make a new repository under a new password at once, and back \
                 up to it while the live data is there."
            ));
        }
        self.survivals(&answer);
        if !answer.resources.is_empty() && self.full {
            self.paragraph(format!("All of it, one after the other: {}.", time(&answer.duration)));
        }
        self.remains(&answer);
    }

    fn survivals(&mut self, answer: &WhatIf) {
        let mut items = Vec::new();
        for survival in &answer.resources {
            if !self.full {
                items.push(match (&survival.point, survival.fate) {
                    (Some(_), _) => format!("{} back", survival.resource),
                    (None, Fate::MadeAnew) => self.anew(survival),
                    (None, _) => format!("{} gone", survival.resource),
                });
                continue;
            }
            items.push(match (&survival.point, survival.fate) {
                (Some(point), _) => self.step(survival, point),
                (None, Fate::MadeAnew) => self.anew(survival),
                (None, Fate::Unknown) => {
                    let why = survival.why.clone().unwrap_or_default();
                    format!("{}: not known. {why}", survival.resource)
                }
                (None, _) => {
                    let why = survival.why.clone().unwrap_or_default();
                    format!("{}: GONE FOR GOOD. {why}", survival.resource)
                }
            });
        }
        self.list(true, items);
    }

    /// How something is made that no point brings back.
    fn anew(&self, survival: &Survival) -> String {
        let address = &survival.resource;
        let why = survival.why.clone().unwrap_or_default();
        let Some(resource) = self.desired.resources.get(address) else {
            return format!("{address}: {why}");
        };
        let lines = recipe::anew(resource);
        let how = if lines.is_empty() {
            "Only Mainstay can".to_owned()
        } else {
            format!("On {}: {}", resource.target, lines.join("; then "))
        };
        format!("{address}: {why}. {how}.")
    }

    fn step(&mut self, survival: &Survival, point: &PointStatus) -> String {
        let address = &survival.resource;
        let known =
            |(a, p): &(Address, PointStatus)| a == address && p.repository == point.repository;
        let number = match self.recipes.iter().position(known) {
            Some(at) => at + 1,
            None => {
                self.recipes.push((address.clone(), point.clone()));
                self.recipes.len()
            }
        };
        let unproven = if survival.proven { "" } else { " NOT PROVEN: look at it with care." };
        format!(
            "{address}: recipe {number}, from {}. Loses everything after {} ({}). {}, \
             {}.{unproven}",
            point.repository,
            seconds(point.taken_at),
            duration(survival.loss_s.unwrap_or(0)),
            survival.bytes.map_or("Size unknown".to_owned(), bytes),
            time(&survival.duration),
        )
    }

    fn remains(&mut self, answer: &WhatIf) {
        if !answer.unprotected.is_empty() {
            let names: Vec<String> = answer.unprotected.iter().map(ToString::to_string).collect();
            self.warning(format!(
                "The live data of {} stays, but no proven copy of it is left. Copy it somewhere \
                 before anything else.",
                names.join(", ")
            ));
        }
        if !answer.locked.is_empty() {
            let names: Vec<String> = answer.locked.iter().map(ToString::to_string).collect();
            let names = names.join(", ");
            self.paragraph(format!("Set a new password in the system itself for: {names}."));
        }
        if !answer.closed.is_empty() {
            let names: Vec<String> = answer.closed.iter().map(ToString::to_string).collect();
            self.paragraph(format!(
                "The data in these repositories is there, and nobody gets at it without the \
                 credential: {}. Have whoever runs the service make another, put it in the place \
                 of the old one, and go on.",
                names.join(", ")
            ));
        }
        let nothing = answer.resources.is_empty() && answer.unprotected.is_empty();
        if nothing && answer.locked.is_empty() && answer.closed.is_empty() {
            self.paragraph("No data is lost by it. Put something in its place and go on.");
        }
        let not_said: Vec<String> = answer.unknown_domains.iter().cloned().collect();
        if !not_said.is_empty() {
            self.paragraph(format!(
                "No document says where these are, so they are taken to survive: {}.",
                not_said.join(", ")
            ));
        }
    }

    fn recipes(&mut self) {
        self.heading(2, "Recipes");
        if !self.full {
            self.recipes = self.every_recipe();
        }
        if self.recipes.is_empty() {
            self.paragraph("There is no point to restore from.");
        }
        for (n, (address, point)) in self.recipes.clone().into_iter().enumerate() {
            let number = n + 1;
            self.heading(3, format!("Recipe {number}: {address} from {}", point.repository));
            let (Some(resource), Some(spec)) = (
                self.desired.resources.get(&address),
                self.desired.repositories.get(&point.repository),
            ) else {
                continue;
            };
            let snapshot = self.short(&point.snapshot);
            self.points.insert(snapshot.clone());
            let snapshot = if self.full { snapshot } else { "POINT".to_owned() };
            let mut lines = reach::exports(spec);
            lines.push(format!("restic snapshots {snapshot}"));
            let recipe = recipe::recipe(resource, &snapshot);
            lines.extend(recipe.lines);
            // Before the commands, which would not reach the repository without.
            for note in reach::notes(spec) {
                self.paragraph(note);
            }
            self.commands(lines);
            for note in recipe.notes {
                self.paragraph(note);
            }
            self.paragraph(format!(
                "A newer or an older point: restic snapshots --tag mainstay:resource={address}"
            ));
        }
    }

    /// Every resource from every repository that it is backed up to: the shape must not change with
    /// which of them has the newest point just now.
    fn every_recipe(&self) -> Vec<(Address, PointStatus)> {
        let pairs: BTreeSet<(&Address, &Name)> = self
            .desired
            .backups
            .values()
            .flat_map(|b| {
                b.resources.iter().flat_map(|a| b.repositories.iter().map(move |r| (a, r)))
            })
            .collect();
        let snapshot = SnapshotId::from("POINT");
        let point = |repository: &Name| PointStatus {
            repository: repository.clone(),
            snapshot: snapshot.clone(),
            taken_at: self.now,
        };
        pairs.into_iter().map(|(address, name)| (address.clone(), point(name))).collect()
    }

    fn commands(&mut self, lines: Vec<String>) {
        self.blocks.push(Block::Commands { lines });
    }

    fn closing(&mut self) {
        self.heading(2, "Afterwards");
        self.list(
            true,
            vec![
                "Let the applications' own people say that all is well.".to_owned(),
                "Change every password that may have been seen.".to_owned(),
                "Start Mainstay with an empty state: it reads what the repositories say, and asks \
                 before it does anything that could harm. mainstay plan shows it."
                    .to_owned(),
            ],
        );
    }

    /// The shortest beginning of an id, of at least eight digits, that no other point shares.
    fn short(&self, id: &SnapshotId) -> String {
        let others = |digits: &str| {
            self.observed.repositories.values().any(|seen| match seen {
                RepositoryObservation::Known { snapshots, .. } => {
                    snapshots.iter().any(|s| s.id != *id && s.id.starts_with(digits))
                }
                _ => false,
            })
        };
        let text = id.to_string();
        let fits = (8..text.len()).filter_map(|n| text.get(..n)).find(|digits| !others(digits));
        fits.unwrap_or(&text).to_owned()
    }
}

/// An instant to the second: more is no use on paper.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
