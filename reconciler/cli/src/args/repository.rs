//! The arguments of `mainstay repository`: everything that can be done with a repository by hand,
//! with a config repository or with nothing but the repository and its password.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DiffArgs, Direct, DumpArgs, FindArgs, LsArgs};

#[derive(Debug, Args)]
#[command(after_help = "A repository is a name in the configuration, or a place with \
                        --password-file. Any repository of restic's format will do.

Example: mainstay repository check --read-data --repo /mnt/usb/backup --password-file pass.txt")]
pub struct RepositoryArgs {
    #[command(subcommand)]
    pub command: RepositoryCommand,
    #[command(flatten)]
    pub direct: Direct,
    #[command(flatten)]
    pub access: Access,
}

/// How a repository is used.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// Wait so long for the locks of others
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s")]
    pub retry_lock: String,
    /// Write nothing, not even a lock: for storage that can only be read
    #[arg(long, global = true)]
    pub no_lock: bool,
    /// Neither use nor keep copies of what lies on a storage service
    #[arg(long, global = true)]
    pub no_cache: bool,
}

/// Work on a repository itself.
#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Make a repository in an empty place
    #[command(after_help = "Example: mainstay repository init --repo /mnt/usb/backup \
                            --password-file password.txt")]
    Init,
    /// List the snapshots, foreign ones included
    #[command(visible_alias = "snapshots")]
    List(ListArgs),
    /// List the files of a snapshot
    Ls(LsArgs),
    /// Find files in all snapshots
    Find(FindArgs),
    /// Compare two snapshots
    Diff(DiffArgs),
    /// Write a file of a snapshot, or a folder as a tar archive, to standard output
    Dump(DumpArgs),
    /// Show all snapshots as folders, by time, resource and host, until Ctrl-C
    Mount(MountArgs),
    /// List or remove the copies that this machine keeps of what lies on storage services
    Cache(CacheArgs),
    /// Check that everything is there and whole
    Check(CheckArgs),
    /// Remove snapshots by id or by rule; their data goes with the next prune
    Forget(ForgetArgs),
    /// Remove stored data that no snapshot needs
    Prune(PruneArgs),
    /// Copy snapshots into another repository, under its own key
    Copy(CopyArgs),
    /// Passwords: list, add, remove, change
    Key(KeyArgs),
    /// Mend what damage left: the index, packs, snapshots
    Repair(RepairArgs),
    /// Sizes
    Stats(StatsArgs),
    /// Change tags, host or time of snapshots
    #[command(visible_alias = "rewrite")]
    Tag(TagArgs),
    /// Put foreign snapshots under a resource's address
    Adopt(AdoptArgs),
    /// Remove locks that a dead process left
    Unlock(UnlockArgs),
    /// Migrate a repository of version 1 to version 2
    #[command(after_help = "Example: mainstay repository migrate --repository local")]
    Migrate,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: mainstay repository list --host web-1 --tag nightly")]
pub struct ListArgs {
    #[command(flatten)]
    pub filter: Filter,
}

/// Which snapshots.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Only of this resource
    #[arg(long = "of", value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Only of this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only of this path
    #[arg(long, value_name = "PATH")]
    pub path: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "The snapshots are those of the moment of mounting. The kernel's FUSE is \
                        needed, and root or the program fusermount3 (package fuse3).

Example: mainstay repository mount /mnt/points --repository local")]
pub struct MountArgs {
    /// An empty folder
    pub folder: PathBuf,
    #[command(flatten)]
    pub filter: Filter,
    /// Let other users look too, each at what the files' own permissions allow
    #[arg(long)]
    pub allow_other: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Copies are of indexes, snapshots and folder trees, encrypted as they are \
                        stored. They save requests; losing them costs time only.

Examples:
  mainstay repository cache
  mainstay repository cache --clear")]
pub struct CacheArgs {
    /// Remove the copies
    #[arg(long)]
    pub clear: bool,
    /// Only of the repository of this id
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mainstay repository check
  mainstay repository check --part 3/7      (each day of the week another seventh)
  mainstay repository check --read-data --snapshot 1f3a9c42
Exit codes: 0 whole, 1 damaged, or it could not be looked at")]
pub struct CheckArgs {
    /// Read all stored data again
    #[arg(long, conflicts_with = "part")]
    pub read_data: bool,
    /// Read one part of the stored data again
    #[arg(long, value_name = "N/M")]
    pub part: Option<String>,
    /// Only what this snapshot needs
    #[arg(long, value_name = "ID")]
    pub snapshot: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Snapshots are judged in groups: those of one resource, or of one host \
                        and one set of paths. `docs/semantics.md` has the rules.

Examples:
  mainstay repository forget 1f3a9c42
  mainstay repository forget --keep-daily 7 --keep-weekly 4 --dry-run")]
pub struct ForgetArgs {
    /// These snapshots
    pub ids: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Keep the newest ones
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each hour
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each day
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each week
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each month
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each year
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep everything of the last so much time
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<String>,
    /// Keep everything with this tag
    #[arg(long, value_name = "TAG")]
    pub keep_tag: Vec<String>,
    /// Also where a resource, or a host's paths, would have none left
    #[arg(long)]
    pub last_too: bool,
    /// Only show what would be removed, and why the rest stays
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Works in two steps: what is not needed is marked, and removed by a later \
                        prune once the grace period is over. The marks are kept in the state \
                        folder.

Examples:
  mainstay repository prune --dry-run
  mainstay repository prune --max-repack 2GiB
  mainstay repository prune --grace 0s      (all writers honour locks, as restic does)")]
pub struct PruneArgs {
    /// How long marked data waits before it is removed, so that writers without locks stay safe
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    pub grace: String,
    /// Waste that may stay inside packs, in percent of what is used
    #[arg(long, default_value_t = 5, value_name = "PERCENT")]
    pub max_waste: u32,
    /// Write at most so much anew
    #[arg(long, value_name = "SIZE")]
    pub max_repack: Option<String>,
    /// Only say what would be freed
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Only what the other lacks is read; what is compressed is not compressed \
                        again. A second run copies what came since.

Example: mainstay repository copy --repository local --to offsite")]
pub struct CopyArgs {
    /// These snapshots; without any, all
    pub ids: Vec<String>,
    /// The other repository: a name in the configuration, or a place with --to-password-file
    #[arg(long, value_name = "NAME|PLACE")]
    pub to: String,
    /// The other repository's password
    #[arg(long, value_name = "FILE")]
    pub to_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub filter: Filter,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: mainstay repository key passwd --new-password-file new.txt")]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// Passwords.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    List,
    /// Add a password
    Add {
        /// The password to add
        #[arg(long, value_name = "FILE")]
        new_password_file: PathBuf,
    },
    /// Remove a key; the one in use stays
    Remove {
        /// Its id, or the beginning of it
        id: String,
    },
    /// Replace the password in use by another
    Passwd {
        /// The password that takes its place
        #[arg(long, value_name = "FILE")]
        new_password_file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "After damage, in this order:
  mainstay repository check --read-data          names what is wrong
  mainstay repository repair index               where the index is damaged or names what is gone
  mainstay repository repair packs PACK…         saves what is whole, names what is lost
  mainstay backup …                              may bring lost pieces back
  mainstay repository repair snapshots --forget  the snapshots without what is lost")]
pub struct RepairArgs {
    #[command(subcommand)]
    pub command: RepairCommand,
}

/// What is mended.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Make the index anew from the packs
    Index {
        /// Read the headers of all packs, whatever the index says
        #[arg(long)]
        read_all_packs: bool,
    },
    /// Save what is whole in damaged packs, and remove them
    Packs {
        /// The packs, as `check` names them; without any, all that a reading of everything finds
        ids: Vec<String>,
        /// Where the damaged packs are put before they are removed
        #[arg(long, value_name = "DIR", default_value = "damaged-packs")]
        aside: PathBuf,
    },
    /// Write snapshots that lack something anew without it
    Snapshots {
        /// These; without any, all
        ids: Vec<String>,
        /// Remove the originals
        #[arg(long)]
        forget: bool,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example: mainstay repository stats --by-snapshot")]
pub struct StatsArgs {
    /// What each snapshot restores, needs, and needs alone
    #[arg(long)]
    pub by_snapshot: bool,
    #[command(flatten)]
    pub filter: Filter,
}

#[derive(Debug, Args)]
#[command(after_help = "The content stays the same; the ids change, and the first one is kept as \
                        `original`.

Example: mainstay repository tag --add keep 1f3a9c42")]
pub struct TagArgs {
    /// These snapshots
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// Give them a tag
    #[arg(long, value_name = "TAG")]
    pub add: Vec<String>,
    /// Take a tag from them
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    /// Give them another host
    #[arg(long, value_name = "NAME")]
    pub set_host: Option<String>,
    /// Give them another time (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    pub set_time: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "The snapshots count as the resource's own points from then on: restores \
                        find them by the address. They are no proof of anything until they are \
                        verified.

Example: mainstay repository adopt --as shop/uploads --path /srv/uploads --host web-1")]
pub struct AdoptArgs {
    /// These snapshots; without any, all that the filter leaves and that have no address
    pub ids: Vec<String>,
    /// The resource
    #[arg(long = "as", value_name = "ADDRESS")]
    pub resource: String,
    #[command(flatten)]
    pub filter: Filter,
    /// Only show which
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: mainstay repository unlock")]
pub struct UnlockArgs {
    /// All locks, also those of processes that may still work: this can cost data
    #[arg(long)]
    pub all: bool,
}
