//! The commands that bring one point of one resource back by hand, made from what its type's
//! template says of recovery.

use std::collections::BTreeSet;

use model::agent::{Arg, Command, Piece};
use model::desired::Resource;

use super::shell::{end_of, quoted};

/// The token under which databases beside the original are made by hand.
const TOKEN: &str = "byhand";

/// The commands and what must be known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) lines: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Writes the commands that follow when restic knows repository and password.
pub(super) fn recipe(resource: &Resource, snapshot: &str) -> Recipe {
    let agent = &resource.agent;
    let mut recipe = Recipe::default();
    recipe.notes.push(format!("Give the commands on {}.", resource.target));
    if let Some(tree) = &agent.tree {
        let from = format!("{snapshot}:{}", tree.path.trim_end_matches('/'));
        let beside = format!("{}.restored", tree.path.trim_end_matches('/'));
        recipe.lines.push(format!(
            "restic restore --verify --target {} {}",
            quoted(&beside),
            quoted(&from)
        ));
        in_place(&mut recipe, tree.path.trim_end_matches('/'), &beside);
        return recipe;
    }
    let Some(steps) = &agent.recovery else {
        for stream in &agent.streams {
            recipe.lines.push(dump(snapshot, &stream.name, &format!("> {}", quoted(&stream.name))));
        }
        recipe.notes.push(format!(
            "The template {} says nothing of recovery: the files are as its backup wrote them.",
            agent.template
        ));
        return recipe;
    };
    for (name, value) in &agent.env {
        recipe.lines.push(format!("export {name}={}", word(value)));
    }
    let foreign = |command: &&Command| !is_own(command);
    for command in steps.prepare.iter().filter(foreign) {
        recipe.lines.push(line(command));
    }
    for load in &steps.load {
        if is_own(&load.command) {
            // Our own tool puts the file itself in place: by hand it is copied.
            let Some(path) = agent.with.get("path") else { continue };
            let beside = format!("{path}.restored");
            let to = format!("> {}", quoted(&beside));
            recipe.lines.push(dump(snapshot, &load.stream, &to));
            in_place(&mut recipe, path, &beside);
            recipe.notes.push(
                "Stop every program that has the file open before it is moved, and remove what \
                 lies beside it under the names -wal, -shm and -journal."
                    .to_owned(),
            );
        } else {
            let into = format!("| {}", line(&load.command));
            recipe.lines.push(dump(snapshot, &load.stream, &into));
        }
    }
    for command in steps.swap.iter().filter(foreign) {
        recipe.lines.push(line(command));
    }
    if steps.commit.iter().any(|c| !is_own(c)) {
        let what = "When people have said that all is well, what was kept aside is removed with:";
        recipe.notes.push(what.to_owned());
        let commit: Vec<String> = steps.commit.iter().filter(foreign).map(line).collect();
        recipe.notes.push(commit.join("\n"));
    }
    let unloaded: Vec<&str> = agent
        .streams
        .iter()
        .map(|s| s.name.as_str())
        .filter(|name| !steps.load.iter().any(|load| load.stream == *name))
        .collect();
    for name in unloaded {
        recipe.notes.push(format!("Beside it: {}", dump(snapshot, name, "")));
    }
    recipe
}

/// The commands that make it anew, without our own tools.
pub(super) fn anew(resource: &Resource) -> Vec<String> {
    resource.agent.recreate.iter().filter(|c| !is_own(c)).map(line).collect()
}

/// The programs that a resource's recipe calls, without the shell's own.
pub(super) fn programs(resource: &Resource) -> BTreeSet<String> {
    let Some(steps) = &resource.agent.recovery else { return BTreeSet::new() };
    let loads = steps.load.iter().map(|load| &load.command);
    let all = steps.prepare.iter().chain(loads).chain(&steps.swap).chain(&steps.commit);
    let common = ["dd", "true", "cat", "sh"];
    all.filter(|c| !is_own(c))
        .filter_map(|command| {
            // Behind a change of user stands the program itself.
            let words: Vec<String> = command.argv.iter().map(plain).collect();
            let changes_user = words.first().is_some_and(|w| w == "runuser");
            let at = words.iter().position(|w| w == "--").filter(|_| changes_user);
            words.get(at.map_or(0, |at| at + 1)).cloned()
        })
        .filter(|program| !common.contains(&program.as_str()))
        .collect()
}

/// Moves what was restored into its place; what was there stays beside it.
fn in_place(recipe: &mut Recipe, path: &str, beside: &str) {
    let before = quoted(&format!("{path}.before-recovery"));
    let (path, beside) = (quoted(path), quoted(beside));
    recipe.lines.push(format!("ls -la -- {beside}"));
    recipe.lines.push(format!("test ! -e {path} || mv -T -- {path} {before}"));
    recipe.lines.push(format!("mv -T -- {beside} {path}"));
}

fn dump(snapshot: &str, stream: &str, rest: &str) -> String {
    format!("restic dump {snapshot} {} {rest}", quoted(&format!("/{stream}"))).trim_end().to_owned()
}

/// Whether a command is one of our own tools, which are gone with us.
fn is_own(command: &Command) -> bool {
    let word = |at: usize| command.argv.get(at).map(plain);
    word(0).as_deref() == Some("mainstay") && word(1).as_deref() == Some("tool")
}

fn line(command: &Command) -> String {
    let words: Vec<String> = command.argv.iter().map(word).collect();
    let line = words.join(" ");
    match &command.input {
        None => line,
        Some(input) => {
            let text = plain(input);
            let end = end_of(&text);
            format!("{line} <<'{end}'\n{}\n{end}", text.trim_end())
        }
    }
}

/// A word for the shell; secrets are read from their files.
fn word(arg: &Arg) -> String {
    let secret = |piece: &Piece| matches!(piece, Piece::Secret(_));
    if !arg.0.iter().any(secret) {
        return quoted(&plain(arg));
    }
    let parts = arg.0.iter().map(|piece| match piece {
        Piece::Secret(name) => format!("\"$(cat -- \"$SECRETS\"/{})\"", quoted(&name.0)),
        piece => quoted(&text_of(piece)),
    });
    parts.collect()
}

fn plain(arg: &Arg) -> String {
    arg.0.iter().map(text_of).collect()
}

fn text_of(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Hole(name) if name == "token" => TOKEN.to_owned(),
        Piece::Hole(name) => format!("<{name}>"),
        Piece::Secret(name) => format!("<the password {}>", name.0),
    }
}
