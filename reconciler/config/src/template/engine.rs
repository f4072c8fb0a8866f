//! Renders texts with minijinja and splits the result into pieces. Called by `template::render`.
//!
//! What only execution knows (holes) and what must not be seen (secrets) is rendered as a marker in
//! private-use characters, which are refused in parameters; after rendering the text is split at
//! the markers. So a template can put a hole or a secret anywhere in a text, and its value is
//! never here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use model::agent::{Arg, Piece, SecretRef};

/// Begins a marker.
const MARK_OPEN: char = '\u{E000}';
/// Ends a marker.
const MARK_CLOSE: char = '\u{E001}';

/// Largest text that a template may render to: half of the longest argument that Linux takes.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Instructions that one text may take: a loop over a thousand tables needs about 20,000.
const FUEL: u64 = 100_000;

/// Deepest recursion of a template: texts here are one-liners.
const RECURSION_MAX: usize = 16;

/// Holes that every text may have beside facts.
pub const HOLES: [&str; 2] = ["token", "scratch"];

/// Name of the facts that a session or probe printed.
pub const FACTS: &str = "facts";

/// Name of the present item in arguments under `each`.
pub const ITEM: &str = "item";

/// Returns whether a text could be confused with markers, or cannot be an argument at all.
pub fn is_unsafe(text: &str) -> bool {
    text.contains(['\0', MARK_OPEN, MARK_CLOSE])
}

/// Any name below `facts` is a hole.
#[derive(Debug)]
struct Facts;

impl Object for Facts {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        is_fact(name).then(|| Value::from(mark(&format!("{FACTS}.{name}"))))
    }
}

fn is_fact(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn mark(name: &str) -> String {
    format!("{MARK_OPEN}{name}{MARK_CLOSE}")
}

/// Returns the value that a secret parameter has in templates.
pub fn secret(name: &str) -> Value {
    Value::from(mark(&format!("secret:{name}")))
}

/// Returns the context of a resource's texts: its parameters and the holes.
pub fn context(parameters: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut context = parameters.clone();
    for hole in HOLES {
        context.insert(hole.to_owned(), Value::from(mark(hole)));
    }
    context.insert(FACTS.to_owned(), Value::from_object(Facts));
    context
}

/// Returns an environment that knows nothing but our filters and is bounded in every way.
pub fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION_MAX);
    // The line end of an `input` is part of it.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        env.set_syntax(syntax);
    }
    env.set_formatter(|out, _, value| match value.kind() {
        // An optional parameter that is not given prints as nothing.
        ValueKind::None => Ok(()),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool | ValueKind::Number | ValueKind::String => {
            write!(out, "{value}").map_err(|_| Error::from(ErrorKind::WriteFailure))
        }
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a {kind} is no text; use `each` for lists"),
        )),
    });
    env.add_filter("sql_identifier", |text: String| format!("\"{}\"", text.replace('"', "\"\"")));
    env.add_filter("sql_literal", |text: String| format!("'{}'", text.replace('\'', "''")));
    env.add_filter("json", |value: Value| to_json(&value).map(|json| json.to_string()));
    env
}

/// Collects output up to a limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders a text that was added to the environment under itself.
///
/// # Errors
/// Why it cannot be rendered, in words.
pub fn render(env: &Environment<'_>, source: &str, context: &Value) -> Result<Arg, String> {
    if !source.contains("{{") && !source.contains("{%") && !source.contains("{#") {
        return split(source);
    }
    let template = env.get_template(source).map_err(|error| words(&error))?;
    let mut bounded = Bounded(Vec::new());
    template.render_captured_to(context.clone(), &mut bounded).map_err(|error| words(&error))?;
    let text = String::from_utf8(bounded.0).map_err(|_| "it is not UTF-8".to_owned())?;
    split(&text)
}

/// Evaluates an expression.
///
/// # Errors
/// Why it cannot be evaluated, in words.
pub fn evaluate(env: &Environment<'_>, source: &str, context: &Value) -> Result<Value, String> {
    let source = source.trim();
    // Most expressions are the name of a parameter: that needs no compiler.
    if is_name(source) {
        return match context.get_attr(source) {
            Ok(value) if !value.is_undefined() => Ok(value),
            _ => Err(format!("there is no `{source}`")),
        };
    }
    let expression = env.compile_expression_owned(source.to_owned()).map_err(|e| words(&e))?;
    expression.eval(context.clone()).map_err(|error| words(&error))
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let keyword = matches!(text, "true" | "false" | "none" | "True" | "False" | "None");
    !text.is_empty() && !keyword && text.bytes().all(plain) && !text.as_bytes()[0].is_ascii_digit()
}

/// Returns the expression of a text that is nothing but `{{ expression }}`.
pub fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then(|| inner.trim())
}

/// Returns an engine error in words, without the value that caused it.
pub fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UndefinedError => error.detail().map_or_else(
            || "it uses a name that does not exist".to_owned(),
            |detail| format!("it uses a name that does not exist: {detail}"),
        ),
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        ErrorKind::WriteFailure => format!("it is longer than {OUTPUT_BYTES_MAX} bytes"),
        kind => error.detail().map_or_else(|| kind.to_string(), |d| format!("{kind}: {d}")),
    }
}

/// Splits a rendered text at its markers.
///
/// # Errors
/// When a marker was changed by the template, or the text holds a NUL.
pub fn split(text: &str) -> Result<Arg, String> {
    if text.contains('\0') {
        return Err("it holds a NUL character".to_owned());
    }
    let changed =
        || "it changes or cuts a hole or a secret, whose value is not known here".to_owned();
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(MARK_OPEN) {
        let (before, from) = rest.split_at(open);
        let inner = &from[MARK_OPEN.len_utf8()..];
        let close = inner.find(MARK_CLOSE).ok_or_else(changed)?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(piece(&inner[..close]).ok_or_else(changed)?);
        rest = &inner[close + MARK_CLOSE.len_utf8()..];
    }
    if rest.contains(MARK_CLOSE) {
        return Err(changed());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(Arg(pieces))
}

fn piece(name: &str) -> Option<Piece> {
    if let Some(secret) = name.strip_prefix("secret:") {
        return Some(Piece::Secret(SecretRef(secret.to_owned())));
    }
    let fact = name.strip_prefix("facts.").is_some_and(is_fact);
    (fact || HOLES.contains(&name)).then(|| Piece::Hole(name.to_owned()))
}

/// Returns a template value as JSON.
///
/// # Errors
/// When it is no plain value.
pub fn to_json(value: &Value) -> Result<serde_json::Value, Error> {
    let plain = || Error::new(ErrorKind::InvalidOperation, "it is no plain value");
    Ok(match value.kind() {
        ValueKind::None => serde_json::Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => value.as_i64().ok_or_else(plain)?.into(),
        ValueKind::String => value.as_str().ok_or_else(plain)?.into(),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| to_json(&item));
            items.collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => return Err(plain()),
    })
}

/// Returns a JSON value as a template value.
pub fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(b) => Value::from(*b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(n) => Value::from(n),
            None => Value::from(n.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(s) => Value::from(s.as_str()),
        serde_json::Value::Array(items) => items.iter().map(from_json).collect(),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(k, v)| (k.as_str(), from_json(v))))
        }
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded({} bytes)", self.0.len())
    }
}
