//! A plan as Markdown for a pull request: summary and destructive part first, cut to what a host
//! accepts in a comment.

use std::fmt::Write as _;

use model::plan::{Class, Plan, Step};

use super::text::{counts, is_well};
use super::words::{describe, duration, title, wait};
use crate::outcome::Outcome;

/// The least of what the large hosts accept in one comment (GitHub: 65,536), with room for what a
/// bot adds around it.
pub const MARKDOWN_CHARS_MAX: usize = 60_000;

/// Renders a plan for a pull request, at most [`MARKDOWN_CHARS_MAX`] characters.
pub fn markdown(plan: &Plan) -> String {
    let mut sections = vec![head(plan), destructive(plan), conditions(plan), waiting(plan)];
    let rest: Vec<&Step> =
        plan.steps.iter().filter(|step| step.class != Class::Destructive).collect();
    sections.push(table("Steps", &rest));
    sections.push(deferred(plan));
    sections.push(bullets("Not observed", &plan.report.incomplete));
    sections.push(bullets("Notes", &plan.report.notes));
    let mut out = String::new();
    for section in sections {
        out.push_str(&section);
    }
    cut(out)
}

fn head(plan: &Plan) -> String {
    let outcome = Outcome::of(plan);
    let mut out = format!("### Mainstay plan: {}\n\n", outcome.sentence());
    let _ = writeln!(
        out,
        "{} · commit `{}` · plan `{}`\n",
        counts(plan),
        plan.commit.short(),
        plan.id.short()
    );
    out
}

fn destructive(plan: &Plan) -> String {
    let steps: Vec<&Step> =
        plan.steps.iter().filter(|step| step.class == Class::Destructive).collect();
    if steps.is_empty() {
        return String::new();
    }
    let mut out = String::from("#### Destructive\n\n");
    for step in steps {
        let _ = writeln!(out, "- **{}**", escape(&title(step)));
        for reason in &step.reasons {
            let _ = writeln!(out, "  - {}", escape(reason));
        }
        if let Some(loss) = &step.loss {
            let _ = writeln!(
                out,
                "  - loses everything after {} ({}){}{}",
                loss.after,
                duration(loss.seconds),
                if loss.detail.is_empty() { "" } else { ": " },
                escape(&loss.detail.join(", "))
            );
        }
        for each in &step.waits {
            let _ = writeln!(out, "  - waits for {}", escape(&wait(each)));
        }
    }
    if let Some(digest) = &plan.destructive {
        let _ = writeln!(out, "\nApprove with `mainstay approve {}`\n", digest.short());
    }
    out
}

fn conditions(plan: &Plan) -> String {
    let rows: Vec<String> = plan
        .report
        .conditions
        .unwell()
        .iter()
        .filter(|(_, c)| !is_well(c))
        .map(|(address, condition)| format!("`{address}` {}", describe(condition)))
        .collect();
    bullets("Conditions", &rows)
}

fn waiting(plan: &Plan) -> String {
    let alarms: Vec<String> = plan.report.alarms.iter().map(wait).collect();
    bullets("Alarms", &alarms)
}

fn table(heading: &str, steps: &[&Step]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut out = format!("#### {heading}\n\n| step | why | waits for |\n|---|---|---|\n");
    for step in steps {
        let waits: Vec<String> = step.waits.iter().map(wait).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            escape(&title(step)),
            escape(&step.reasons.join("; ")),
            escape(&waits.join("; "))
        );
    }
    out.push('\n');
    out
}

fn deferred(plan: &Plan) -> String {
    let rows: Vec<String> = plan
        .report
        .deferred
        .iter()
        .map(|d| format!("`{}` {}: {}", d.step, d.code, d.reason))
        .collect();
    bullets("Not planned", &rows)
}

fn bullets(heading: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut out = format!("#### {heading}\n\n");
    for item in items {
        let _ = writeln!(out, "- {}", escape(item));
    }
    out.push('\n');
    out
}

/// What people and systems wrote must not become markup, mention anybody or break a table.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '<' | '>' | '*' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // A zero-width space keeps a host from telling somebody.
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    out
}

fn cut(text: String) -> String {
    let length = text.chars().count();
    if length <= MARKDOWN_CHARS_MAX {
        return text;
    }
    let note = "\n\n_Cut to what fits into a comment; the whole plan is in the saved file._\n";
    let room = MARKDOWN_CHARS_MAX - note.chars().count();
    let mut out = String::new();
    let mut used = 0;
    for line in text.split_inclusive('\n') {
        let chars = line.chars().count();
        if used + chars > room {
            break;
        }
        used += chars;
        out.push_str(line);
    }
    out.push_str(note);
    out
}
