//! The page of a scenario: Markdown in which fenced blocks are documents or commands with the
//! output that they should have. Called by `scenario::run`; what is no block is prose and stays as
//! it is.

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Lines that are only read by people, their ends included.
    Prose(String),
    /// Documents of the config repository.
    Documents {
        /// They are added to those before, or take the place of the same kind and name; else they
        /// are all that there is.
        change: bool,
        /// The documents.
        text: String,
        /// The line of the page on which they begin.
        line: usize,
    },
    /// Commands.
    Commands(Vec<Command>),
}

/// A command and what it should print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The line of the page.
    pub(super) line: usize,
    /// Its words as written.
    pub(super) text: String,
    /// The expected output, each line ended.
    pub(super) output: String,
}

/// What a block of documents begins with.
const DOCUMENTS: &str = "```yaml";
/// What a block of documents that change those before begins with.
const CHANGE: &str = "```yaml change";
/// What a block of commands begins with.
const COMMANDS: &str = "```scenario";
/// What every block ends with.
const END: &str = "```";

/// Reads a page. A block that does not end is an error.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let trimmed = line.trim_end();
        if ![DOCUMENTS, CHANGE, COMMANDS].contains(&trimmed) {
            prose.push_str(line);
            prose.push('\n');
            continue;
        }
        parts.push(Part::Prose(std::mem::take(&mut prose)));
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.trim_end() == END => break,
                Some((n, line)) => block.push((n + 1, line)),
                None => return Err(format!("line {}: the block has no end", at + 1)),
            }
        }
        parts.push(if trimmed == COMMANDS {
            Part::Commands(commands(&block)?)
        } else {
            let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
            Part::Documents { change: trimmed == CHANGE, text, line: at + 1 }
        });
    }
    parts.push(Part::Prose(prose));
    Ok(parts)
}

fn commands(block: &[(usize, &str)]) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    for (line, text) in block {
        match (text.strip_prefix("> "), commands.last_mut()) {
            (Some(text), _) => commands.push(Command {
                line: *line,
                text: text.trim().to_owned(),
                output: String::new(),
            }),
            (None, Some(last)) => {
                last.output.push_str(text.trim_end());
                last.output.push('\n');
            }
            (None, None) if text.trim().is_empty() => {}
            (None, None) => {
                return Err(format!("line {line}: a command begins with `> `, not `{text}`"));
            }
        }
    }
    Ok(commands)
}

/// Writes a page.
pub(super) fn write(parts: &[Part]) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Prose(text) => out.push_str(text),
            Part::Documents { change, text, .. } => {
                let head = if *change { CHANGE } else { DOCUMENTS };
                out.push_str(&format!("{head}\n{text}{END}\n"));
            }
            Part::Commands(commands) => {
                out.push_str(&format!("{COMMANDS}\n"));
                for command in commands {
                    out.push_str(&format!("> {}\n{}", command.text, command.output));
                }
                out.push_str(&format!("{END}\n"));
            }
        }
    }
    out
}

/// Puts output into the form in which it stands in a page: no blank line at either end but one
/// after it, so that the next command stands apart.
pub(super) fn shaped(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    match text.trim_matches('\n') {
        "" => String::new(),
        text => format!("{text}\n\n"),
    }
}

/// Returns a page's title and its first sentence, for the list of all pages.
pub(super) fn about(text: &str) -> (String, String) {
    let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("untitled");
    let prose: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("# "))
        .skip(1)
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty() && !line.starts_with("```"))
        .collect();
    let prose = prose.join(" ");
    let sentence = prose.split_inclusive(". ").next().unwrap_or_default().trim();
    (title.to_owned(), sentence.to_owned())
}
