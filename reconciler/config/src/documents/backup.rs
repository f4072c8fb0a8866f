//! `Schedule`, `RetentionPolicy`, `Backup` and `Trigger`: when, kept how, what to where, and now.

use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{KeepSpec, SelectSpec, text_or};

text_or!(
    /// A rule in short, the name of a Schedule, or a schedule in full.
    ScheduleRef,
    ScheduleSpec,
    "`@every 1h`, `@daily`, five cron fields such as `30 3 * * *`, or the name of a Schedule."
);

text_or!(
    /// The name of a RetentionPolicy, or the rules themselves.
    RetentionRef,
    RetentionPolicySpec,
    "The name of a RetentionPolicy."
);

/// When something is due.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The rule: `@every 1h`, `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`, `@never`, or
    /// five (or, with seconds, six) cron fields.
    pub when: String,
    /// IANA name of the zone in which cron fields are read, such as `Europe/Amsterdam`; `UTC` if
    /// absent.
    pub time_zone: Option<String>,
    /// Spread the work over this time, such as `10m`; the same resource always gets the same
    /// share.
    pub jitter: Option<String>,
    /// Work only inside (or outside) these windows.
    #[serde(default)]
    pub windows: Vec<WindowSpec>,
    /// Skip what is later than this, such as `6h`; if absent, nothing is skipped.
    pub deadline: Option<String>,
}

/// A span of time that returns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSpec {
    /// When it opens, as cron.
    pub opens: String,
    /// How long it stays open, such as `4h`.
    pub duration: String,
    /// IANA name of the zone; `UTC` if absent.
    pub time_zone: Option<String>,
    /// Work is allowed inside (`true`, if absent) or forbidden inside (`false`).
    pub allow: Option<bool>,
}

/// What to keep. A snapshot is kept if any rule keeps it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionPolicySpec {
    /// Keep this many of the newest.
    pub last: Option<KeepSpec>,
    /// Keep the newest of each of this many hours.
    pub hourly: Option<KeepSpec>,
    /// Keep the newest of each of this many days.
    pub daily: Option<KeepSpec>,
    /// Keep the newest of each of this many ISO weeks.
    pub weekly: Option<KeepSpec>,
    /// Keep the newest of each of this many months.
    pub monthly: Option<KeepSpec>,
    /// Keep the newest of each of this many quarters.
    pub quarterly: Option<KeepSpec>,
    /// Keep the newest of each of this many years.
    pub yearly: Option<KeepSpec>,
    /// Keep everything of this time before the newest, such as `30d`.
    pub within: Option<String>,
    /// Keep the newest of each hour of this time before the newest, such as `2d`.
    pub within_hourly: Option<String>,
    /// Keep the newest of each day of this time before the newest.
    pub within_daily: Option<String>,
    /// Keep the newest of each ISO week of this time before the newest.
    pub within_weekly: Option<String>,
    /// Keep the newest of each month of this time before the newest.
    pub within_monthly: Option<String>,
    /// Keep the newest of each quarter of this time before the newest.
    pub within_quarterly: Option<String>,
    /// Keep the newest of each year of this time before the newest.
    pub within_yearly: Option<String>,
    /// Whether one point may fill several of `last` to `yearly`; `shared` if absent.
    pub overlap: Option<OverlapSpec>,
    /// Keep everything that carries one of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Never keep fewer than this many good points, whatever the rules say; 1 if absent.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub at_least: Option<u32>,
    /// IANA name of the zone in which days and longer periods begin; `UTC` if absent.
    pub time_zone: Option<String>,
}

/// Whether one point may fill several rules that count.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OverlapSpec {
    /// It may: the newest point is of the last day, of the last week and of the last month. As
    /// restic and kopia have it.
    Shared,
    /// The rules count one after another, finest first; a period whose newest point stays already
    /// is not counted again. As borg has it. More points stay, and older ones.
    Separate,
}

/// Which resources are backed up when, to where, kept how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupSpec {
    /// Which resources.
    pub select: SelectSpec,
    /// When; `@daily` if absent.
    pub schedule: Option<ScheduleRef>,
    /// Names of repositories; each gets its own backup. If absent, the only Repository there is.
    #[schemars(length(min = 1))]
    pub repositories: Option<Vec<String>>,
    /// What is kept; if absent, nothing ever expires.
    pub retention: Option<RetentionRef>,
    /// Commands on the target around it.
    #[serde(default)]
    pub hooks: HooksSpec,
    /// How points are proven.
    #[serde(default)]
    pub verify: VerifySpec,
    /// When a point is suspicious.
    #[serde(default)]
    pub anomaly: AnomalySpec,
}

/// Commands around a backup.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HooksSpec {
    /// Before the first byte is read; a failure stops the backup.
    #[serde(default)]
    pub before: Vec<HookSpec>,
    /// After the last byte, also when the backup failed.
    #[serde(default)]
    pub after: Vec<HookSpec>,
}

/// A command, taken as it is written: no templates, no shell.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HookSpec {
    /// The program and its arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// What it reads from standard input.
    pub input: Option<String>,
    /// How long it may take, such as `30s`.
    pub timeout: Option<String>,
}

/// How points are proven.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifySpec {
    /// Read every new point back right after it was written; `true` if absent.
    pub after_backup: Option<bool>,
    /// Prove a point again when its proof is older than this; `30d` if absent, `never` for not at
    /// all.
    pub again_after: Option<String>,
}

/// When a point is suspicious: it is kept, and expiry of the resource waits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnomalySpec {
    /// When it fell by more than this many per cent in bytes or files against the point before; 50
    /// if absent, 100 for never.
    #[schemars(range(min = 1, max = 100))]
    pub shrink_percent_max: Option<u8>,
}

/// Back up now.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TriggerSpec {
    /// The Backup to run.
    pub backup: String,
    /// Any text, such as a date; a new text is a new request.
    pub token: String,
}
