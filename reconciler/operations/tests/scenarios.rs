//! Runs every page of `docs/scenarios/`: the output below each command must be what comes, no plan
//! may break a promise, and the list of pages must name them all.
//!
//! `UPDATE_GOLDEN=1 cargo test -p mainstay-operations --test scenarios` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mainstay_operations::scenario::{Ran, run};

/// A page longer than this is two pages.
const LINES_MAX: usize = 200;
/// Fewer pages than this do not cover the planner.
const PAGES_MIN: usize = 60;
/// What the list of pages stands between.
const LIST: [&str; 2] = ["<!-- pages -->\n", "<!-- end of pages -->"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn builtin() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["templates", "policies"] {
        for entry in fs::read_dir(top().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.insert(format!("{folder}/{name}"), fs::read(&path).expect("a file"));
        }
    }
    files
}

fn pages() -> BTreeMap<String, String> {
    let folder = fs::read_dir(top().join("docs/scenarios")).expect("a folder");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|e| e == "md"));
    pages
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a page"))
        })
        .filter(|(name, _)| name != "README.md")
        .collect()
}

fn run_page(text: &str, builtin: &BTreeMap<String, Vec<u8>>) -> Ran {
    let include = |name: &str| fs::read_to_string(top().join("docs/scenarios").join(name)).ok();
    run(text, builtin, &include).unwrap_or_else(|error| panic!("{error}"))
}

fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn every_page_is_as_it_is_written() {
    let (builtin, pages) = (builtin(), pages());
    assert!(pages.len() >= PAGES_MIN, "only {} pages", pages.len());
    let mut wrong = Vec::new();
    for (name, text) in &pages {
        let ran = run_page(text, &builtin);
        wrong.extend(ran.broken.iter().map(|why| format!("{name}: a promise is broken: {why}")));
        if ran.plans == 0 && !ran.text.contains("\n> validate") && !ran.text.contains("\n> lose") {
            let asks = ["> forecast", "> graph", "error: error["].iter().any(|c| text.contains(c));
            wrong.extend((!asks).then(|| format!("{name}: makes no plan")));
        }
        if ran.text.contains("error: there is no") {
            wrong.push(format!("{name}: names a command, a file or a thing that is none"));
        }
        if ran.text.lines().count() > LINES_MAX {
            wrong.push(format!("{name}: has more than {LINES_MAX} lines"));
        }
        if ran.text.contains("```scenario\n> config") && !ran.text.contains("worlds/") {
            wrong.push(format!("{name}: a world lies in worlds/"));
        }
        if updates() {
            fs::write(top().join("docs/scenarios").join(name), &ran.text).expect("a page");
        } else {
            wrong.extend(ran.mismatches.iter().map(|m| {
                format!(
                    "{name}:{}: {}\n--- expected\n{}--- got\n{}",
                    m.line, m.command, m.expected, m.got
                )
            }));
            // Blank lines and the like: what is written is what would be written.
            wrong.extend(
                (ran.mismatches.is_empty() && ran.text != *text)
                    .then(|| format!("{name}: is not written as --update would")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_world_is_used() {
    let pages = pages();
    for entry in fs::read_dir(top().join("docs/scenarios/worlds")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let used = pages.values().any(|text| text.contains(&format!("> config worlds/{name}")));
        assert!(used, "{name} is used by no page");
    }
}

#[test]
fn the_list_names_every_page() {
    let (builtin, pages) = (builtin(), pages());
    let mut list = String::from("\n| page | what happens |\n|---|---|\n");
    for (name, text) in &pages {
        let ran = run_page(text, &builtin);
        assert!(!ran.sentence.is_empty(), "{name} begins with no sentence");
        list.push_str(&format!("| [{}]({name}) | {} |\n", ran.title, ran.sentence));
    }
    list.push('\n');
    let path = top().join("docs/scenarios/README.md");
    let text = fs::read_to_string(&path).expect("the list");
    let (before, rest) = text.split_once(LIST[0]).expect("the list's begin");
    let (_, after) = rest.split_once(LIST[1]).expect("the list's end");
    let made = format!("{before}{}{list}{}{after}", LIST[0], LIST[1]);
    if updates() {
        fs::write(&path, &made).expect("the list");
    } else {
        assert!(text == made, "UPDATE_GOLDEN=1 cargo test -p mainstay-operations --test scenarios");
    }
}
