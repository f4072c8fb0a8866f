//! The words of a command: separated by spaces, `key=value` among them, quotes around what has
//! spaces, a backslash before a quote inside of quotes.

use std::collections::BTreeMap;

/// The words of one command, taken one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    plain: std::collections::VecDeque<String>,
    pairs: BTreeMap<String, String>,
}

impl Words {
    /// Reads a line.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let mut words = Self::default();
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let (word, quoted_from, after) = word(rest)?;
            match word.split_once('=') {
                Some((key, value)) if quoted_from.is_none_or(|at| at > key.len()) => {
                    if words.pairs.insert(key.to_owned(), value.to_owned()).is_some() {
                        return Err(format!("`{key}=` is given twice"));
                    }
                }
                _ => words.plain.push_back(word),
            }
            rest = after.trim_start();
        }
        Ok(words)
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<String> {
        self.plain.pop_front()
    }

    /// Takes the next word, which must be there.
    pub(super) fn need(&mut self, what: &str) -> Result<String, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// Takes the next word if it is this one.
    pub(super) fn flag(&mut self, word: &str) -> bool {
        let at = self.plain.iter().position(|w| w == word);
        at.and_then(|at| self.plain.remove(at)).is_some()
    }

    /// Puts words back, for `flag`.
    pub(super) fn put_back(&mut self, words: Vec<String>) {
        self.plain.extend(words);
    }

    /// Takes a pair's value.
    pub(super) fn pair(&mut self, key: &str) -> Option<String> {
        self.pairs.remove(key)
    }

    /// Takes a pair that is a number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let value = self.pair(key);
        value.map(|v| v.parse().map_err(|_| format!("`{key}={v}` is no number"))).transpose()
    }

    /// Takes all pairs that are left.
    pub(super) fn pairs(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.pairs)
    }

    /// Checks that nothing is left: a word that nobody understood is a mistake.
    pub(super) fn end(self) -> Result<(), String> {
        match (self.plain.front(), self.pairs.keys().next()) {
            (Some(word), _) => Err(format!("`{word}` is not understood here")),
            (None, Some(key)) => Err(format!("`{key}=` is not understood here")),
            (None, None) => Ok(()),
        }
    }
}

/// Returns the first word, where in it a quote began, and the rest.
fn word(text: &str) -> Result<(String, Option<usize>, &str), String> {
    let (mut word, mut quoted_from, mut inside) = (String::new(), None, false);
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if inside && !escaped => {
                escaped = true;
                continue;
            }
            '"' if !escaped => {
                inside = !inside;
                quoted_from = quoted_from.or(Some(word.len()));
            }
            c if c.is_whitespace() && !inside => return Ok((word, quoted_from, &text[at..])),
            c => word.push(c),
        }
        escaped = false;
    }
    if inside { Err("a quote has no end".to_owned()) } else { Ok((word, quoted_from, "")) }
}
