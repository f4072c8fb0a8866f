//! What production code may not touch: the crates that decide see no clock, no environment and no
//! files, and only the command line prints.

use crate::hold;
use crate::repo::{Source, sources};

/// Patterns that some crates may not use outside their tests.
struct Ban {
    crates: &'static [&'static str],
    patterns: &'static [&'static str],
    mend: &'static str,
}

/// Floors 0 and 1 without the two crates that move data.
const PURE: &[&str] = &["model", "config", "plan"];
/// Everything that a simulated world must be able to drive.
const DRIVEN: &[&str] =
    &["model", "config", "plan", "mover", "repository", "runtime", "operations"];

const NO_CLOCK: Ban = Ban {
    crates: DRIVEN,
    patterns: &["SystemTime::now", "Timestamp::now", "Zoned::now", "TimeZone::system"],
    mend: "take the instant as an argument; only `cli` and `adapters` ask the machine for it, \
           behind the clock port",
};
const NO_STOPWATCH: Ban = Ban {
    // The runtime's stopwatch is tokio's, which a test can stop.
    crates: &["model", "config", "plan", "mover", "repository"],
    patterns: &["Instant::now"],
    mend: "take the duration or the clock as an argument",
};
const NO_ENVIRONMENT: Ban = Ban {
    crates: DRIVEN,
    patterns: &["env::var", "env::vars", "env::var_os", "env::current_dir", "env::temp_dir"],
    mend: "take the value as an argument; `cli` reads the environment",
};
const NO_RANDOMNESS: Ban = Ban {
    crates: PURE,
    patterns: &["rand::", "thread_rng", "getrandom", "RandomState"],
    mend: "the same input must give the same bytes on any machine; derive it from a digest",
};
const NO_FILES: Ban = Ban {
    crates: PURE,
    patterns: &["fs::", "File::", "process::", "thread::spawn", "TcpStream", "UdpSocket", "stdin"],
    mend: "take bytes and return values; files, processes and sockets belong to `adapters`",
};
const NO_ASYNC: Ban = Ban {
    crates: &["config", "plan"],
    patterns: &["async", "await"],
    mend: "deciding waits for nothing; ask before, and hand the answer in",
};
const NO_HASH_ORDER: Ban = Ban {
    crates: &["model", "plan"],
    patterns: &["HashMap", "HashSet"],
    mend: "use `BTreeMap` or `BTreeSet`, whose order is the same in every run",
};
const NO_PRINTING: Ban = Ban {
    crates: &[
        "model",
        "config",
        "plan",
        "mover",
        "repository",
        "adapters",
        "runtime",
        "operations",
        "server",
    ],
    patterns: &["println!", "eprintln!", "print!", "eprint!", "io::stdout", "io::stderr"],
    mend: "return the value, or send an event; only `cli` prints",
};

/// Files that may break a ban in a crate that moves data, with the reason.
/// None is needed where the caller can hand the value in.
const EXCUSED: &[(&str, &str, &str)] = &[
    ("reconciler/mover/src/bin/mainstay-mover.rs", "io::stdout", "the connection that it serves"),
    ("reconciler/mover/src/bin/mainstay-mover.rs", "io::stderr", "why a program of its own ended"),
];

#[test]
fn clocks_are_arguments() {
    hold(NO_CLOCK.mend, breaches(sources(), &NO_CLOCK));
    hold(NO_STOPWATCH.mend, breaches(sources(), &NO_STOPWATCH));
}

#[test]
fn environment_is_an_argument() {
    hold(NO_ENVIRONMENT.mend, breaches(sources(), &NO_ENVIRONMENT));
}

#[test]
fn decisions_are_not_random() {
    hold(NO_RANDOMNESS.mend, breaches(sources(), &NO_RANDOMNESS));
}

#[test]
fn decisions_do_no_input_or_output() {
    hold(NO_FILES.mend, breaches(sources(), &NO_FILES));
}

#[test]
fn decisions_wait_for_nothing() {
    hold(NO_ASYNC.mend, breaches(sources(), &NO_ASYNC));
}

#[test]
fn decisions_have_one_order() {
    hold(NO_HASH_ORDER.mend, breaches(sources(), &NO_HASH_ORDER));
}

#[test]
fn only_the_command_line_prints() {
    hold(NO_PRINTING.mend, breaches(sources(), &NO_PRINTING));
}

#[test]
fn every_excuse_is_needed() {
    let needed = |path: &str, pattern: &str| {
        sources().iter().any(|s| s.path == path && !s.lines_with(pattern).is_empty())
    };
    let idle = EXCUSED.iter().filter(|(path, pattern, _)| !needed(path, pattern));
    let say = |(path, pattern, _): &(&str, &str, &str)| format!("{path}: no `{pattern}` there");
    hold("take the entry out of `EXCUSED`.", idle.map(say).collect());
}

fn breaches(sources: &[Source], ban: &Ban) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        if !source.crate_name().is_some_and(|name| ban.crates.contains(&name)) {
            continue;
        }
        for pattern in ban.patterns {
            let excused =
                |(path, what, _): &(&str, &str, &str)| *path == source.path && what == pattern;
            if EXCUSED.iter().any(excused) {
                continue;
            }
            let say = |line| format!("{}:{line}: `{pattern}`", source.path);
            found.extend(source.lines_with(pattern).into_iter().map(say));
        }
    }
    found
}

#[test]
fn each_ban_notices_its_mistake() {
    let mistakes = [
        (&NO_CLOCK, "repository", "fn a() { std::time::SystemTime::now(); }"),
        (&NO_STOPWATCH, "plan", "use std::time; fn a() { time::Instant::now(); }"),
        (&NO_ENVIRONMENT, "config", "fn a() { std::env::var(\"HOME\"); }"),
        (&NO_RANDOMNESS, "model", "fn a() { rand::random(); }"),
        (&NO_FILES, "config", "fn a() { std::fs::read(\"a\"); }"),
        (&NO_ASYNC, "plan", "async fn a() {}"),
        (&NO_HASH_ORDER, "plan", "use std::collections::HashMap;"),
        (&NO_PRINTING, "adapters", "fn a() { eprintln!(\"b\"); }"),
    ];
    for (ban, name, text) in mistakes {
        let at = |path: String| vec![Source::parse(&path, text)];
        let in_tests = format!("#[cfg(test)] mod tests {{ {text} }}");
        let tested = Source::parse(&format!("reconciler/{name}/src/a.rs"), &in_tests);
        assert_eq!(breaches(&at(format!("reconciler/{name}/src/a.rs")), ban).len(), 1, "{text}");
        assert!(breaches(&at(format!("reconciler/{name}/tests/a.rs")), ban).is_empty(), "{text}");
        assert!(breaches(&at("reconciler/cli/src/a.rs".to_owned()), ban).is_empty(), "{text}");
        assert!(breaches(&[tested], ban).is_empty(), "{text}");
    }
}
