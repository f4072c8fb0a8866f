//! What can be said of a template without a resource: that its texts compile, name only what
//! exists, keep secrets out of arguments, and that its parts fit together.

use std::collections::HashSet;

use model::diagnostic::Diagnostic;

use crate::diagnostics as d;
use crate::documents::{ArgSpec, CommandSpec, ParameterSpec, ParameterType};
use crate::lower::text as shapes;
use crate::spans;
use crate::template::{Template, engine, parameters};

/// Shells, by the last part of their path.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

/// Where a text stands, and so what it may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Arguments and names: every user of the machine can read them.
    Seen,
    /// Environment and standard input.
    Kept,
}

/// Compiles the texts of a template and adds what is wrong.
pub fn check(template: &mut Template<'_>, found: &mut Vec<Diagnostic>) {
    let spec = template.spec;
    for (key, parameter) in &spec.parameters {
        check_parameter(template, key, parameter, found);
    }
    for (key, text) in &spec.env {
        check_text(template, &format!("/env/{}", spans::escape(key)), text, Role::Kept, &[], found);
    }
    check_tree(template, found);
    for (list, commands) in command_lists(template) {
        for (index, command) in commands.iter().enumerate() {
            check_command(template, &format!("{list}/{index}"), command, found);
        }
    }
    if let Some(session) = &spec.session {
        check_command(template, "/session", session, found);
    }
    check_streams(template, found);
    check_data(template, found);
}

/// Returns the lists of commands with the pointers at which they stand.
fn command_lists<'d>(template: &Template<'d>) -> Vec<(&'static str, &'d [CommandSpec])> {
    let mut lists = vec![
        ("/probe", template.spec.probe.as_slice()),
        ("/recreate", template.spec.recreate.as_slice()),
    ];
    if let Some(recovery) = &template.spec.recovery {
        lists.extend([
            ("/recovery/state", recovery.state.as_slice()),
            ("/recovery/prepare", recovery.prepare.as_slice()),
            ("/recovery/verify", recovery.verify.as_slice()),
            ("/recovery/swap", recovery.swap.as_slice()),
            ("/recovery/commit", recovery.commit.as_slice()),
            ("/recovery/rollback", recovery.rollback.as_slice()),
            ("/recovery/discard", recovery.discard.as_slice()),
        ]);
    }
    lists
}

fn check_parameter(
    template: &Template<'_>,
    key: &str,
    parameter: &ParameterSpec,
    found: &mut Vec<Diagnostic>,
) {
    let at = format!("/parameters/{}", spans::escape(key));
    let mut wrong = |pointer: &str, why: &str| {
        found.push(d::template_parameter(template.place_key(pointer), key, why));
    };
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain || key.is_empty() || key.as_bytes()[0].is_ascii_digit() {
        wrong(&at, "has a name that no template can use: use letters, digits and `_`");
    }
    if engine::HOLES.contains(&key) || key == engine::FACTS || key == engine::ITEM {
        wrong(&at, "has the name of something that every template has");
    }
    if let Some(pattern) = &parameter.pattern {
        if parameters::pattern_matches(pattern, "").is_none() {
            wrong(&format!("{at}/pattern"), "has a pattern that is no regular expression");
        }
        let kinds = [ParameterType::String, ParameterType::List, ParameterType::Path];
        if !kinds.contains(&parameter.kind) {
            wrong(&format!("{at}/pattern"), "has a pattern, which only text can match");
        }
    }
    if let Some(default) = &parameter.default {
        if parameter.required {
            wrong(&format!("{at}/default"), "is required, so its default is never used");
        }
        if parameter.kind == ParameterType::Secret {
            wrong(&format!("{at}/default"), "is a secret, which has no default");
        } else if parameters::bind(parameter, default).is_err() {
            wrong(&format!("{at}/default"), "has a default that does not fit its type");
        }
    }
}

fn check_tree(template: &mut Template<'_>, found: &mut Vec<Diagnostic>) {
    let Some(tree) = &template.spec.tree else { return };
    let mut texts = vec![("/tree/path".to_owned(), tree.path.as_str())];
    for (key, value) in [
        ("excludes", &tree.excludes),
        ("excludeCaches", &tree.exclude_caches),
        ("excludeIfPresent", &tree.exclude_if_present),
        ("oneFileSystem", &tree.one_file_system),
        ("mountPoint", &tree.mount_point),
    ] {
        match value {
            Some(serde_json::Value::String(text)) => texts.push((format!("/tree/{key}"), text)),
            Some(serde_json::Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let text = item.as_str().unwrap_or_default();
                    texts.push((format!("/tree/{key}/{index}"), text));
                }
            }
            _ => {}
        }
    }
    if let Some(text) = &tree.largest {
        texts.push(("/tree/largest".to_owned(), text));
    }
    for (pointer, text) in texts {
        check_text(template, &pointer, text, Role::Seen, &[], found);
    }
}

fn check_streams(template: &mut Template<'_>, found: &mut Vec<Diagnostic>) {
    let spec = template.spec;
    let mut names = HashSet::new();
    for (index, stream) in spec.streams.iter().enumerate() {
        let at = format!("/streams/{index}");
        check_text(template, &format!("{at}/name"), &stream.name, Role::Seen, &[], found);
        if !names.insert(stream.name.as_str()) {
            let place = template.place(&format!("{at}/name"));
            found.push(d::item_duplicate(place, "streams", &stream.name));
        }
        check_arguments(template, &format!("{at}/run"), &stream.run, found);
        check_rest(template, &at, stream.input.as_deref(), stream.timeout.as_deref(), found);
    }
    let loads = spec.recovery.iter().flat_map(|recovery| &recovery.load);
    for (index, load) in loads.enumerate() {
        let at = format!("/recovery/load/{index}");
        check_arguments(template, &format!("{at}/run"), &load.run, found);
        check_rest(template, &at, None, load.timeout.as_deref(), found);
        if !names.contains(load.stream.as_str()) {
            let known: Vec<&str> = spec.streams.iter().map(|s| s.name.as_str()).collect();
            let place = template.place(&format!("{at}/stream"));
            found.push(d::reference_unknown(place, "stream", &load.stream, &known));
        }
    }
}

fn check_data(template: &Template<'_>, found: &mut Vec<Diagnostic>) {
    let spec = template.spec;
    let root = template.place_key("");
    match (&spec.tree, spec.streams.is_empty()) {
        (None, true) => found.push(d::template_without_data(root)),
        (Some(_), false) => found.push(d::template_data_twice(template.place_key("/streams"))),
        (Some(_), true) => {
            for (key, there) in
                [("session", spec.session.is_some()), ("recovery", spec.recovery.is_some())]
            {
                if there {
                    let why = format!("has a `tree`, which needs no `{key}`");
                    found.push(d::template_recovery(template.place_key(&format!("/{key}")), &why));
                }
            }
        }
        (None, false) => {
            let Some(recovery) = &spec.recovery else {
                let why = "has `streams`, and no `recovery` to bring them back";
                found.push(d::template_recovery(template.place_key("/streams"), why));
                return;
            };
            for (index, stream) in spec.streams.iter().enumerate() {
                if !recovery.load.iter().any(|load| load.stream == stream.name) {
                    let why = format!("stores stream `{}`, and never loads it", stream.name);
                    let place = template.place(&format!("/streams/{index}/name"));
                    found.push(d::template_recovery(place, &why));
                }
            }
        }
    }
}

fn check_command(
    template: &mut Template<'_>,
    at: &str,
    command: &CommandSpec,
    found: &mut Vec<Diagnostic>,
) {
    check_arguments(template, &format!("{at}/run"), &command.run, found);
    check_rest(template, at, command.input.as_deref(), command.timeout.as_deref(), found);
}

fn check_rest(
    template: &mut Template<'_>,
    at: &str,
    input: Option<&str>,
    timeout: Option<&str>,
    found: &mut Vec<Diagnostic>,
) {
    if let Some(input) = input {
        check_text(template, &format!("{at}/input"), input, Role::Kept, &[], found);
    }
    if let Some(timeout) = timeout {
        let place = template.place(&format!("{at}/timeout"));
        shapes::duration(place, "timeout", timeout, found);
    }
}

fn check_arguments(
    template: &mut Template<'_>,
    at: &str,
    run: &[ArgSpec],
    found: &mut Vec<Diagnostic>,
) {
    for (index, arg) in run.iter().enumerate() {
        let at = format!("{at}/{index}");
        match arg {
            ArgSpec::Text(text) => check_text(template, &at, text, Role::Seen, &[], found),
            ArgSpec::Conditional(some) => {
                let expressions = [("when", &some.when), ("each", &some.each)];
                if some.when.is_none() && some.each.is_none() {
                    let about =
                        "the condition, or `each` with the list, under which they are given.";
                    let place = template.place(&at);
                    found.push(d::field_missing(place, "when", "the arguments", about));
                }
                for (key, expression) in expressions {
                    if let Some(text) = expression {
                        check_expression(template, &format!("{at}/{key}"), text, found);
                    }
                }
                let extra: &[&str] = if some.each.is_some() { &[engine::ITEM] } else { &[] };
                for (index, text) in some.args.iter().enumerate() {
                    check_text(
                        template,
                        &format!("{at}/args/{index}"),
                        text,
                        Role::Seen,
                        extra,
                        found,
                    );
                }
            }
        }
    }
    if let Some(index) = shell_text(run) {
        found.push(d::shell_with_parameters(template.place(&format!("{at}/{index}"))));
    }
}

/// Returns the index of the text that a shell would read, if parameters become part of it. The
/// shell need not come first: `sudo` and `env` begin commands too.
fn shell_text(run: &[ArgSpec]) -> Option<usize> {
    let text = |index: usize| match run.get(index) {
        Some(ArgSpec::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    for index in 0..run.len() {
        let shell = text(index).and_then(|t| t.rsplit('/').next()).unwrap_or_default();
        let option = text(index + 1).unwrap_or_default();
        let takes_text =
            option.starts_with('-') && !option.starts_with("--") && option.ends_with('c');
        if SHELLS.contains(&shell) && takes_text && text(index + 2)?.contains("{{") {
            return Some(index + 2);
        }
    }
    None
}

fn check_text(
    template: &mut Template<'_>,
    pointer: &str,
    text: &str,
    role: Role,
    extra: &[&str],
    found: &mut Vec<Diagnostic>,
) {
    if engine::is_unsafe(text) {
        let why = "it holds NUL or one of the characters U+E000 and U+E001";
        found.push(d::template_invalid(template.place(pointer), why));
        return;
    }
    // A text is added under itself, so that equal texts are compiled once.
    if let Err(error) = template.env.add_template_owned(text.to_owned(), text.to_owned()) {
        found.push(d::template_invalid(template.place(pointer), &engine::words(&error)));
        return;
    }
    let names = match template.env.get_template(text) {
        Ok(compiled) => compiled.undeclared_variables(false),
        Err(_) => return,
    };
    check_names(template, pointer, names, role, extra, found);
}

fn check_expression(
    template: &Template<'_>,
    pointer: &str,
    text: &str,
    found: &mut Vec<Diagnostic>,
) {
    match template.env.compile_expression_owned(text.to_owned()) {
        Ok(expression) => {
            let names = expression.undeclared_variables(false);
            // A condition only compares, so a secret does not become visible by it.
            check_names(template, pointer, names, Role::Kept, &[], found);
        }
        Err(error) => {
            found.push(d::template_invalid(template.place(pointer), &engine::words(&error)));
        }
    }
}

fn check_names(
    template: &Template<'_>,
    pointer: &str,
    names: HashSet<String>,
    role: Role,
    extra: &[&str],
    found: &mut Vec<Diagnostic>,
) {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    for name in &names {
        let general = engine::HOLES.contains(&name.as_str())
            || name == engine::FACTS
            || extra.contains(&name.as_str())
            || template.env.globals().any(|(global, _)| global == name);
        match template.spec.parameters.get(name) {
            Some(parameter) if parameter.kind == ParameterType::Secret && role == Role::Seen => {
                found.push(d::secret_in_argument(template.place(pointer), name));
            }
            Some(_) => {}
            None if general => {}
            None => {
                let known = template.parameter_names();
                let near = d::nearest(name, known.iter().copied());
                let why = match near {
                    Some(near) => format!("there is no parameter `{name}`; did you mean `{near}`?"),
                    None => format!("there is no parameter `{name}`"),
                };
                found.push(d::template_invalid(template.place(pointer), &why));
            }
        }
    }
}
