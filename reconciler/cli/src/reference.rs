//! The command reference `docs/commands.md`, made from the arguments' own help and pinned by a
//! test.

use clap::{Command, CommandFactory};

use crate::args::Args;

/// Returns the reference as Markdown.
fn reference() -> String {
    let mut text = String::from(
        "# Commands\n\nMade from `mainstay --help`; a test keeps it equal. `UPDATE_GOLDEN=1 cargo \
         test -p mainstay-cli` writes it anew.\n\n## Exit codes\n\n| code | meaning \
         |\n|---|---|\n| 0 | done; `plan`: nothing to do |\n| 1 | error, or something was partial \
         |\n| 2 | `plan`: there is something to do; `apply`: some steps still wait |\n| 3 | \
         destructive steps wait for approval, or an alarm for `accept` |\n| 4 | something could \
         not be observed |\n| 64 | wrong usage |\n",
    );
    let mut top = Args::command().term_width(90);
    top.build();
    text.push_str(&section(&mut top, "mainstay"));
    text
}

fn section(command: &mut Command, name: &str) -> String {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let mut text = format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim());
    for below in command.get_subcommands_mut() {
        if !below.is_hide_set() && below.get_name() != "help" {
            let below_name = format!("{name} {}", below.get_name());
            text.push_str(&section(below, &below_name));
        }
    }
    text
}

#[test]
fn the_reference_is_what_help_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let made = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/commands.md is old: UPDATE_GOLDEN=1 cargo test -p mainstay-cli");
}

#[test]
fn arguments_are_consistent() {
    Args::command().debug_assert();
}
