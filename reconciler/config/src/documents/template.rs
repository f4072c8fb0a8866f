//! `AgentTemplate`: data from which the commands for one type of resource are rendered.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// How one type of resource is handled. Texts may hold `{{ parameter }}`, and the holes
/// `{{ token }}`, `{{ scratch }}` and `{{ facts.NAME }}`, which execution fills in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentTemplateSpec {
    /// What the type is, for people.
    #[serde(default)]
    pub description: String,
    /// What a resource says under `with`.
    #[serde(default)]
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// Environment of every command; a value that renders empty is left out.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The folder that is read and written, for types whose data are files.
    pub tree: Option<TreeSpec>,
    /// Commands that print facts as JSON.
    #[serde(default)]
    pub probe: Vec<CommandSpec>,
    /// A command that stays open while streams are read, to hold one consistency point.
    pub session: Option<CommandSpec>,
    /// Commands whose output is stored.
    #[serde(default)]
    pub streams: Vec<StreamSpec>,
    /// How it comes back.
    pub recovery: Option<RecoveryStepsSpec>,
    /// Commands that make the resource anew, without any point, where a `RecoveryPolicy` answers
    /// `recreate`; they are run again after a crash. One of which no argument is left is left out.
    #[serde(default)]
    pub recreate: Vec<CommandSpec>,
    /// How error output is read; the first that fits counts.
    #[serde(default)]
    pub errors: Vec<ErrorRuleSpec>,
}

/// A parameter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParameterSpec {
    /// What values it takes.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Must be given.
    #[serde(default)]
    pub required: bool,
    /// The value when it is not given.
    pub default: Option<Value>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// A regular expression that the whole text must match.
    pub pattern: Option<String>,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ParameterType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Such as `30s`; renders as seconds.
    Duration,
    /// Such as `10MiB`; renders as bytes.
    Size,
    /// A list of texts.
    List,
    /// An absolute path.
    Path,
    /// `{secret: NAME}`; only in environment and standard input.
    Secret,
}

impl ParameterType {
    /// Returns the word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ParameterType::String => "string",
            ParameterType::Integer => "integer",
            ParameterType::Boolean => "boolean",
            ParameterType::Duration => "duration",
            ParameterType::Size => "size",
            ParameterType::List => "list",
            ParameterType::Path => "path",
            ParameterType::Secret => "secret",
        }
    }
}

/// A folder. Every field may be `{{ parameter }}`, which gives the parameter's own value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TreeSpec {
    /// Its absolute path.
    pub path: String,
    /// Patterns of what to leave out: a list, or a template that gives one.
    #[serde(default)]
    #[schemars(schema_with = "list_or_template")]
    pub excludes: Option<Value>,
    /// Leave out folders that carry a `CACHEDIR.TAG`: a boolean, or a template that gives one.
    #[serde(default)]
    #[schemars(schema_with = "boolean_or_template")]
    pub exclude_caches: Option<Value>,
    /// Leave out folders that contain a file of one of these names: a list, or a template that
    /// gives one.
    #[serde(default)]
    #[schemars(schema_with = "list_or_template")]
    pub exclude_if_present: Option<Value>,
    /// Stay on the file system of `path`: a boolean, or a template that gives one.
    #[serde(default)]
    #[schemars(schema_with = "boolean_or_template")]
    pub one_file_system: Option<Value>,
    /// Leave out larger files: a size such as `1GiB`, or a template that gives one.
    pub largest: Option<String>,
    /// The path must be a mount point: a boolean, or a template that gives one.
    #[serde(default)]
    #[schemars(schema_with = "boolean_or_template")]
    pub mount_point: Option<Value>,
}

fn list_or_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }]
    })
}

fn boolean_or_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string" }] })
}

/// A command. There is no shell: each item is one argument.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandSpec {
    /// The program and its arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<ArgSpec>,
    /// What it reads from standard input.
    pub input: Option<String>,
    /// How long it may take, such as `30s`.
    pub timeout: Option<String>,
}

/// One argument, or several under a condition or for each item of a list.
#[derive(Clone, Debug)]
pub enum ArgSpec {
    /// One argument.
    Text(String),
    /// Several.
    Conditional(ConditionalArgs),
}

/// Arguments under a condition (`when`), for each item of a list (`each`), or both.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionalArgs {
    /// An expression, such as `port` or `format == "plain"`: the arguments are given when it is
    /// true.
    pub when: Option<String>,
    /// An expression that gives a list: the arguments are given for each of its items, as `{{ item
    /// }}`.
    pub each: Option<String>,
    /// The arguments.
    #[schemars(length(min = 1))]
    pub args: Vec<String>,
}

impl<'de> Deserialize<'de> for ArgSpec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ArgSpec;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a mapping")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ArgSpec, E> {
                Ok(ArgSpec::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ArgSpec, A::Error> {
                let full = de::value::MapAccessDeserializer::new(map);
                ConditionalArgs::deserialize(full).map(ArgSpec::Conditional)
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for ArgSpec {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argument".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<ConditionalArgs>();
        json_schema!({ "anyOf": [{ "type": "string" }, full] })
    }
}

/// A stream that becomes one file of the snapshot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSpec {
    /// The file's name: one path component.
    pub name: String,
    /// The command that writes it, with its arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<ArgSpec>,
    /// What the command reads from standard input.
    pub input: Option<String>,
    /// How long it may take, such as `12h`.
    pub timeout: Option<String>,
    /// How it is cut: `content` for dumps, `pages` for database files and images.
    #[serde(default)]
    pub chunking: ChunkingSpec,
}

/// How content is cut.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChunkingSpec {
    /// By content.
    #[default]
    Content,
    /// In pages.
    Pages,
}

/// The commands of a recovery. Each is run again after a crash, so each must do no harm the second
/// time under the same `{{ token }}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryStepsSpec {
    /// Prints `{"phase": "none" | "beside" | "swapped"}` for the token.
    pub state: Vec<CommandSpec>,
    /// Makes an empty place beside the original.
    #[serde(default)]
    pub prepare: Vec<CommandSpec>,
    /// Feeds the streams of the snapshot into that place, in order.
    #[schemars(length(min = 1))]
    pub load: Vec<LoadSpec>,
    /// Prints facts of the restored place, in the shape of a probe.
    #[serde(default)]
    pub verify: Vec<CommandSpec>,
    /// Puts the restored place where the original is, and keeps the original aside.
    #[schemars(length(min = 1))]
    pub swap: Vec<CommandSpec>,
    /// Removes what was kept aside.
    #[serde(default)]
    pub commit: Vec<CommandSpec>,
    /// Puts what was kept aside back.
    #[serde(default)]
    pub rollback: Vec<CommandSpec>,
    /// Removes a restored place that was never swapped in.
    #[serde(default)]
    pub discard: Vec<CommandSpec>,
}

/// A stream that is fed to a command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadSpec {
    /// The stream's name.
    pub stream: String,
    /// A point without it comes back all the same, such as one that was made before the template
    /// had this stream.
    #[serde(default)]
    pub optional: bool,
    /// The command that reads it from standard input, with its arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<ArgSpec>,
    /// How long it may take, such as `12h`.
    pub timeout: Option<String>,
}

/// What a text in a command's error output means.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorRuleSpec {
    /// A text that standard error contains.
    #[schemars(length(min = 1))]
    pub contains: String,
    /// What it means.
    pub class: ErrorClassSpec,
    /// A stable word, such as `server-down`.
    pub reason: String,
    /// How to mend it.
    #[serde(default)]
    pub hint: String,
}

/// What an error means.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClassSpec {
    /// May pass by itself.
    Transient,
    /// Somebody else must act first.
    Waiting,
    /// A person must act.
    Terminal,
    /// In a probe: the resource is provably not there.
    Absent,
}
