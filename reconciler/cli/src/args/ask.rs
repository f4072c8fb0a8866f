//! Arguments of the commands that ask and change nothing: `bundle`, `whatif`, `retention`,
//! `runbook`, `scenario`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The file holds what was observed, what the documents ask for and what was done lately; references
to secrets, never secrets. A resource or application with the label `mainstay.dev/private: \
                        \"path\"`
keeps the values of these parameters at home. Read it anywhere with --from-bundle.

Examples:
  mainstay bundle -o today.bundle
  mainstay plan --from-bundle today.bundle
Exit codes: 0 made, 4 made, but something could not be observed, 1 error, 64 wrong usage")]
pub struct BundleArgs {
    /// The file; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "mainstay.bundle")]
    pub output: PathBuf,
}

/// Where a question is asked.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct FromBundle {
    /// Ask a bundle instead of the world: no network, no targets, no secrets
    #[arg(long, value_name = "FILE", global = true)]
    pub from_bundle: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mainstay whatif lose site berlin
  mainstay whatif lose key repository-password
  mainstay whatif schedules --days 7
  mainstay whatif policy --config changed --from-bundle today.bundle")]
pub struct WhatIfArgs {
    #[command(subcommand)]
    pub question: Question,
    #[command(flatten)]
    pub from: FromBundle,
}

/// A question.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Something is lost: what comes back, from where, in which order, how old, how long
    #[command(after_help = "\
Example: mainstay whatif lose host web-1 --from-bundle today.bundle
Exit codes: 0 everything comes back from proven points, 2 something does not,
            4 some repository could not be read, 1 error, 64 wrong usage")]
    Lose {
        /// What
        what: What,
        /// Its name in the documents; of a key, the name of the secret
        name: String,
    },
    /// The next days of all schedules: load by repository, host and link
    #[command(after_help = "Example: mainstay whatif schedules --days 7 --format json")]
    Schedules {
        /// How many days
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: u32,
    },
    /// Changed documents: the plan under them, and how it differs from the present one
    #[command(after_help = "\
Example: mainstay whatif policy changed/ --from-bundle today.bundle
Exit codes: 0 the plans do not differ, 2 they do, 3 destructive steps come with it,
            1 error or not valid, 64 wrong usage")]
    Policy {
        /// The folder of the changed documents, committed or not; that of --config by default
        dir: Option<PathBuf>,
        /// The whole plan under the changed documents as well
        #[arg(long)]
        plan: bool,
    },
}

/// What can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A building or region
    Site,
    /// A machine
    Host,
    /// A cluster
    Cluster,
    /// A repository
    Repository,
    /// An account at a provider
    Account,
    /// Credentials: who holds them deletes what they reach
    Credentials,
    /// A password: what it encrypts cannot be read any more
    Key,
}

impl What {
    /// Returns the word as the documents' names are listed by it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::Repository => "repository",
            Self::Account => "account",
            Self::Credentials => "credentials",
            Self::Key => "key",
        }
    }
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay retention simulate gfs-standard --years 3")]
pub struct RetentionArgs {
    #[command(subcommand)]
    pub command: RetentionCommand,
}

/// Work on retention policies.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Let a policy play out: what is kept when and why, how far back one can always go, and where
    /// restic would keep other points
    #[command(after_help = "\
Needs no targets and no secrets. Policies of --config are known if there is one; those that come \
                            with
the program always are (`mainstay templates show retention`).

Examples:
  mainstay retention simulate gfs-standard
  mainstay retention simulate '{hourly: 48, daily: 14}' --schedule '@every 1h' --tz Europe/Berlin")]
    Simulate {
        /// The name of a RetentionPolicy, or rules as in a Backup
        policy: String,
        /// How many years
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
        years: u32,
        /// When backups are made: cron, `@every 6h` or the name of a Schedule
        #[arg(long, default_value = "0 2 * * *", value_name = "CRON")]
        schedule: String,
        /// The time zone of schedule, policy and restic's machine; what they say themselves, and
        /// UTC for restic, by default
        #[arg(long, value_name = "ZONE")]
        tz: Option<String>,
        /// When it begins (RFC 3339); now by default
        #[arg(long, value_name = "INSTANT")]
        from: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Print it and keep it where no site, host or account of it can take it along. In CI or cron, make it
anew when it is stale:

  mainstay runbook --check runbook.md || mainstay runbook -o runbook.md

Examples:
  mainstay runbook --as html -o runbook.html
  mainstay runbook --from-bundle today.bundle
Exit codes: 0 done; --check: it is right, 2 --check: it is stale, 1 error, 64 wrong usage")]
pub struct RunbookArgs {
    /// The file; standard output by default
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What it looks like
    #[arg(long = "as", value_enum, default_value_t = Paper::Markdown)]
    pub paper: Paper,
    /// Only say whether this file is still right, whatever it looks like
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub check: Option<PathBuf>,
    #[command(flatten)]
    pub from: FromBundle,
}

/// What a document looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Paper {
    /// Markdown
    Markdown,
    /// One HTML page, fit for printing
    Html,
    /// Plain text
    Text,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay scenario run docs/scenarios/*.md")]
pub struct ScenarioArgs {
    #[command(subcommand)]
    pub command: ScenarioCommand,
}

/// Work on scenarios.
#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// Run scenario pages on the planner alone and compare what they print
    #[command(after_help = "\
A page says what is written in the config repository, what is there, and what the planner makes of
it. Nothing is read or written but the pages. A bug report about a plan is best such a page.

Example: mainstay scenario run docs/scenarios/rolled-back.md --update
Exit codes: 0 every output is as the page says, 1 some is not, or a promise is broken,
            64 wrong usage")]
    Run {
        /// The pages
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Write the output that came into the pages
        #[arg(long)]
        update: bool,
    },
}
