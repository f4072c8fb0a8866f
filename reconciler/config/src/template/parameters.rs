//! Holds what a resource says under `with` against the parameters of its type, and gives both what
//! templates compute with and what people are shown.

use std::collections::BTreeMap;

use minijinja::value::Value;
use serde_json::Value as Json;

use crate::documents::{ParameterSpec, ParameterType};
use crate::lower::text as shapes;
use crate::template::engine;
use crate::units;

/// Longest text or most items of one parameter.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Most items of a list.
const ITEMS_MAX: usize = 10_000;

/// A parameter's value: for templates and for people.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What templates compute with.
    pub value: Value,
    /// What is shown; secrets as `{secret: NAME}`.
    pub shown: String,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It must be something else, in words.
    Type(String),
    /// It does not match the pattern.
    Pattern(String),
    /// It is a secret in clear.
    Clear,
    /// The secret's name is malformed.
    SecretName(String),
    /// It is no duration.
    Duration(String),
    /// It is no size.
    Size(String),
    /// The path is not usable, with the reason.
    Path(String, &'static str),
}

/// Reads a value by its parameter's type.
///
/// # Errors
/// When it does not fit.
pub fn bind(spec: &ParameterSpec, value: &Json) -> Result<Bound, Misfit> {
    let wrong = |expected: &str| Misfit::Type(expected.to_owned());
    let bound = match spec.kind {
        ParameterType::String => text(spec, value, "a text")?,
        ParameterType::Path => {
            let bound = text(spec, value, "an absolute path")?;
            shapes::check_path(&bound.shown)
                .map_err(|why| Misfit::Path(bound.shown.clone(), why))?;
            bound
        }
        ParameterType::Integer => {
            let number = value.as_i64().ok_or_else(|| wrong("a whole number"))?;
            Bound { value: Value::from(number), shown: number.to_string() }
        }
        ParameterType::Boolean => {
            let choice = value.as_bool().ok_or_else(|| wrong("`true` or `false`"))?;
            Bound { value: Value::from(choice), shown: choice.to_string() }
        }
        ParameterType::Duration => {
            let written = value.as_str().ok_or_else(|| wrong("a duration, such as `30s`"))?;
            let seconds = units::duration_s(written);
            let seconds = seconds.ok_or_else(|| Misfit::Duration(written.to_owned()))?;
            Bound { value: Value::from(seconds), shown: written.to_owned() }
        }
        ParameterType::Size => {
            let written = value.as_str().ok_or_else(|| wrong("a size, such as `10MiB`"))?;
            let bytes = units::size_bytes(written);
            let bytes = bytes.ok_or_else(|| Misfit::Size(written.to_owned()))?;
            Bound { value: Value::from(bytes), shown: written.to_owned() }
        }
        ParameterType::List => list(spec, value)?,
        ParameterType::Secret => secret(value)?,
    };
    Ok(bound)
}

fn text(spec: &ParameterSpec, value: &Json, expected: &str) -> Result<Bound, Misfit> {
    let text = value.as_str().ok_or_else(|| Misfit::Type(quoted(value, expected)))?;
    check_text(spec, text)?;
    Ok(Bound { value: Value::from(text), shown: text.to_owned() })
}

fn quoted(value: &Json, expected: &str) -> String {
    if value.is_number() || value.is_boolean() {
        format!("{expected}: put it in quotes")
    } else {
        expected.to_owned()
    }
}

fn check_text(spec: &ParameterSpec, text: &str) -> Result<(), Misfit> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Misfit::Type(format!("at most {TEXT_BYTES_MAX} bytes long")));
    }
    if engine::is_unsafe(text) {
        return Err(Misfit::Type("free of NUL and of the characters U+E000 and U+E001".to_owned()));
    }
    match &spec.pattern {
        // A pattern that does not compile was said at the template.
        Some(pattern) if pattern_matches(pattern, text) == Some(false) => {
            Err(Misfit::Pattern(pattern.clone()))
        }
        _ => Ok(()),
    }
}

/// Returns whether a whole text matches a pattern; `None` when the pattern is none.
///
/// Through the schema validator, so that patterns mean here what they mean in schemas and no second
/// engine for them is needed.
pub fn pattern_matches(pattern: &str, text: &str) -> Option<bool> {
    let schema = serde_json::json!({ "pattern": format!("^(?:{pattern})$") });
    let validator = jsonschema::draft202012::new(&schema).ok()?;
    Some(validator.is_valid(&Json::from(text)))
}

fn list(spec: &ParameterSpec, value: &Json) -> Result<Bound, Misfit> {
    let expected = || Misfit::Type("a list of texts".to_owned());
    let items = value.as_array().ok_or_else(expected)?;
    if items.len() > ITEMS_MAX {
        return Err(Misfit::Type(format!("a list of at most {ITEMS_MAX} texts")));
    }
    for item in items {
        check_text(spec, item.as_str().ok_or_else(expected)?)?;
    }
    Ok(Bound { value: engine::from_json(value), shown: value.to_string() })
}

fn secret(value: &Json) -> Result<Bound, Misfit> {
    let expected = || Misfit::Type("a reference to a secret: `{secret: NAME}`".to_owned());
    let map = match value {
        Json::Object(map) => map,
        Json::Array(_) | Json::Null => return Err(expected()),
        _ => return Err(Misfit::Clear),
    };
    let name = map.get("secret").and_then(Json::as_str).filter(|_| map.len() == 1);
    let name = name.ok_or_else(expected)?;
    if !shapes::is_secret_name(name) {
        return Err(Misfit::SecretName(name.to_owned()));
    }
    Ok(Bound { value: engine::secret(name), shown: format!("{{secret: {name}}}") })
}

/// Returns what stands for parameters that are not given and have no default.
pub fn absent(parameters: &BTreeMap<String, ParameterSpec>) -> BTreeMap<String, Value> {
    parameters.keys().map(|key| (key.clone(), Value::from(()))).collect()
}
