//! The document as Markdown, HTML and plain text: one model, three views.

use super::{Block, Runbook};

/// What stands before the fingerprint by which a printed document is compared.
pub(super) const SHAPE_LABEL: &str = "Fingerprint: ";
/// What stands before the points that it names.
pub(super) const POINTS_LABEL: &str = "Points: ";

/// The line length of plain text: what fits on paper.
const COLUMNS: usize = 80;

fn footer(runbook: &Runbook) -> [String; 3] {
    let points: Vec<&str> = runbook.points.iter().map(String::as_str).collect();
    [
        format!("Made at: {}", super::seconds(runbook.at)),
        format!("{SHAPE_LABEL}{}", runbook.shape.short()),
        format!("{POINTS_LABEL}{}", points.join(" ")),
    ]
}

/// Renders as Markdown.
pub fn markdown(runbook: &Runbook) -> String {
    let mut out = String::new();
    for block in &runbook.blocks {
        match block {
            Block::Heading { level, text } => {
                out.push_str(&format!("{} {text}\n\n", "#".repeat(usize::from(*level))));
            }
            Block::Paragraph { text } if text.contains('\n') => {
                out.push_str(&format!("```sh\n{text}\n```\n\n"));
            }
            Block::Paragraph { text } => out.push_str(&format!("{}\n\n", escaped(text))),
            Block::Warning { text } => out.push_str(&format!("**{}**\n\n", escaped(text))),
            Block::List { ordered, items } => {
                for (n, item) in items.iter().enumerate() {
                    let mark = if *ordered { format!("{}.", n + 1) } else { "-".to_owned() };
                    out.push_str(&format!("{mark} {}\n", escaped(item)));
                }
                out.push('\n');
            }
            Block::Table { header, rows } => {
                let cells = |row: &[String]| {
                    let row: Vec<String> =
                        row.iter().map(|cell| escaped(cell).replace('|', "\\|")).collect();
                    format!("| {} |\n", row.join(" | "))
                };
                out.push_str(&cells(header));
                out.push_str(&format!("|{}\n", "---|".repeat(header.len())));
                rows.iter().for_each(|row| out.push_str(&cells(row)));
                out.push('\n');
            }
            Block::Commands { lines } => {
                let text = lines.join("\n");
                // A fence longer than any in the commands.
                let mut fence = "```".to_owned();
                while text.contains(&fence) {
                    fence.push('`');
                }
                out.push_str(&format!("{fence}sh\n{text}\n{fence}\n\n"));
            }
        }
    }
    let lines = footer(runbook).map(|line| format!("{line}  "));
    out.push_str(&format!("---\n\n{}\n", lines.join("\n").trim_end()));
    out
}

/// Keeps names from being read as Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\`*_[]<>#".contains(c) {
            out.push('\\');
        }
        out.push(if c == '\n' { ' ' } else { c });
    }
    out
}

/// Renders as plain text.
pub fn text(runbook: &Runbook) -> String {
    let mut out = String::new();
    for block in &runbook.blocks {
        match block {
            Block::Heading { level, text } => {
                let line = match level {
                    1 => "=",
                    2 => "-",
                    _ => "",
                };
                out.push_str(&format!("\n{text}\n"));
                if !line.is_empty() {
                    out.push_str(&format!("{}\n", line.repeat(text.chars().count())));
                }
                out.push('\n');
            }
            Block::Paragraph { text } if text.contains('\n') => indented(&mut out, text),
            Block::Paragraph { text } => wrapped(&mut out, text, "", ""),
            Block::Warning { text } => wrapped(&mut out, text, "!! ", "!! "),
            Block::List { ordered, items } => {
                for (n, item) in items.iter().enumerate() {
                    let mark = if *ordered { format!("{:>2}. ", n + 1) } else { "  - ".to_owned() };
                    wrapped(&mut out, item, &mark, "    ");
                    out.pop();
                }
                out.push('\n');
            }
            Block::Table { header, rows } => {
                for row in rows {
                    for (head, cell) in header.iter().zip(row) {
                        wrapped(&mut out, cell, &format!("  {head}: "), "      ");
                        out.pop();
                    }
                    out.push('\n');
                }
            }
            Block::Commands { lines } => indented(&mut out, &lines.join("\n")),
        }
    }
    out.push_str(&format!("\n{}\n", footer(runbook).join("\n")));
    out.trim_start().to_owned()
}

fn indented(out: &mut String, text: &str) {
    // Not wrapped and not indented: what is copied must be what was written.
    out.push_str(&format!("{text}\n\n"));
}

fn wrapped(out: &mut String, text: &str, first: &str, rest: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            out.push_str(line.trim_end());
            out.push('\n');
            line = rest.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push_str("\n\n");
}

/// Renders as one HTML page without scripts or anything from elsewhere, fit for paper.
pub fn html(runbook: &Runbook) -> String {
    let mut body = String::new();
    for block in &runbook.blocks {
        body.push_str(&match block {
            Block::Heading { level, text } => format!("<h{level}>{}</h{level}>\n", safe(text)),
            Block::Paragraph { text } if text.contains('\n') => {
                format!("<pre>{}</pre>\n", safe(text))
            }
            Block::Paragraph { text } => format!("<p>{}</p>\n", safe(text)),
            Block::Warning { text } => format!("<p class=\"warning\">{}</p>\n", safe(text)),
            Block::List { ordered, items } => {
                let tag = if *ordered { "ol" } else { "ul" };
                let items: String =
                    items.iter().map(|i| format!("<li>{}</li>\n", safe(i))).collect();
                format!("<{tag}>\n{items}</{tag}>\n")
            }
            Block::Table { header, rows } => {
                let cells = |tag: &str, row: &[String]| -> String {
                    let cells: String =
                        row.iter().map(|c| format!("<{tag}>{}</{tag}>", safe(c))).collect();
                    format!("<tr>{cells}</tr>\n")
                };
                let rows: String = rows.iter().map(|row| cells("td", row)).collect();
                format!("<table>\n{}{rows}</table>\n", cells("th", header))
            }
            Block::Commands { lines } => {
                format!("<pre>{}</pre>\n", safe(&lines.join("\n")))
            }
        });
    }
    let footer: String =
        footer(runbook).iter().map(|line| format!("{}<br>\n", safe(line))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Recovery \
         runbook</title>\n<style>\nbody {{ font-family: sans-serif; max-width: 50em; margin: 2em \
         auto; padding: 0 1em; }}\npre {{ border: 1px solid; padding: .5em; white-space: \
         pre-wrap; }}\ntable {{ border-collapse: collapse; }}\ntd, th {{ border: 1px solid; \
         padding: .2em .5em; text-align: left; }}\n.warning {{ font-weight: bold; border-left: \
         .3em solid; padding-left: .5em; }}\nh3, pre, li {{ break-inside: avoid; \
         }}\n</style>\n</head>\n<body>\n{body}<hr>\n<p>\n{footer}</p>\n</body>\n</html>\n"
    )
}

fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
