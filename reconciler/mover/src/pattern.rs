//! Exclusion patterns as restic's users know them; asked by the walk for every entry.
//!
//! `globset` and `ignore` were weighed: the first has no component-wise relative matching, the
//! second gitignore's rules, which differ from restic's just where users would notice.

/// An ordered list of patterns; the last one that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    negated: bool,
    absolute: bool,
    parts: Vec<Vec<u8>>,
}

impl Patterns {
    /// Reads patterns; empty ones are left out.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let parse = |text: &str| {
            let (negated, text) = match text.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, text),
            };
            let parts: Vec<Vec<u8>> = text
                .split('/')
                .filter(|p| !p.is_empty() && *p != ".")
                .map(|p| p.as_bytes().to_vec())
                .collect();
            (!parts.is_empty()).then(|| Pattern { negated, absolute: text.starts_with('/'), parts })
        };
        Self(patterns.into_iter().filter_map(parse).collect())
    }

    /// Returns whether an entry is excluded, by the components of its absolute path.
    pub fn excluded(&self, path: &[&[u8]]) -> bool {
        self.0.iter().rev().find(|p| p.matches(path)).is_some_and(|p| !p.negated)
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pattern {
    /// A pattern matches an entry when it matches its path or that of a directory above it;
    /// relative patterns match at any depth.
    fn matches(&self, path: &[&[u8]]) -> bool {
        let starts = if self.absolute { 0..1 } else { 0..path.len() };
        starts.into_iter().any(|from| prefix(&self.parts, &path[from..]))
    }
}

/// Returns whether the pattern matches the first components of the path.
fn prefix(parts: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match parts.split_first() {
        None => true,
        Some((part, rest)) if part == b"**" => (0..=path.len()).any(|n| prefix(rest, &path[n..])),
        Some((part, rest)) => {
            path.split_first().is_some_and(|(name, below)| glob(part, name) && prefix(rest, below))
        }
    }
}

/// Matches one component: `*`, `?`, `[a-z]`, `[^a]`, `\` before a literal. Bytes, except that `?`
/// and a class take a whole UTF-8 character. A star is tried again only from the last one, so the
/// time is bounded by the product of both lengths.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return true;
        }
        if n < name.len()
            && let Some((pattern_step, name_step)) = one(&pattern[p..], &name[n..])
        {
            p += pattern_step;
            n += name_step;
            continue;
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                p = after;
                n = from + 1;
            }
            _ => return false,
        }
    }
}

fn char_at(text: &[u8]) -> (u32, usize) {
    let length = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let whole = text.get(..length).and_then(|b| std::str::from_utf8(b).ok());
    match whole.and_then(|s| s.chars().next()) {
        Some(c) => (c as u32, length),
        None => (u32::from(text[0]), 1),
    }
}

/// Matches one pattern element against the begin of the name; returns how far both advance.
fn one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    match pattern.first()? {
        b'?' => Some((1, char_at(name).1)),
        b'[' => class(pattern, name),
        b'\\' if pattern.len() > 1 => (pattern[1] == name[0]).then_some((2, 1)),
        literal => (*literal == name[0]).then_some((1, 1)),
    }
}

fn class(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let (c, step) = char_at(name);
    let negated = matches!(pattern.get(1), Some(b'^' | b'!'));
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    let first = at;
    loop {
        match pattern.get(at)? {
            b']' if at > first => break,
            _ => {
                let (low, n) = literal(&pattern[at..])?;
                at += n;
                let mut high = low;
                if pattern.get(at) == Some(&b'-') && pattern.get(at + 1).is_some_and(|b| *b != b']')
                {
                    let (top, n) = literal(&pattern[at + 1..])?;
                    high = top;
                    at += 1 + n;
                }
                found |= (low..=high).contains(&c);
            }
        }
    }
    (found != negated).then_some((at + 1, step))
}

fn literal(pattern: &[u8]) -> Option<(u32, usize)> {
    match pattern {
        [b'\\', rest @ ..] if !rest.is_empty() => {
            let (c, n) = char_at(rest);
            Some((c, n + 1))
        }
        [] => None,
        _ => Some(char_at(pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(patterns: &[&str], path: &str, expect: bool) {
        let parts: Vec<&[u8]> =
            path.split('/').filter(|p| !p.is_empty()).map(str::as_bytes).collect();
        let got = Patterns::new(patterns.iter().copied()).excluded(&parts);
        assert_eq!(got, expect, "{patterns:?} on {path}");
    }

    #[test]
    fn as_restic() {
        check(&["*.o"], "/src/a/b.o", true);
        check(&["*.o"], "/src/a/b.c", false);
        check(&["node_modules"], "/home/x/node_modules", true);
        check(&["node_modules"], "/home/x/node_modules/deep/file", true);
        check(&["a/b"], "/x/a/b/c", true);
        check(&["a/b"], "/x/a/c/b", false);
        check(&["/home"], "/home/x", true);
        check(&["/x"], "/home/x", false);
        check(&["foo/**/bar"], "/foo/1/2/bar", true);
        check(&["foo/**/bar"], "/foo/bar", true);
        check(&["/srv/*/cache"], "/srv/web/cache/x", true);
        check(&["/srv/*/cache"], "/srv/web/x/cache", false);
        check(&["*.log", "!keep.log"], "/a/keep.log", false);
        check(&["*.log", "!keep.log", "keep*"], "/a/keep.log", true);
        check(&["file?.[ch]"], "/fileä.c", true);
        check(&["[^a-c]x"], "/dx", true);
        check(&["[^a-c]x"], "/bx", false);
        check(&["a\\*b"], "/a*b", true);
        check(&["a\\*b"], "/axb", false);
        check(&["", "/"], "/a", false);
        check(&["["], "/[", false);
        check(&["***"], "/abc", true);
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "\\PC{0,20}", name in proptest::collection::vec(any::<u8>(), 1..20)) {
            let _ = Patterns::new([pattern.as_str()]).excluded(&[&name]);
        }
    }
}
