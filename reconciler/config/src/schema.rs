//! One JSON Schema (2020-12) per kind, made from the Rust types. Editors get them from `schema/`;
//! documents are held against the same ones here. Each is made and compiled once per process.

use std::sync::OnceLock;

use jsonschema::Validator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::documents::{API_VERSION, Kind, Metadata};

/// A schema and what checks it; `None` if it does not compile, which a test excludes.
struct Compiled {
    schema: Value,
    validator: Option<Validator>,
}

static COMPILED: [OnceLock<Compiled>; Kind::ALL.len()] =
    [const { OnceLock::new() }; Kind::ALL.len()];

fn compiled(kind: Kind) -> &'static Compiled {
    COMPILED[kind as usize].get_or_init(|| {
        let schema = make(kind);
        let validator = jsonschema::draft202012::new(&schema).ok();
        Compiled { schema, validator }
    })
}

/// Returns the JSON Schema of a kind's documents.
pub fn schema(kind: Kind) -> &'static Value {
    &compiled(kind).schema
}

/// Returns what checks a document of a kind.
pub(crate) fn validator(kind: Kind) -> Option<&'static Validator> {
    compiled(kind).validator.as_ref()
}

/// Returns whether a document has the structure of its kind.
pub(crate) fn is_valid(kind: Kind, document: &Value) -> bool {
    validator(kind).is_some_and(|validator| validator.is_valid(document))
}

fn make(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let spec = kind.spec_schema(&mut generator);
    let metadata = generator.subschema_for::<Metadata>();
    let definitions = generator.take_definitions(true);
    let mut required = vec!["apiVersion", "kind", "metadata"];
    if !kind.spec_is_optional() {
        required.push("spec");
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.as_str(),
        "description": kind.summary(),
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": {
            "apiVersion": { "const": API_VERSION, "description": "The version of the \
                document's shape." },
            "kind": { "const": kind.as_str(), "description": "What the document is." },
            "metadata": metadata,
            "spec": spec,
        },
        "$defs": definitions,
    });
    tidy(&mut schema);
    schema
}

/// Takes out what the generator says beyond the documents' rules: `null` (an empty value is a slip,
/// not a choice), number formats, line breaks, and defaults that are only the absence of
/// everything.
fn tidy(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("format");
    // Where a comment breaks its lines says nothing to a reader of the schema.
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if map.get("default").is_some_and(|default| !default.is_boolean() && !default.is_string()) {
        map.remove("default");
    }
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
    // Under these two keys lie names, not keywords: a field may be called `default`.
    for names in ["properties", "$defs"] {
        if let Some(Value::Object(schemas)) = map.get_mut(names) {
            schemas.values_mut().for_each(tidy);
        }
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("items" | "additionalProperties", schema) => tidy(schema),
            ("anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(tidy);
            }
            _ => {}
        }
    }
}
