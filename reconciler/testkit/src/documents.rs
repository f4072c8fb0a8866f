//! What a simulated config repository asks for, as a small value that the checks can read and that
//! is written out as the YAML that a user would write.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::id::Address;

use crate::world::things::Kind;

/// The one application of the simulated world.
pub const APPLICATION: &str = "shop";
/// A text that must never leave the config repository.
pub const SECRET: &str = "correct-horse-battery-staple";

/// A protected thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceDoc {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// It depends on the resource before it.
    pub dependent: bool,
}

/// How points are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// After each backup.
    Each,
    /// The newest again after some hours.
    Again(u64),
    /// Never.
    Never,
}

/// A restore that git asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryDoc {
    /// Its name.
    pub name: String,
    /// The resource's name.
    pub resource: String,
    /// Its token.
    pub token: String,
    /// Into another place.
    pub elsewhere: bool,
    /// `repeat: Always`, with newer data acknowledged.
    pub repeats: bool,
}

/// What happens to a recovery that nobody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on waiting.
    Wait,
    /// It is committed after so many hours.
    Commit(u64),
    /// It is rolled back after so many hours.
    Rollback(u64),
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// Protected things.
    pub resources: Vec<ResourceDoc>,
    /// Repositories by name, with their pinned ids.
    pub repositories: Vec<(String, Option<String>)>,
    /// Hours between backups.
    pub every_h: u64,
    /// How many points are kept; `None`: all.
    pub keep_last: Option<u32>,
    /// How points are proven.
    pub proof: Proof,
    /// Answers to conditions, by the words of the documents.
    pub answers: BTreeMap<String, String>,
    /// What ends a recovery.
    pub then: Then,
    /// Restores over live data a day, at the most.
    pub restores_a_day: Option<u32>,
    /// Snapshots forgotten in a run, at the most.
    pub expiries_a_run: Option<u32>,
    /// Restores that git asks for.
    pub recoveries: Vec<RecoveryDoc>,
    /// Tokens of backups asked for by git.
    pub triggers: Vec<String>,
    /// A stop on everything.
    pub held: bool,
}

/// Returns where the thing of a resource lies.
pub fn place(name: &str) -> String {
    format!("/srv/{name}")
}

/// Returns where a recovery into another place puts it.
pub fn other_place(recovery: &str) -> String {
    format!("/other/{recovery}")
}

/// Returns where a repository lies.
pub fn store(name: &str) -> String {
    format!("/stores/{name}")
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Folder => "directory",
        Kind::File => "sqlite",
        Kind::Server => "postgres",
    }
}

fn with(kind: Kind, place: &str) -> String {
    match kind {
        Kind::Folder | Kind::File => format!("{{ path: {place} }}"),
        Kind::Server => format!("{{ database: {place} }}"),
    }
}

impl Documents {
    /// Returns the address of a resource.
    pub fn address(name: &str) -> String {
        format!("{APPLICATION}/{name}")
    }

    /// Returns the resource that lies at a place.
    pub fn resource_at(&self, at: &str) -> Option<&ResourceDoc> {
        self.resources.iter().find(|resource| place(&resource.name) == at)
    }

    /// Returns whether a resource depends on another one, at once or through others.
    pub fn depends(&self, resource: &Address, on: &Address) -> bool {
        self.stands_on(resource.resource.as_str(), on.resource.as_str())
    }

    /// As [`Self::depends`], by the names of resources.
    pub fn stands_on(&self, resource: &str, on: &str) -> bool {
        let at = |name: &str| self.resources.iter().position(|resource| resource.name == name);
        let (Some(last), Some(first)) = (at(resource), at(on)) else { return false };
        first < last && self.resources[first + 1..=last].iter().all(|r| r.dependent)
    }

    /// Returns the answer to a condition.
    pub fn answer(&self, condition: &str) -> &str {
        self.answers.get(condition).map_or("hold", String::as_str)
    }

    /// Returns the files of a commit.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("mainstay.yaml".to_owned(), self.text().into_bytes()),
            ("secrets/store-password.txt".to_owned(), SECRET.as_bytes().to_vec()),
        ])
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut document = |kind: &str, name: &str, spec: String| {
            let _ = write!(
                text,
                "---\napiVersion: mainstay.dev/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\n\
                 spec:\n{spec}"
            );
        };
        document("Host", "here", "  connection: local\n".to_owned());
        for (name, id) in &self.repositories {
            let mut spec = format!(
                "  storage: {{ local: {{ path: {} }} }}\n  password: {{ secret: {name} }}\n",
                store(name)
            );
            if let Some(id) = id {
                let _ = writeln!(spec, "  id: {id}");
            }
            document("Repository", name, spec);
        }
        document("Application", APPLICATION, self.application());
        document("Backup", "all", self.backup());
        if !self.answers.is_empty() {
            document("RecoveryPolicy", "answers", self.policy());
        }
        if self.restores_a_day.is_some() || self.expiries_a_run.is_some() {
            document("Guardrail", "limits", self.guardrail());
        }
        for recovery in &self.recoveries {
            document("Recovery", &recovery.name, self.recovery(recovery));
        }
        for token in &self.triggers {
            document("Trigger", token, format!("  backup: all\n  token: {token}\n"));
        }
        if self.held {
            let spec = "  scope: all\n  owner: ops\n  reason: a person looks at it\n";
            document("Hold", "stop", spec.to_owned());
        }
        text
    }

    fn application(&self) -> String {
        let mut spec = "  resources:\n".to_owned();
        for (at, resource) in self.resources.iter().enumerate() {
            let (name, kind) = (&resource.name, kind_word(resource.kind));
            let with = with(resource.kind, &place(name));
            let _ = write!(
                spec,
                "    - name: {name}\n      type: {kind}\n      target: host/here\n      \
                 with: {with}\n"
            );
            if let (true, Some(before)) = (resource.dependent, at.checked_sub(1)) {
                let _ = writeln!(spec, "      dependsOn: [{}]", self.resources[before].name);
            }
        }
        spec
    }

    fn backup(&self) -> String {
        let names: Vec<&str> = self.repositories.iter().map(|(name, _)| name.as_str()).collect();
        let mut spec = format!(
            "  select: {{ application: {APPLICATION} }}\n  schedule: \"@every {}h\"\n  \
             repositories: [{}]\n",
            self.every_h,
            names.join(", ")
        );
        if let Some(last) = self.keep_last {
            let _ = writeln!(spec, "  retention: {{ last: {last} }}");
        }
        match self.proof {
            Proof::Each => {}
            Proof::Again(hours) => {
                let _ = writeln!(spec, "  verify: {{ afterBackup: false, againAfter: {hours}h }}");
            }
            Proof::Never => spec.push_str("  verify: { afterBackup: false, againAfter: never }\n"),
        }
        spec
    }

    fn policy(&self) -> String {
        let answers: Vec<String> =
            self.answers.iter().map(|(on, answer)| format!("{on}: {answer}")).collect();
        let mut spec = format!("  responses: {{ {} }}\n", answers.join(", "));
        match self.then {
            Then::Wait => {}
            Then::Commit(hours) => {
                let _ = write!(spec, "  commitAfter: {hours}h\n  then: commit\n");
            }
            Then::Rollback(hours) => {
                let _ = write!(spec, "  commitAfter: {hours}h\n  then: rollback\n");
            }
        }
        spec
    }

    fn guardrail(&self) -> String {
        let mut spec = String::new();
        if let Some(most) = self.restores_a_day {
            let _ = writeln!(spec, "  restoreOver: {{ perDay: {most} }}");
        }
        if let Some(most) = self.expiries_a_run {
            let _ = writeln!(spec, "  expire: {{ perRun: {most} }}");
        }
        spec
    }

    fn recovery(&self, recovery: &RecoveryDoc) -> String {
        let RecoveryDoc { name, resource, token, elsewhere, repeats } = recovery;
        let mut spec =
            format!("  resource: {}\n  point: latest\n  token: {token}\n", Self::address(resource));
        let kind = self.resources.iter().find(|r| r.name == *resource).map(|r| r.kind);
        if let (true, Some(kind)) = (*elsewhere, kind) {
            let _ = writeln!(spec, "  into: {{ with: {} }}", with(kind, &other_place(name)));
        }
        if *repeats {
            spec.push_str("  repeat: Always\n  acknowledgesNewerData: true\n");
        }
        spec
    }
}
