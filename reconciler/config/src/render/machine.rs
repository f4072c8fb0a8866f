//! For machines: versioned JSON, SARIF 2.1.0 (code scanning), JUnit XML (test reports) and workflow
//! commands (annotations on pull requests).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use model::diagnostic::{Diagnostic, Origin, Severity};
use serde_json::{Value, json};

use crate::diagnostics::CODES;

/// Version of what [`json()`] returns; it grows when a field changes its meaning or goes.
pub const JSON_VERSION: u32 = 1;

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|d| d.severity == severity).count()
}

fn pretty(value: &Value) -> String {
    // A value of texts and numbers always prints.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns diagnostics as JSON.
pub fn json(diagnostics: &[Diagnostic]) -> String {
    let origin = |o: &Origin| json!({ "file": o.file, "line": o.line, "column": o.column });
    let one = |d: &Diagnostic| {
        let related = d.related.iter().map(|(at, what)| json!({ "at": origin(at), "what": what }));
        json!({
            "severity": word(d.severity),
            "code": d.code,
            "at": origin(&d.origin),
            "width": d.width,
            "message": d.message,
            "help": d.help,
            "related": related.collect::<Vec<_>>(),
        })
    };
    pretty(&json!({
        "version": JSON_VERSION,
        "errors": count(diagnostics, Severity::Error),
        "warnings": count(diagnostics, Severity::Warning),
        "diagnostics": diagnostics.iter().map(one).collect::<Vec<_>>(),
    }))
}

/// Returns diagnostics as SARIF 2.1.0 (OASIS), one rule per code that occurs.
pub fn sarif(diagnostics: &[Diagnostic]) -> String {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|d| d.code.as_str()).collect();
    let rules = CODES.iter().filter(|code| codes.contains(code.code)).map(|code| {
        json!({
            "id": code.code,
            "shortDescription": { "text": code.meaning },
            "defaultConfiguration": { "level": word(code.severity) },
        })
    });
    let location = |at: &Origin, width: u32| {
        json!({
            "artifactLocation": { "uri": uri(&at.file), "uriBaseId": "%SRCROOT%" },
            "region": {
                "startLine": at.line,
                "startColumn": at.column,
                "endColumn": at.column.saturating_add(width),
            },
        })
    };
    let result = |d: &Diagnostic| {
        let related = d.related.iter().map(|(at, what)| {
            json!({ "physicalLocation": location(at, 1), "message": { "text": what } })
        });
        let text = match d.help.as_str() {
            "" => d.message.clone(),
            help => format!("{} — {help}", d.message),
        };
        json!({
            "ruleId": d.code,
            "level": word(d.severity),
            "message": { "text": text },
            "locations": [{ "physicalLocation": location(&d.origin, d.width) }],
            "relatedLocations": related.collect::<Vec<_>>(),
        })
    };
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "mainstay",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).collect::<Vec<_>>(),
        }],
    }))
}

/// Returns a path as a relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// Returns diagnostics as JUnit XML: one test case per YAML file, failed when the file has errors;
/// warnings are its output.
pub fn junit(diagnostics: &[Diagnostic], tree: &BTreeMap<String, Vec<u8>>) -> String {
    let mut files: BTreeMap<&str, Vec<&Diagnostic>> = tree
        .keys()
        .filter(|path| path.ends_with(".yaml") || path.ends_with(".yml"))
        .map(|path| (path.as_str(), Vec::new()))
        .collect();
    for diagnostic in diagnostics {
        files.entry(&diagnostic.origin.file).or_default().push(diagnostic);
    }
    let failed = |list: &&Vec<&Diagnostic>| list.iter().any(|d| d.severity == Severity::Error);
    let failures = files.values().filter(failed).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, suite) = (files.len(), "mainstay validate");
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<testsuites tests=\"{tests}\" failures=\"{failures}\">");
    let _ = writeln!(
        out,
        "  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"0\">"
    );
    for (file, list) in &files {
        let name = xml(file);
        if list.is_empty() {
            let _ = writeln!(out, "    <testcase classname=\"{suite}\" name=\"{name}\"/>");
            continue;
        }
        let _ = writeln!(out, "    <testcase classname=\"{suite}\" name=\"{name}\">");
        for d in list.iter().filter(|d| d.severity == Severity::Error) {
            let _ = writeln!(
                out,
                "      <failure type=\"{}\" message=\"{}\">{}</failure>",
                xml(&d.code),
                xml(&d.message),
                xml(&line(d)),
            );
        }
        let warnings: Vec<String> =
            list.iter().filter(|d| d.severity == Severity::Warning).map(|d| line(d)).collect();
        if !warnings.is_empty() {
            let _ = writeln!(out, "      <system-out>{}</system-out>", xml(&warnings.join("\n")));
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn line(d: &Diagnostic) -> String {
    let help = if d.help.is_empty() { String::new() } else { format!(" ({})", d.help) };
    format!("{}: {}: {}{help}", d.origin, word(d.severity), d.message)
}

/// Returns a text as XML 1.0 can hold it.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Returns diagnostics as workflow commands of GitHub Actions, which become annotations.
pub fn github(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let data = match d.help.as_str() {
            "" => d.message.clone(),
            help => format!("{}\n{help}", d.message),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "::{} file={},line={},col={},endColumn={},title={}::{}",
            word(d.severity),
            escaped(&d.origin.file, true),
            d.origin.line,
            d.origin.column,
            d.origin.column.saturating_add(d.width),
            escaped(&d.code, true),
            escaped(&data, false),
        );
    }
    out
}

/// Returns a text as a workflow command takes it: line ends, and in properties the separators, are
/// escaped, so that no text can begin a command of its own.
fn escaped(text: &str, property: bool) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    if property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}
