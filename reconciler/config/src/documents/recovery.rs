//! `Recovery`, `RecoveryPolicy`, `Guardrail`, `Hold` and `Erasure`: bring back, what to do by
//! oneself, how far that may go, stop, and remove on purpose.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::backup::WindowSpec;
use super::common::{SelectSpec, text_or};

text_or!(
    /// `latest`, or a point in full.
    PointRef,
    PointSpec,
    "`latest`: the newest proven point."
);

text_or!(
    /// `all`, or a scope in full.
    ScopeRef,
    ScopeSpec,
    "`all`: everything."
);

/// A restore wanted. Merged into the config repository, it is its own approval.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoverySpec {
    /// What, as `application/resource`.
    pub resource: String,
    /// From which Repository; if absent, from whichever has the point.
    pub repository: Option<String>,
    /// Which point; `latest` if absent.
    pub point: Option<PointRef>,
    /// Another place of the same type; if absent, the resource itself.
    pub into: Option<IntoSpec>,
    /// Only these paths of a tree; if absent, all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whether it repeats: `IfNotRecovered` (once per token; if absent) or `Always` (whenever the
    /// resource is not at the wanted point). A small first letter is taken as well.
    #[serde(default)]
    #[schemars(schema_with = "repeat_words")]
    pub repeat: RepeatSpec,
    /// Says that the author knows: data newer than the point is put aside. Needed for `always`.
    #[serde(default)]
    pub acknowledges_newer_data: bool,
    /// Any text, such as a date and a ticket; a new text is a new request.
    pub token: String,
}

/// A point in time or a snapshot: exactly one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PointSpec {
    /// The newest proven point at or before this instant, such as `2026-03-01T12:00:00Z`.
    pub at: Option<String>,
    /// The snapshot of this id: 64 hex digits.
    pub snapshot: Option<String>,
}

/// Another place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntoSpec {
    /// Parameters of the type that differ from the resource's own.
    pub with: BTreeMap<String, Value>,
}

/// Whether a recovery repeats. The words are those of Stash's `recoveryPolicy`; the small first
/// letter is how every other word of the documents is written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub enum RepeatSpec {
    /// Once per token.
    #[default]
    #[serde(alias = "ifNotRecovered")]
    IfNotRecovered,
    /// Whenever the resource is not at the wanted point.
    #[serde(alias = "always")]
    Always,
}

fn repeat_words(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "enum": ["IfNotRecovered", "Always", "ifNotRecovered", "always"]
    })
}

/// What is done when something is wrong.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryPolicySpec {
    /// Which resources; all if absent.
    pub select: Option<SelectSpec>,
    /// The answer to each condition.
    #[serde(default)]
    pub responses: ResponsesSpec,
    /// Hold instead when a restore would lose more than this, such as `1h`.
    pub loss_max: Option<String>,
    /// How long a recovery waits for `commit`, such as `7d`; for ever if absent.
    pub commit_after: Option<String>,
    /// What happens after that time.
    #[serde(default)]
    pub then: CommitThenSpec,
}

/// The answer to each condition; one that is absent is answered by `hold`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponsesSpec {
    /// The resource is gone.
    pub lost: Option<ResponseSpec>,
    /// It went back in time.
    pub rolled_back: Option<ResponseSpec>,
    /// Something else is in its place.
    pub replaced: Option<ResponseSpec>,
    /// It is there and cannot be used.
    pub damaged: Option<ResponseSpec>,
}

/// What is done about a condition.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResponseSpec {
    /// Say so and wait for a person.
    Hold,
    /// Bring the newest proven point back.
    Restore,
    /// Make it anew from its declaration.
    Recreate,
    /// The state that is there is right: measure from it.
    Adopt,
}

/// What happens to a recovery that nobody committed in time.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CommitThenSpec {
    /// It goes on waiting.
    #[default]
    Wait,
    /// It is committed.
    Commit,
    /// It is rolled back.
    Rollback,
}

/// Limits on what may be done without a person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardrailSpec {
    /// Which resources; all if absent.
    pub select: Option<SelectSpec>,
    /// When steps that change something may start; always if absent.
    #[serde(default)]
    pub windows: Vec<WindowSpec>,
    /// How many snapshots may be forgotten.
    #[serde(default)]
    pub expire: BudgetSpec,
    /// How many restores over live data.
    #[serde(default)]
    pub restore_over: BudgetSpec,
    /// How many re-creations and restores of what is gone.
    #[serde(default)]
    pub recreate: BudgetSpec,
    /// When more than this many per cent of the resources (and at least three) are lost at once,
    /// only observe; 50 if absent.
    #[schemars(range(min = 1, max = 100))]
    pub mass_loss_percent: Option<u8>,
}

/// How often something may be done; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSpec {
    /// In one run.
    pub per_run: Option<u32>,
    /// In one hour.
    pub per_hour: Option<u32>,
    /// In 24 hours.
    pub per_day: Option<u32>,
    /// Per cent of what there is, in one run.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<u8>,
    /// Per cent of what there is, in 24 hours.
    #[schemars(range(min = 0, max = 100))]
    pub percent_per_day: Option<u8>,
}

/// A stop.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldSpec {
    /// What it covers.
    pub scope: ScopeRef,
    /// Whose it is: who can lift it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself, such as `2026-03-01T12:00:00Z`; never if absent.
    pub until: Option<String>,
}

/// What a hold covers: exactly one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopeSpec {
    /// One application.
    pub application: Option<String>,
    /// One resource, as `application/resource`.
    pub resource: Option<String>,
    /// One repository.
    pub repository: Option<String>,
}

/// The removal of named snapshots on purpose: the only way that the last proven one can go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErasureSpec {
    /// Whose snapshots, as `application/resource`; it need not be described any more.
    pub resource: String,
    /// Why.
    pub reason: String,
    /// Every snapshot that goes, by its full id of 64 hex digits; what is not named stays.
    pub snapshots: Vec<String>,
    /// Who agreed: at least two different people.
    pub approved_by: Vec<String>,
    /// How long to wait after the document is first seen, at least `24h`; `72h` if absent.
    pub cooling_off: Option<String>,
}
