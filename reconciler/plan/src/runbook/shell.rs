//! Words for a POSIX shell. The only place that writes shell: for people to read and give, never
//! run by the program.

/// Quotes a word so that a shell takes it as it is.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A line that ends a here document and does not occur in it.
pub(super) fn end_of(input: &str) -> String {
    let mut end = "END".to_owned();
    while input.lines().any(|line| line == end) {
        end.push('_');
    }
    end
}
