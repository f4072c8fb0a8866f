//! What goes to the terminal: data to standard output, all else to standard error. Code gives
//! labels, colours are chosen here; everything can be read without colour.

use std::io::{IsTerminal, Write};

use plan::render::{Label, Lines};
use serde::Serialize;

use crate::args::{Color, Format, Global};
use crate::error::CliError;

/// The terminal.
#[derive(Clone, Debug)]
pub struct Ui {
    color_out: bool,
    color_err: bool,
    /// What data looks like.
    pub format: Format,
    quiet: bool,
}

const RESET: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const CYAN: &str = "\u{1b}[36m";
const DIM: &str = "\u{1b}[2m";

impl Ui {
    /// Returns the terminal as the arguments ask for it. `NO_COLOR` is honoured.
    pub fn new(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
        };
        Self {
            color_out: wanted(std::io::stdout().is_terminal()),
            color_err: wanted(std::io::stderr().is_terminal()),
            format: global.format,
            quiet: global.quiet,
        }
    }

    /// Returns whether data is JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Returns whether a person watches standard error.
    pub fn watches(&self) -> bool {
        std::io::stderr().is_terminal() && !self.quiet
    }

    /// Prints a line of data.
    pub fn out(&self, text: impl AsRef<str>) {
        let mut stdout = std::io::stdout().lock();
        // A closed pipe (`| head`) is the reader's wish, not an error.
        drop(writeln!(stdout, "{}", text.as_ref()));
    }

    /// Prints text of data as it is.
    pub fn raw(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        drop(stdout.write_all(text.as_bytes()));
        drop(stdout.flush());
    }

    /// Prints a value as JSON.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| CliError::internal(format!("the result is no JSON: {e}")))?;
        self.out(text);
        Ok(())
    }

    /// Prints labelled lines of data.
    pub fn lines(&self, lines: &Lines) {
        let mut text = String::new();
        for line in &lines.0 {
            for (label, span) in line {
                text.push_str(&paint(*label, span, self.color_out));
            }
            text.push('\n');
        }
        self.raw(&text);
    }

    /// Says something that is no data.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Says how to go on.
    pub fn hint(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{} {}", self.err("hint:", YELLOW), text.as_ref());
        }
    }

    /// Warns.
    pub fn warn(&self, text: impl AsRef<str>) {
        eprintln!("{} {}", self.err("warning:", YELLOW), text.as_ref());
    }

    /// Prints an error.
    pub fn error(&self, error: &CliError) {
        if let Some((diagnostics, tree)) = &error.diagnostics {
            eprint!("{}", config::render::text(diagnostics, &tree.files));
        }
        eprintln!("{} {}", self.err("error:", RED), error.message);
        for hint in &error.hints {
            eprintln!("{} {hint}", self.err("hint:", YELLOW));
        }
    }

    fn err(&self, word: &str, color: &str) -> String {
        if self.color_err { format!("{BOLD}{color}{word}{RESET}") } else { word.to_owned() }
    }
}

fn paint(label: Label, text: &str, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match label {
        Label::Plain => return text.to_owned(),
        Label::Add | Label::Good => GREEN,
        Label::Change | Label::Warning => YELLOW,
        Label::Remove | Label::Destructive | Label::Bad => RED,
        Label::Heading => BOLD,
        Label::Id => CYAN,
        Label::Dim => DIM,
    };
    format!("{code}{text}{RESET}")
}

/// Returns a table: columns as wide as their widest cell, two spaces between, no trailing space.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut out = line(header.to_vec());
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}
