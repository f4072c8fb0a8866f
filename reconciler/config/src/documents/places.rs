//! `Host`, `Repository` and `Application`: where things live, where their copies lie, what they
//! are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::common::{FailureDomainSpec, SecretSpec};
use super::storage::StorageSpec;

/// A machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSpec {
    /// How the machine is reached: `local` is the one that Mainstay runs on.
    pub connection: ConnectionSpec,
    /// What it fails together with.
    #[serde(default)]
    pub failure_domain: FailureDomainSpec,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionSpec {
    /// The machine that Mainstay runs on.
    Local,
}

/// A store of snapshots.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositorySpec {
    /// Where it lies.
    pub storage: StorageSpec,
    /// The password that encrypts it, as `{secret: NAME}`.
    pub password: SecretSpec,
    /// Its id, 64 hex digits, once known: another repository in that place is then refused.
    pub id: Option<String>,
    /// What it fails together with.
    #[serde(default)]
    pub failure_domain: FailureDomainSpec,
    /// Such as `disk`, `object` or `tape`; compared by copies objectives, not interpreted.
    pub medium: Option<String>,
    /// Never delete anything there.
    #[serde(default)]
    pub append_only: bool,
    /// The storage itself refuses to delete, whoever asks, such as under an object lock.
    #[serde(default)]
    pub immutable: bool,
    /// It is not reachable between backups, such as a disk in a drawer.
    #[serde(default)]
    pub offline: bool,
}

/// A group of resources.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSpec {
    /// What is protected.
    pub resources: Vec<ResourceSpec>,
}

/// One protected thing.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceSpec {
    /// Its name, unique in the application.
    pub name: String,
    /// Its type: the name of an AgentTemplate, built in or of this config repository.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it lives, as `host/NAME`.
    pub target: String,
    /// The parameters of its type.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// What must be there before it: `resource` of the same application or `application/resource`.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Higher comes first among equals.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Addresses that it had before; their snapshots are its own.
    #[serde(default)]
    pub formerly: Vec<String>,
    /// What is promised for it.
    #[serde(default)]
    pub objectives: ObjectivesSpec,
    /// Free pairs by which selectors find it, beside those of the application.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What is promised for a resource.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectivesSpec {
    /// How old the newest proven point may be, such as `1h`.
    pub rpo: Option<String>,
    /// How long a restore may take, such as `30m`.
    pub rto: Option<String>,
    /// How many copies must exist, the live data included.
    pub copies: Option<CopiesRef>,
}

/// A number of copies, or more exactly which.
#[derive(Clone, Debug)]
pub enum CopiesRef {
    /// This many, the live data included.
    Total(u32),
    /// More exactly.
    Full(CopiesSpec),
}

/// How many copies of what kind.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopiesSpec {
    /// All of them, the live data included.
    #[schemars(range(min = 1, max = 100))]
    pub total: u32,
    /// On so many different media, the live data's not counted.
    #[schemars(range(min = 1, max = 100))]
    pub media: Option<u32>,
    /// So many at another site than the live data.
    #[schemars(range(min = 0, max = 100))]
    pub offsite: Option<u32>,
    /// In so many different formats.
    #[schemars(range(min = 1, max = 100))]
    pub formats: Option<u32>,
    /// So many that are immutable or offline.
    #[schemars(range(min = 0, max = 100))]
    pub immutable: Option<u32>,
}

impl<'de> Deserialize<'de> for CopiesRef {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = CopiesRef;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number or a mapping")
            }
            fn visit_u64<E: serde::de::Error>(self, total: u64) -> Result<CopiesRef, E> {
                u32::try_from(total).map(CopiesRef::Total).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<CopiesRef, A::Error> {
                let full = serde::de::value::MapAccessDeserializer::new(map);
                CopiesSpec::deserialize(full).map(CopiesRef::Full)
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for CopiesRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Copies".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let full = generator.subschema_for::<CopiesSpec>();
        schemars::json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 100 }, full]
        })
    }
}
