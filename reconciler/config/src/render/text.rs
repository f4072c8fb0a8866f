//! For people: the message, the source line, a mark under what is meant, and what to do.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::diagnostic::{Diagnostic, Origin, Severity};

/// Most characters of a source line that are shown: what fits on a screen beside the margin.
const LINE_CHARS_MAX: usize = 120;

/// Returns diagnostics as text, with the lines of the tree that they point at, and a last line that
/// counts them; nothing for no diagnostics. Secrets in clear are masked.
pub fn text(diagnostics: &[Diagnostic], tree: &BTreeMap<String, Vec<u8>>) -> String {
    let mut printer = Printer { tree, lines: BTreeMap::new(), secrets: secrets(diagnostics) };
    let mut out = String::new();
    for diagnostic in diagnostics {
        printer.diagnostic(diagnostic, &mut out);
        out.push('\n');
    }
    out.push_str(&summary(diagnostics));
    out
}

/// Returns how many errors and warnings there are, as a line; nothing for none.
fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let parts: Vec<String> =
        [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
    if parts.is_empty() { String::new() } else { format!("{}\n", parts.join(", ")) }
}

/// Returns the places of secrets in clear, which no output may repeat.
fn secrets(diagnostics: &[Diagnostic]) -> Vec<(Origin, u32)> {
    let secret = |d: &&Diagnostic| d.code == "secret-in-clear";
    diagnostics.iter().filter(secret).map(|d| (d.origin.clone(), d.width)).collect()
}

struct Printer<'a> {
    tree: &'a BTreeMap<String, Vec<u8>>,
    lines: BTreeMap<String, Vec<String>>,
    secrets: Vec<(Origin, u32)>,
}

impl Printer<'_> {
    fn diagnostic(&mut self, diagnostic: &Diagnostic, out: &mut String) {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let at = &diagnostic.origin;
        let margin = " ".repeat(at.line.to_string().len());
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{severity}[{}]: {}", diagnostic.code, diagnostic.message);
        let _ = writeln!(out, "{margin}--> {at}");
        if let Some((line, column)) = self.line(at) {
            let _ = writeln!(out, "{margin} |");
            let _ = writeln!(out, "{} | {line}", at.line);
            let rest = line.chars().count().saturating_sub(column).max(1);
            let width = (diagnostic.width as usize).clamp(1, rest);
            let _ = writeln!(out, "{margin} | {}{}", " ".repeat(column), "^".repeat(width));
        }
        for (origin, what) in &diagnostic.related {
            let _ = writeln!(out, "{margin} = {what}: {origin}");
            if let Some((line, _)) = self.line(origin) {
                let _ = writeln!(out, "{margin}   > {}", line.trim());
            }
        }
        if !diagnostic.help.is_empty() {
            let _ = writeln!(out, "{margin} = help: {}", diagnostic.help);
        }
    }

    /// Returns a source line as it can be shown, and the column (from 0) in it.
    fn line(&mut self, at: &Origin) -> Option<(String, usize)> {
        let lines = match self.lines.get(&at.file) {
            Some(lines) => lines,
            None => {
                let bytes = self.tree.get(&at.file)?;
                let text = String::from_utf8_lossy(bytes);
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                let lines = text.lines().map(str::to_owned).collect();
                self.lines.entry(at.file.clone()).or_insert(lines)
            }
        };
        let line = lines.get(at.line.checked_sub(1)? as usize)?;
        // What a terminal would obey is not shown as it is.
        let mut shown: Vec<char> =
            line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for (origin, width) in &self.secrets {
            if origin.file == at.file && origin.line == at.line {
                let start = origin.column.saturating_sub(1) as usize;
                shown.iter_mut().skip(start).take(*width as usize).for_each(|c| *c = '*');
            }
        }
        let column = (at.column.max(1) as usize - 1).min(shown.len());
        let start = if shown.len() > LINE_CHARS_MAX {
            column.saturating_sub(LINE_CHARS_MAX / 2)
        } else {
            0
        };
        let line: String = shown.iter().skip(start).take(LINE_CHARS_MAX).collect();
        Some((line.trim_end().to_owned(), column - start))
    }
}
