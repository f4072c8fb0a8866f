//! The arguments of all commands. Help texts end with an example and, where codes matter, the
//! codes.

mod ask;
mod repository;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use self::ask::{
    BundleArgs, FromBundle, Paper, Question, RetentionArgs, RetentionCommand, RunbookArgs,
    ScenarioArgs, ScenarioCommand, WhatIfArgs,
};
pub use self::repository::*;
use crate::exit::Exit;

/// Keep systems recoverable: backup and disaster recovery from policies in git.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Begin with:  mainstay demo     (shows everything, in a folder of its own)
        or:  mainstay init     (writes a small config repository)

Exit codes: 0 done or nothing to do, 1 error or partial, 2 changes, 3 approval needed,
            4 observation incomplete, 64 wrong usage")]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, ClapArgs)]
pub struct Global {
    /// The config repository: a folder in git, or a URL (`https://`, `ssh://`, `file://`)
    #[arg(short = 'C', long, global = true, env = "MAINSTAY_CONFIG", default_value = ".")]
    pub config: String,
    /// Branch or tag; the current one by default
    #[arg(long, global = true, env = "MAINSTAY_REF", value_name = "REF")]
    pub r#ref: Option<String>,
    /// Folder of the documents inside the config repository
    #[arg(long, global = true, env = "MAINSTAY_SUBFOLDER", value_name = "PATH")]
    pub subfolder: Option<String>,
    /// Where Mainstay keeps its own state [default: mainstay in the XDG state folder]
    #[arg(long, global = true, env = "MAINSTAY_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Folder with one file per secret [default: mainstay/secrets in the XDG config folder]
    #[arg(long, global = true, env = "MAINSTAY_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// Identity file for age-encrypted secrets in the config repository
    #[arg(long, global = true, env = "MAINSTAY_AGE_IDENTITY", value_name = "FILE")]
    pub age_identity: Option<PathBuf>,
    /// What data looks like
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Log more: -v steps, -vv details, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What data looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything on this machine: back up, destroy, notice, bring back, prove
    Demo(DemoArgs),
    /// Write a small commented config repository to start from
    Init(InitArgs),
    /// Check the documents and report everything that is wrong
    Validate(ValidateArgs),
    /// Show what would be done, and why
    Plan(PlanArgs),
    /// Print the dependency graph
    Graph(GraphArgs),
    /// Do what the plan says; ask before destructive steps
    Apply(ApplyArgs),
    /// Pull, plan and apply for ever, without a person
    Daemon(DaemonArgs),
    /// Show what is protected, how well, and what is wrong
    Status(StatusArgs),
    /// List the recovery points
    Snapshots(SnapshotsArgs),
    /// List what was done
    History(HistoryArgs),
    /// Say why something was or was not done
    Explain(ExplainArgs),
    /// Back resources up now, without editing git
    Backup(BackupArgs),
    /// Write a recovery point, or some paths of it, into a folder
    Restore(RestoreArgs),
    /// List the files of a recovery point
    Ls(LsArgs),
    /// Find files in all recovery points
    Find(FindArgs),
    /// Compare two recovery points
    Diff(DiffArgs),
    /// Write one file of a recovery point to standard output
    Dump(DumpArgs),
    /// Keep what a recovery brought back, and remove the old data that was put aside
    Commit(EndArgs),
    /// Undo a recovery: put the old data back
    Rollback(EndArgs),
    /// Approve destructive steps by their digest
    Approve(ApproveArgs),
    /// Stop a scope, or let it go on
    Hold(HoldArgs),
    /// Accept that something went back in time: git, our state, a clock
    Accept(AcceptArgs),
    /// Work on a repository itself: check, prune, keys, copy and more
    Repository(RepositoryArgs),
    /// Save what planning needs into one file, to plan and ask elsewhere
    Bundle(BundleArgs),
    /// Ask what a loss would leave, what the schedules bring, what changed documents would do
    #[command(name = "whatif")]
    WhatIf(WhatIfArgs),
    /// Let a retention policy play out over years
    Retention(RetentionArgs),
    /// Write how everything is brought back without Mainstay, to be printed
    Runbook(RunbookArgs),
    /// Run scenario pages: tests of the planner that people can read
    Scenario(ScenarioArgs),
    /// Print the JSON Schema of a kind
    Schema(SchemaArgs),
    /// List or show the built-in templates and policies
    Templates(TemplatesArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print the version
    Version,
    /// Used by templates
    #[command(hide = true, disable_help_flag = true)]
    Tool(ToolArgs),
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay demo --dir /tmp/try")]
pub struct DemoArgs {
    /// The folder of the demo; made anew
    #[arg(long, default_value = "mainstay-demo")]
    pub dir: PathBuf,
    /// With an installed PostgreSQL as well
    #[arg(long)]
    pub postgres: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay init backup-policies")]
pub struct InitArgs {
    /// Where; must be empty or not exist
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Needs no network, no targets and no secrets, except with a URL.

Example: mainstay validate policies --output sarif > mainstay.sarif
Exit codes: 0 valid, 1 not valid, 64 wrong usage")]
pub struct ValidateArgs {
    /// A folder; its files as they are, committed or not
    pub dir: Option<PathBuf>,
    /// A git repository instead
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    pub git: Option<String>,
    /// What the findings look like
    #[arg(long, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

/// What findings look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// Source line and mark
    Text,
    /// Versioned JSON
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// JUnit XML
    Junit,
    /// GitHub workflow annotations
    Github,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay plan --out plan.json
Exit codes: 0 nothing to do, 2 changes, 3 destructive steps wait for approval,
            4 observation incomplete, 1 error, 64 wrong usage")]
pub struct PlanArgs {
    /// Save the plan for `mainstay apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only these resources and what they need
    #[arg(long, value_name = "ADDRESS")]
    pub only: Vec<String>,
    /// As Markdown, for a pull request
    #[arg(long)]
    pub markdown: bool,
    /// Make the plan of a bundle, for its instant: no network, no targets, no secrets
    #[arg(long, value_name = "FILE")]
    pub from_bundle: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay graph --as mermaid")]
pub struct GraphArgs {
    /// The notation
    #[arg(long = "as", value_enum, default_value_t = Notation::Text)]
    pub notation: Notation,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Notation {
    /// Indented text
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay apply --only shop/orders
Exit codes: 0 all done, 1 something failed or was partial, 2 some steps still wait,
            3 destructive steps wait for approval, 4 something could not be observed,
            64 wrong usage")]
pub struct ApplyArgs {
    /// A saved plan; without it one is made now
    pub plan: Option<PathBuf>,
    /// Only these resources and what they need
    #[arg(long, value_name = "ADDRESS")]
    pub only: Vec<String>,
    /// Approve the destructive steps with this digest
    #[arg(long, value_name = "DIGEST")]
    pub approve: Vec<String>,
    /// Do not ask: steps that need approval wait
    #[arg(long)]
    pub no_input: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay daemon -C https://git.example/ops/policies --interval \
                        60s
SIGTERM ends cleanly, a second one at once. MAINSTAY_LOG sets the log filter.")]
pub struct DaemonArgs {
    /// Time between passes
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    pub interval: String,
    /// Where health and metrics are served; `none` for nowhere
    #[arg(long, default_value = "127.0.0.1:9137", value_name = "ADDRESS")]
    pub listen: String,
    /// Keep this file a runbook that is right: it is written anew when what is protected, how it
    /// comes back, or a point that it names changes; `.html` and `.txt` say what it looks like
    #[arg(long, value_name = "FILE")]
    pub runbook: Option<PathBuf>,
    /// End after so many passes
    #[arg(long, hide = true)]
    pub passes: Option<u64>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay status
Exit codes: 0 all is well, 2 something needs attention, 4 observation incomplete, 1 error")]
pub struct StatusArgs {
    /// Only these resources
    pub only: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay snapshots shop/orders")]
pub struct SnapshotsArgs {
    /// Only these resources
    pub only: Vec<String>,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay history shop/orders --count 50")]
pub struct HistoryArgs {
    /// Only this resource
    pub address: Option<String>,
    /// How many records
    #[arg(long, default_value_t = 100)]
    pub count: usize,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay explain backup/shop/orders/local")]
pub struct ExplainArgs {
    /// A step's id, a snapshot's id or a resource's address
    pub subject: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay backup shop/orders")]
pub struct BackupArgs {
    /// What
    #[arg(required = true)]
    pub addresses: Vec<String>,
}

/// A repository without a config repository: in a disaster that may be all there is.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Direct {
    /// The repository: a name in the configuration, or with --password-file a place
    ///
    /// A place is a folder, or a storage service as restic names it, with its credentials in the
    /// variables that restic reads: s3:https://host/bucket/prefix, gs:bucket:/prefix,
    /// azure:container:/prefix, rest:https://host/path, sftp:user@host:/path.
    #[arg(long, visible_alias = "repo", global = true, value_name = "NAME|PLACE")]
    #[arg(env = "MAINSTAY_REPOSITORY")]
    pub repository: Option<String>,
    /// The repository's password
    #[arg(long, global = true, value_name = "FILE", env = "MAINSTAY_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  mainstay restore shop/uploads --to /tmp/back
  mainstay restore 1f3a9c42 /srv/shop/uploads/a.jpg --to /tmp/back \\
      --repository /mnt/usb/backup --password-file password.txt")]
pub struct RestoreArgs {
    /// An address (its newest point), a snapshot's id, or `latest`
    pub what: String,
    /// Only these paths
    pub paths: Vec<String>,
    /// The folder; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The newest point at or before this instant (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    pub at: Option<String>,
    /// Only show what would be written
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay ls shop/uploads /srv/shop/uploads/2026")]
pub struct LsArgs {
    /// An address, a snapshot's id, or `latest`
    pub what: String,
    /// Below this path
    pub path: Option<String>,
    /// With mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay find '*.jpg' --in shop/uploads")]
pub struct FindArgs {
    /// A pattern with `*` and `?`, matched against the file name, or the path if it has a `/`
    pub pattern: String,
    /// Only in points of this resource
    #[arg(long = "in", value_name = "ADDRESS")]
    pub address: Option<String>,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay diff 1f3a9c42 88d0e1b7")]
pub struct DiffArgs {
    /// The older point
    pub from: String,
    /// The newer point
    pub to: String,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay dump shop/orders orders.db > orders.db")]
pub struct DumpArgs {
    /// An address, a snapshot's id, or `latest`
    pub what: String,
    /// The file in it; a folder is written as a tar archive, `/` is all of it
    pub path: String,
    #[command(flatten)]
    pub direct: Direct,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay commit shop/orders")]
pub struct EndArgs {
    /// The resource
    pub address: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  mainstay approve 4f1d22aa93c0
  mainstay approve 4f1d22aa93c0 --step restore/shop/orders")]
pub struct ApproveArgs {
    /// The digest that `mainstay plan` prints, or its beginning
    pub digest: String,
    /// Only this destructive step of the plan, as it is now; may be given several times
    #[arg(long = "step", value_name = "STEP")]
    pub steps: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  mainstay hold migration --on shop --reason 'moving to new disks' --for 2h
  mainstay hold migration --release")]
pub struct HoldArgs {
    /// Its name
    pub name: String,
    /// `all`, an application, an address, or `repository/NAME`
    #[arg(long, value_name = "SCOPE", default_value = "all")]
    pub on: String,
    /// Why
    #[arg(long, required_unless_present = "release")]
    pub reason: Option<String>,
    /// Ends by itself after this time
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<String>,
    /// End the hold
    #[arg(long)]
    pub release: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay accept commit:9fceb02d0ae598e95dc970b74767f19372d61af8")]
pub struct AcceptArgs {
    /// The text that `mainstay plan` prints
    pub alarm: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay schema Backup > backup.schema.json")]
pub struct SchemaArgs {
    /// The kind; without it all kinds are listed
    pub kind: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay templates show postgres")]
pub struct TemplatesArgs {
    #[command(subcommand)]
    pub command: TemplatesCommand,
}

/// Built-in documents.
#[derive(Debug, Subcommand)]
pub enum TemplatesCommand {
    /// List them
    List,
    /// Print one, to read or to copy
    Show {
        /// Its name
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: mainstay completions bash > /etc/bash_completion.d/mainstay")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub struct ToolArgs {
    /// Passed on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Parses the process's arguments. Wrong usage ends with 64, help and version with 0.
pub fn parse() -> Result<Args, ExitCode> {
    Args::try_parse().map_err(|error| {
        // Clap prints help to standard output and errors to standard error by itself.
        drop(error.print());
        if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
    })
}
