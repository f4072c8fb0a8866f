//! The shapes of the documents as they are written: one Rust type per kind, from which the JSON
//! Schemas are made. Texts that need a second look (durations, names, cron) stay texts here;
//! `lower` reads them, because only there the line is known.

mod backup;
mod common;
mod places;
mod recovery;
mod storage;
mod template;

use std::fmt;

use serde::Deserialize;

pub use backup::{
    AnomalySpec, BackupSpec, HookSpec, HooksSpec, OverlapSpec, RetentionPolicySpec, RetentionRef,
    ScheduleRef, ScheduleSpec, TriggerSpec, VerifySpec, WindowSpec,
};
pub use common::{FailureDomainSpec, KeepSpec, Metadata, SecretSpec, SelectSpec};
pub use places::{
    ApplicationSpec, ConnectionSpec, CopiesRef, CopiesSpec, HostSpec, ObjectivesSpec,
    RepositorySpec, ResourceSpec,
};
pub use recovery::{
    BudgetSpec, CommitThenSpec, ErasureSpec, GuardrailSpec, HoldSpec, IntoSpec, PointRef,
    PointSpec, RecoveryPolicySpec, RecoverySpec, RepeatSpec, ResponseSpec, ResponsesSpec, ScopeRef,
    ScopeSpec,
};
pub use storage::{
    AzureStorageSpec, BucketStyleSpec, GcsStorageSpec, LimitsSpec, LocalStorageSpec, LockModeSpec,
    ObjectLockSpec, RestStorageSpec, S3StorageSpec, SftpStorageSpec, StorageSpec,
};
pub use template::{
    AgentTemplateSpec, ArgSpec, ChunkingSpec, CommandSpec, ConditionalArgs, ErrorClassSpec,
    ErrorRuleSpec, LoadSpec, ParameterSpec, ParameterType, RecoveryStepsSpec, StreamSpec, TreeSpec,
};

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "mainstay.dev/v1";

/// The group of [`API_VERSION`], by which a document is known to be meant for us.
pub const API_GROUP: &str = "mainstay.dev/";

/// Kinds that are named in the design and not acted on in this version.
pub const KINDS_LATER: [&str; 6] =
    ["Cluster", "BackupTemplate", "RecoveryPlan", "Drill", "Replication", "Export"];

/// What other tools call a kind of ours, for suggestions.
pub const KINDS_ELSEWHERE: [(&str, &str); 6] = [
    ("BackupTrigger", "Trigger"),
    ("BackupConfiguration", "Backup"),
    ("BackupStorage", "Repository"),
    ("RestoreSession", "Recovery"),
    ("Restore", "Recovery"),
    ("AppBinding", "Application"),
];

/// One list of the kinds, from which everything that depends on the kind is made.
macro_rules! kinds {
    ($($kind:ident($spec:ty): $summary:literal,)*) => {
        /// A kind of document.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $summary] $kind,)*
        }

        /// The `spec` of a document.
        #[derive(Clone, Debug)]
        pub enum Spec {
            $(#[doc = $summary] $kind(Box<$spec>),)*
        }

        impl Kind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Returns the kind's name as written in documents.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$kind => stringify!($kind),)*
                }
            }

            /// Returns one sentence about the kind.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Kind::$kind => $summary,)*
                }
            }

            /// Reads the `spec` of a document of this kind.
            ///
            /// # Errors
            /// When it has another shape.
            pub fn read(self, spec: serde_json::Value) -> Result<Spec, serde_json::Error> {
                Ok(match self {
                    $(Kind::$kind => Spec::$kind(Box::new(<$spec>::deserialize(spec)?)),)*
                })
            }

            /// Returns the schema of the kind's `spec`, put among the generator's definitions.
            pub(crate) fn spec_schema(
                self,
                generator: &mut schemars::SchemaGenerator,
            ) -> schemars::Schema {
                match self {
                    $(Kind::$kind => generator.subschema_for::<$spec>(),)*
                }
            }
        }
    };
}

kinds! {
    Host(HostSpec): "A machine on which protected things live.",
    Repository(RepositorySpec): "An encrypted, deduplicated store of snapshots.",
    Application(ApplicationSpec): "A named group of protected resources.",
    Schedule(ScheduleSpec): "When something is due.",
    RetentionPolicy(RetentionPolicySpec): "Which snapshots are kept.",
    Backup(BackupSpec): "Which resources are backed up when, to where, and kept how.",
    AgentTemplate(AgentTemplateSpec): "How one type of resource is probed, backed up and \
        brought back.",
    Trigger(TriggerSpec): "A backup wanted now, once per token.",
    Recovery(RecoverySpec): "A restore wanted, once per token.",
    RecoveryPolicy(RecoveryPolicySpec): "What is done when a resource is lost, rolled back, \
        replaced or damaged.",
    Guardrail(GuardrailSpec): "Limits on what may be done without a person.",
    Hold(HoldSpec): "A stop on a scope, with owner and reason.",
    Erasure(ErasureSpec): "The removal of named snapshots on purpose, the last proven one too.",
}

impl Kind {
    /// Returns the kind of that name.
    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Returns whether a document of this kind is useful without a `spec` that says anything.
    pub(crate) fn spec_is_optional(self) -> bool {
        matches!(self, Kind::RecoveryPolicy | Kind::Guardrail)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
