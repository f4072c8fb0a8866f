//! A plan as text for people, Markdown for a pull request and JSON for programs: one model, three
//! views, pure strings. Called by the faces; they add colour and print.

mod json;
mod markdown;
mod simulate;
#[cfg(test)]
mod tests;
mod text;
mod whatif;
mod words;

pub use json::{JSON_VERSION, json};
pub use markdown::{MARKDOWN_CHARS_MAX, markdown};
pub use simulate::{rules_in_words, simulation};
pub use text::text;
pub use whatif::{difference, forecast, time, what_if};
pub(crate) use words::points;
pub use words::{bytes, describe, duration, title, wait};

/// What a piece of text means; the face chooses the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// As it is.
    Plain,
    /// The head of a section.
    Heading,
    /// Something is added.
    Add,
    /// Something is changed or brought back.
    Change,
    /// Something is removed.
    Remove,
    /// Something that can do harm.
    Destructive,
    /// Something is as it should be.
    Good,
    /// Something to look at.
    Warning,
    /// Something is wrong.
    Bad,
    /// An address, an id or a digest.
    Id,
    /// What matters less.
    Dim,
}

/// Labelled lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub Vec<Vec<(Label, String)>>);

impl Lines {
    /// Returns the text without labels, each line ended.
    pub fn to_plain(&self) -> String {
        let mut out = String::new();
        for line in &self.0 {
            for (_, text) in line {
                out.push_str(text);
            }
            out.push('\n');
        }
        out
    }

    pub(crate) fn push(&mut self, spans: impl IntoIterator<Item = (Label, String)>) {
        self.0.push(spans.into_iter().collect());
    }

    pub(crate) fn line(&mut self, label: Label, text: impl Into<String>) {
        self.0.push(vec![(label, text.into())]);
    }

    pub(crate) fn blank(&mut self) {
        if self.0.last().is_some_and(|line| !line.is_empty()) {
            self.0.push(Vec::new());
        }
    }
}
