//! How long things may be, and what may stand nowhere in Rust code.

use crate::hold;
use crate::ratchet::{self, Measured};
use crate::repo::{Source, sources};

/// Files are about 400 lines; at twice that a reader has lost the thread.
const FILE_LINES_MAX: usize = 800;
/// One screen: a function is read as a whole or not at all.
const FN_LINES_MAX: usize = 70;
/// What rustfmt is told as well; strings and comments escape rustfmt.
const LINE_CHARS_MAX: usize = 100;

const SPLIT: &str = "split along the nouns it holds; unit tests move to `tests.rs` beside the \
                     file. The list tests/tidy-ratchet.txt is for what cannot be split today, and \
                     only shrinks.";

#[test]
fn files_are_short() {
    let measured: Vec<Measured> = sources().iter().map(file_lines).collect();
    hold(SPLIT, ratchet::problems(&measured, FILE_LINES_MAX, &ratchet::allowed("file-lines")));
}

fn file_lines(source: &Source) -> Measured {
    Measured { place: source.path.clone(), lines: source.text.lines().count() }
}

#[test]
fn functions_are_short() {
    let measured: Vec<Measured> = sources().iter().flat_map(function_lines).collect();
    hold(SPLIT, ratchet::problems(&measured, FN_LINES_MAX, &ratchet::allowed("fn-lines")));
}

/// The longest function of each name; `impl`s of one file may share names.
fn function_lines(source: &Source) -> Vec<Measured> {
    let mut longest = std::collections::BTreeMap::new();
    for function in &source.functions {
        let lines: &mut usize = longest.entry(function.name.as_str()).or_default();
        *lines = function.lines.max(*lines);
    }
    let measured = |(name, lines)| Measured { place: format!("{}::{name}", source.path), lines };
    longest.into_iter().map(measured).collect()
}

#[test]
fn lines_are_short() {
    let long: Vec<(&Source, Vec<usize>)> = sources().iter().map(|s| (s, long_lines(s))).collect();
    let allowed = ratchet::allowed("long-lines");
    let (listed, others): (Vec<_>, Vec<_>) =
        long.into_iter().partition(|(source, _)| allowed.contains_key(&source.path));
    let measured = |(source, lines): &(&Source, Vec<usize>)| Measured {
        place: source.path.clone(),
        lines: lines.len(),
    };
    let measured: Vec<Measured> = listed.iter().map(measured).collect();
    let mut problems = ratchet::problems(&measured, 0, &allowed);
    for (source, lines) in others {
        problems.extend(lines.iter().map(|line| format!("{}:{line}", source.path)));
    }
    hold(
        "break the line; a long string continues after a `\\` at its line's end. A table of long \
         texts may have its entry `long-lines PATH COUNT` in tests/tidy-ratchet.txt.",
        problems,
    );
}

/// The lines that are longer than allowed.
fn long_lines(source: &Source) -> Vec<usize> {
    let too_long = |line: &str| line.chars().count() > LINE_CHARS_MAX;
    let lines = source.text.lines().enumerate();
    lines.filter(|(_, line)| too_long(line)).map(|(at, _)| at + 1).collect()
}

#[test]
fn files_open_with_their_job() {
    hold(
        "open the file with `//!` and its job in one sentence.",
        sources().iter().filter_map(without_job).collect(),
    );
}

fn without_job(source: &Source) -> Option<String> {
    (!source.text.starts_with("//! ")).then(|| source.path.clone())
}

/// Tokens that stand nowhere, not even in tests, and what to do about each.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("#[ignore", "mend the test or delete it; a test that does not run proves nothing"),
    ("todo!", "finish it, or return an error that says what is missing"),
    ("unimplemented!", "finish it, or return an error that says what is missing"),
    ("dbg!", "take it out; what is worth saying goes through `tracing`"),
];

#[test]
fn nothing_is_left_unfinished() {
    hold("as said at each place.", sources().iter().flat_map(unfinished).collect());
}

fn unfinished(source: &Source) -> Vec<String> {
    let at = |(pattern, mend): &(&str, &str)| {
        let say = |line| format!("{}:{line}: `{pattern}`: {mend}", source.path);
        source.lines_with_in_tests_too(pattern).into_iter().map(say).collect::<Vec<_>>()
    };
    BANNED_EVERYWHERE.iter().flat_map(at).collect()
}

#[test]
fn each_rule_notices_its_mistake() {
    let parse = |text: &str| Source::parse("reconciler/plan/src/a.rs", text);
    let good = parse("//! Does its job.\nfn short() {}\n");
    let comment = |chars| format!("//! Job.\n//{}\n", "é".repeat(chars - 2));
    assert!(long_lines(&parse(&comment(LINE_CHARS_MAX))).is_empty());
    assert_eq!(long_lines(&parse(&comment(LINE_CHARS_MAX + 1))).len(), 1);
    assert!(without_job(&good).is_none());
    assert!(without_job(&parse("// Job.\n")).is_some());
    assert!(unfinished(&good).is_empty());
    let ignored = "#[test]\n#[ignore = \"slow\"]\nfn a() {}";
    for bad in [ignored, "fn a() { todo!() }", "#[cfg(test)] fn a() { dbg!(1) }"] {
        assert_eq!(unfinished(&parse(bad)).len(), 1, "{bad}");
    }
    assert_eq!(function_lines(&parse("fn a() {\n\n}"))[0].lines, 3);
    assert_eq!(file_lines(&parse("//! Job.\n\n")).lines, 2);
}
