//! Shapes that several kinds share, and the two-form values: a text, or a mapping that says more.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// A value with two forms: a short text, or a mapping of type `$full`. Written by hand instead of
/// `untagged`, whose errors say nothing.
macro_rules! text_or {
    ($(#[$doc:meta])* $name:ident, $full:ty, $text_doc:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub enum $name {
            /// The short form.
            Text(String),
            /// The mapping.
            Full(Box<$full>),
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Either;
                impl<'de> serde::de::Visitor<'de> for Either {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a text or a mapping")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        Ok($name::Text(text.to_owned()))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> Result<$name, A::Error> {
                        let full = serde::de::value::MapAccessDeserializer::new(map);
                        Ok($name::Full(Box::new(serde::Deserialize::deserialize(full)?)))
                    }
                }
                d.deserialize_any(Either)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let full = generator.subschema_for::<$full>();
                schemars::json_schema!({
                    "anyOf": [{ "type": "string", "description": $text_doc }, full]
                })
            }
        }
    };
}
pub(super) use text_or;

/// What every document says of itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The document's name: unique among documents of its kind. 1 to 63 of a-z, 0-9, `-` and `.`.
    pub name: String,
    /// Free pairs by which selectors find things.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Free pairs for people and other tools; never interpreted.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A reference to a secret; the value is found at run time in age-encrypted files, files or the
/// environment, and is never written here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-mainstay" = "secret"))]
pub struct SecretSpec {
    /// The secret's name.
    pub secret: String,
}

/// What something fails together with.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureDomainSpec {
    /// A building or region.
    pub site: Option<String>,
    /// A machine.
    pub host: Option<String>,
    /// An account at a provider.
    pub account: Option<String>,
    /// Who can delete there.
    pub credentials: Option<String>,
}

/// Which resources are meant. Every field narrows; at least one must be there.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectSpec {
    /// Resources of this application.
    pub application: Option<String>,
    /// Resources of these applications.
    pub applications: Option<Vec<String>>,
    /// These resources, as `application/resource`, or `resource` beside `application`.
    pub resources: Option<Vec<String>>,
    /// Resources of these types.
    pub types: Option<Vec<String>>,
    /// Resources that carry all these labels; labels of the application count.
    pub labels: Option<BTreeMap<String, String>>,
    /// Every resource.
    pub all: Option<bool>,
}

/// How many periods to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepSpec {
    /// This many.
    Count(u32),
    /// All.
    Forever,
}

impl<'de> Deserialize<'de> for KeepSpec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = KeepSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or `forever`")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<KeepSpec, E> {
                u32::try_from(count).map(KeepSpec::Count).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeepSpec, E> {
                if text == "forever" {
                    Ok(KeepSpec::Forever)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        d.deserialize_any(Either)
    }
}

/// Most periods of one rule: a century of hours.
pub const KEEP_MAX: u32 = 876_600;

impl JsonSchema for KeepSpec {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keep".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": KEEP_MAX },
                { "type": "string", "enum": ["forever"] },
            ]
        })
    }
}
