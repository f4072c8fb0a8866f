//! What is generated from the code and kept in the repository: schemas and the list of diagnostics.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;

use mainstay_config::diagnostics::CODES;
use mainstay_config::{Kind, schema};
use model::diagnostic::Severity;
use support::{golden, top};

#[test]
fn schemas_are_those_of_the_types() {
    for kind in Kind::ALL {
        let text = format!("{}\n", serde_json::to_string_pretty(schema(*kind)).unwrap());
        golden(&top().join(format!("schema/{kind}.json")), &text);
    }
}

#[test]
fn schemas_are_schemas() {
    for kind in Kind::ALL {
        jsonschema::meta::validate(schema(*kind)).unwrap();
        jsonschema::draft202012::new(schema(*kind)).unwrap();
    }
}

#[test]
fn every_field_is_described() {
    fn walk(at: &str, value: &serde_json::Value) {
        if let Some(fields) = value.get("properties").and_then(|p| p.as_object()) {
            for (name, field) in fields {
                let described = field.get("description").is_some() || field.get("$ref").is_some();
                assert!(described, "{at}/{name} has no description");
            }
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            walk(&format!("{at}/{key}"), value);
        }
    }
    for kind in Kind::ALL {
        walk(kind.as_str(), schema(*kind));
    }
}

#[test]
fn diagnostics_are_documented() {
    let mut text = String::from(
        "# Diagnostics\n\nWhat `mainstay validate` can say. A code stays what it is: programs may \
         rely on it. An error\nmeans that the configuration is not used at all; a warning, that \
         it is used and probably does\nnot do what was meant. `tests/invalid/` has an example of \
         each.\n\n| code | severity | meaning |\n|---|---|---|\n",
    );
    let mut codes: Vec<_> = CODES.iter().collect();
    codes.sort_by_key(|code| code.code);
    for code in &codes {
        let severity = match code.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(text, "| `{}` | {severity} | {} |", code.code, code.meaning).unwrap();
    }
    golden(&top().join("docs/diagnostics.md"), &text);
    let unique: BTreeSet<&str> = codes.iter().map(|code| code.code).collect();
    assert_eq!(unique.len(), codes.len());
    let kebab = |code: &&str| {
        code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    assert!(unique.iter().all(kebab));
}
