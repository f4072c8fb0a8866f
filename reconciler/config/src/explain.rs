//! Says in words where a document leaves its JSON Schema: what is there, what was expected, and
//! what was probably meant. Called by `source` for documents that are not valid.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Cause;
use model::diagnostic::Diagnostic;
use serde_json::Value;

use crate::diagnostics::{self as d, Place};
use crate::documents::Kind;
use crate::schema;
use crate::spans::{self, Node};

/// Most findings about one document's structure: beyond it, it is not a document of this kind.
const FINDINGS_MAX: usize = 100;

/// Adds what is wrong with a document's structure.
pub fn explain(kind: Kind, file: &str, root: &Node, document: &Value, found: &mut Vec<Diagnostic>) {
    let Some(validator) = schema::validator(kind) else {
        found.push(d::document_shape(Place::new(file, root.spot), "its schema does not compile"));
        return;
    };
    let context = Context { file, root, schema: schema::schema(kind), document };
    for error in validator.iter_errors(document).take(FINDINGS_MAX) {
        context.error(&error, found);
    }
}

struct Context<'a> {
    file: &'a str,
    root: &'a Node,
    schema: &'a Value,
    document: &'a Value,
}

impl Context<'_> {
    fn place(&self, pointer: &str) -> Place {
        Place::new(self.file, self.root.find(pointer, false))
    }

    fn place_key(&self, pointer: &str) -> Place {
        Place::new(self.file, self.root.find(pointer, true))
    }

    /// Returns the part of the schema that a value did not fit.
    fn rule(&self, error: &ValidationError<'_>) -> &Value {
        let path = error.schema_path().as_str();
        let parent = path.rfind('/').map_or("", |end| &path[..end]);
        self.schema.pointer(parent).unwrap_or(&Value::Null)
    }

    fn resolve<'s>(&'s self, rule: &'s Value) -> &'s Value {
        match rule.get("$ref").and_then(Value::as_str) {
            Some(target) => {
                self.schema.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null)
            }
            None => rule,
        }
    }

    fn error(&self, error: &ValidationError<'_>, found: &mut Vec<Diagnostic>) {
        let pointer = error.instance_path().as_str();
        let rule = self.rule(error);
        let value = self.document.pointer(pointer).unwrap_or(&Value::Null);
        match error.kind() {
            Cause::AdditionalProperties { unexpected } => {
                self.unknown_fields(pointer, rule, unexpected, found);
            }
            Cause::Required { property } => self.missing(pointer, rule, property, found),
            Cause::Type { .. } => self.wrong_type(pointer, rule, value, found),
            Cause::Enum { options } => {
                let options = options.as_array().into_iter().flatten().filter_map(Value::as_str);
                self.not_an_option(pointer, value, options.collect(), found);
            }
            Cause::Constant { expected_value } => {
                let options = expected_value.as_str().into_iter().collect();
                self.not_an_option(pointer, value, options, found);
            }
            Cause::OneOfNotValid { context } | Cause::AnyOf { context } => {
                self.no_branch(pointer, rule, value, context, found);
            }
            Cause::Minimum { .. }
            | Cause::Maximum { .. }
            | Cause::ExclusiveMinimum { .. }
            | Cause::ExclusiveMaximum { .. } => {
                let bound = |key: &str| rule.get(key).map(Value::to_string);
                found.push(d::number_out_of_range(
                    self.place(pointer),
                    &human(pointer),
                    &value.to_string(),
                    bound("minimum").as_deref(),
                    bound("maximum").as_deref(),
                ));
            }
            Cause::MinItems { .. } | Cause::MinLength { .. } | Cause::MinProperties { .. } => {
                found.push(d::value_missing(self.place_key(pointer), &human(pointer)));
            }
            other => {
                // The text of the validator may quote the value, which may be a secret.
                let rule = format!("`{}` breaks the rule `{}`", human(pointer), other.keyword());
                found.push(d::document_shape(self.place(pointer), &rule));
            }
        }
    }

    fn unknown_fields(
        &self,
        pointer: &str,
        rule: &Value,
        unexpected: &[String],
        found: &mut Vec<Diagnostic>,
    ) {
        let known: Vec<&str> = rule
            .get("properties")
            .and_then(Value::as_object)
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        for key in unexpected {
            let place = self.place_key(&format!("{pointer}/{}", spans::escape(key)));
            found.push(d::field_unknown(place, key, &human(pointer), &known));
        }
    }

    fn missing(&self, pointer: &str, rule: &Value, property: &Value, found: &mut Vec<Diagnostic>) {
        let name = property.as_str().unwrap_or_default();
        let about = rule
            .pointer(&format!("/properties/{}", spans::escape(name)))
            .map(|property| self.description(property))
            .unwrap_or_default();
        found.push(d::field_missing(self.place_key(pointer), name, &human(pointer), &about));
    }

    fn description(&self, rule: &Value) -> String {
        let own = rule.get("description").and_then(Value::as_str);
        let resolved = || self.resolve(rule).get("description").and_then(Value::as_str);
        own.or_else(resolved).unwrap_or_default().to_owned()
    }

    fn wrong_type(&self, pointer: &str, rule: &Value, value: &Value, found: &mut Vec<Diagnostic>) {
        if value.is_null() {
            found.push(d::value_missing(self.place_key(pointer), &human(pointer)));
        } else if rule.get("x-mainstay").is_some_and(|mark| mark == "secret") && !value.is_object()
        {
            found.push(d::secret_in_clear(self.place(pointer), &human(pointer)));
        } else {
            let expected = vec![self.type_name(rule)];
            self.mismatch(pointer, rule, &expected, value, found);
        }
    }

    fn mismatch(
        &self,
        pointer: &str,
        rule: &Value,
        expected: &[&str],
        value: &Value,
        found: &mut Vec<Diagnostic>,
    ) {
        let quote = expected.contains(&"text") && (value.is_number() || value.is_boolean());
        let help = if quote { d::text_help(&self.description(rule)) } else { String::new() };
        found.push(d::type_mismatch(
            self.place(pointer),
            &human(pointer),
            &expected.join(" or "),
            type_of(value),
            &help,
        ));
    }

    fn not_an_option(
        &self,
        pointer: &str,
        value: &Value,
        options: Vec<&str>,
        found: &mut Vec<Diagnostic>,
    ) {
        let place = self.place(pointer);
        match value.as_str() {
            Some(text) => found.push(d::value_unknown(place, &human(pointer), text, &options)),
            None if value.is_null() => {
                found.push(d::value_missing(self.place_key(pointer), &human(pointer)));
            }
            None => self.mismatch(pointer, &Value::Null, &["text"], value, found),
        }
    }

    /// Explains a value that fits none of several forms: by the form that it was meant to have, if
    /// its type tells, and else by naming the forms.
    fn no_branch(
        &self,
        pointer: &str,
        rule: &Value,
        value: &Value,
        context: &[Vec<ValidationError<'static>>],
        found: &mut Vec<Diagnostic>,
    ) {
        let branches = rule.get("anyOf").or_else(|| rule.get("oneOf")).and_then(Value::as_array);
        let branches: Vec<&Value> =
            branches.into_iter().flatten().map(|branch| self.resolve(branch)).collect();
        let options = constants(&branches);
        if !options.is_empty() {
            return self.not_an_option(pointer, value, options, found);
        }
        for errors in context {
            let elsewhere = |error: &ValidationError<'static>| {
                !matches!(error.kind(), Cause::Type { .. })
                    || error.instance_path().as_str() != pointer
            };
            if !errors.is_empty() && errors.iter().all(elsewhere) {
                return errors.iter().for_each(|error| self.error(error, found));
            }
        }
        if value.is_null() {
            return found.push(d::value_missing(self.place_key(pointer), &human(pointer)));
        }
        let mut expected: Vec<&str> = branches.iter().map(|b| self.type_name(b)).collect();
        expected.dedup();
        self.mismatch(pointer, rule, &expected, value, found);
    }

    fn type_name(&self, rule: &Value) -> &'static str {
        match self.resolve(rule).get("type").and_then(Value::as_str) {
            Some("string") => "text",
            Some("integer") => "a whole number",
            Some("number") => "a number",
            Some("boolean") => "`true` or `false`",
            Some("array") => "a list",
            Some("object") => "a mapping",
            _ => "another value",
        }
    }
}

/// Returns the texts of branches that are all constants or lists of them; else nothing.
fn constants<'s>(branches: &[&'s Value]) -> Vec<&'s str> {
    let mut options = Vec::new();
    for branch in branches {
        match (branch.get("const"), branch.get("enum").and_then(Value::as_array)) {
            (Some(Value::String(text)), _) => options.push(text.as_str()),
            (_, Some(list)) => options.extend(list.iter().filter_map(Value::as_str)),
            _ => return Vec::new(),
        }
    }
    options
}

/// Returns a JSON pointer as people write paths: `spec.resources[0].name`.
pub fn human(pointer: &str) -> String {
    let mut text = String::new();
    for segment in pointer.split('/').skip(1) {
        let segment = spans::unescape(segment);
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{segment}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&segment);
        }
    }
    if text.is_empty() { "the document".to_owned() } else { text }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(true) => "the boolean `true`",
        Value::Bool(false) => "the boolean `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
