//! The list of what is too long already. It may only shrink: an entry that is no longer needed, or
//! allows more than is there, fails the test as surely as a file that outgrows its limit.

use crate::repo::root;
use std::collections::BTreeMap;

/// Where the list lies, from the top of the tree.
pub const RATCHET_FILE: &str = "tests/tidy-ratchet.txt";

/// What entries can be about.
const RULES: &[&str] = &["file-lines", "fn-lines", "long-lines"];

/// One measured thing: where it is, and how many lines it has.
pub struct Measured {
    pub place: String,
    pub lines: usize,
}

/// The entries of one rule, by place.
pub type Allowed = BTreeMap<String, usize>;

/// Reads the entries of `rule` from the list in the tree.
pub fn allowed(rule: &str) -> Allowed {
    let text = std::fs::read_to_string(root().join(RATCHET_FILE)).expect("the list exists");
    parse(&text, rule)
}

fn parse(text: &str, rule: &str) -> Allowed {
    let mut entries = Allowed::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, place, lines] = words[..] else {
            panic!("{RATCHET_FILE}: `{line}` is not RULE PLACE LINES");
        };
        assert!(RULES.contains(&name), "{RATCHET_FILE}: no rule {name}");
        let lines = lines.parse().unwrap_or_else(|_| panic!("{RATCHET_FILE}: `{line}`: no number"));
        if name == rule {
            entries.insert(place.to_owned(), lines);
        }
    }
    entries
}

/// Compares what was measured with the limit and with the entries for what exceeds it.
pub fn problems(measured: &[Measured], limit: usize, allowed: &Allowed) -> Vec<String> {
    let mut found = Vec::new();
    for Measured { place, lines } in measured {
        match allowed.get(place) {
            None if *lines > limit => found.push(format!("{place}: {lines} lines, limit {limit}")),
            Some(entry) if lines > entry => {
                found.push(format!("{place}: {lines} lines, has grown beyond its entry {entry}"));
            }
            Some(_) if *lines <= limit => {
                found.push(format!("{place}: {lines} lines; take its line out of {RATCHET_FILE}"));
            }
            Some(entry) if lines < entry => {
                found.push(format!("{place}: {lines} lines; lower its entry {entry} to that"));
            }
            _ => {}
        }
    }
    let is_gone = |place: &&String| measured.iter().all(|m| m.place != **place);
    let gone = allowed.keys().filter(is_gone);
    found.extend(gone.map(|place| format!("{place}: gone; take it out of {RATCHET_FILE}")));
    found
}

#[test]
fn the_list_can_only_shrink() {
    let at = |lines| vec![Measured { place: "a.rs".to_owned(), lines }];
    let list = parse("# why\nfile-lines a.rs 12\nfn-lines b.rs::f 80\n", "file-lines");
    assert_eq!(list.len(), 1);
    assert!(problems(&at(10), 10, &Allowed::new()).is_empty());
    assert!(problems(&at(12), 10, &list).is_empty());
    for (lines, allowed) in [(11, &Allowed::new()), (13, &list), (11, &list), (10, &list)] {
        assert_eq!(problems(&at(lines), 10, allowed).len(), 1, "{lines} lines");
    }
    assert_eq!(problems(&[], 10, &list).len(), 1);
}
