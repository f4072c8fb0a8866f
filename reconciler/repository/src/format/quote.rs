//! Names in any bytes as text: the quoting of Go's `strconv.Quote`, which restic's trees use.

/// Appends the quoted form of a name, without the quotes around it.
pub fn quote(name: &[u8], out: &mut String) {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
                c if is_printable(c) => out.push(c),
                c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
                c => out.push_str(&format!("\\U{:08x}", c as u32)),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
}

/// Approximates Go's `strconv.IsPrint`. Where the two differ the text differs, never the name: both
/// sides read every form.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && (c == ' ' || !c.is_whitespace())
        && !matches!(c as u32,
            0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff
            | 0xfff0..=0xfffb | 0xfffe..=0xffff | 0xe0000..=0x10ffff)
}

/// Reads a quoted name; `None` when an escape is not one.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    if !text.contains('\\') {
        return (!text.contains(['"', '\n'])).then(|| text.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' => return None,
            '\\' => escape(&mut chars, &mut out)?,
            c => push(&mut out, c),
        }
    }
    Some(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn digits(chars: &mut std::str::Chars<'_>, first: u32, count: usize, radix: u32) -> Option<u32> {
    (0..count)
        .try_fold(first, |n, _| n.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}

fn escape(chars: &mut std::str::Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    let byte = match chars.next()? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => digits(chars, 0, 2, 16)? as u8,
        c @ '0'..='7' => u8::try_from(digits(chars, c.to_digit(8)?, 2, 8)?).ok()?,
        long @ ('u' | 'U') => {
            let count = if long == 'u' { 4 } else { 8 };
            push(out, char::from_u32(digits(chars, 0, count, 16)?)?);
            return Some(());
        }
        _ => return None,
    };
    out.push(byte);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_as_go_does() {
        let check = |name: &[u8], expect: &str| {
            let mut out = String::new();
            quote(name, &mut out);
            assert_eq!(out, expect);
        };
        check(b"plain", "plain");
        check("grün 😀".as_bytes(), "grün 😀");
        check(b"a\"b\\c", "a\\\"b\\\\c");
        check(b"\x00\x1f\x7f\n\t", "\\x00\\x1f\\x7f\\n\\t");
        check(b"caf\xe9", "caf\\xe9");
        check("\u{a0}\u{feff}\u{e000}".as_bytes(), "\\u00a0\\ufeff\\ue000");
        assert_eq!(unquote("\\101\\u00e9\\U0001F600"), Some("Aé😀".as_bytes().to_vec()));
        for bad in ["\\", "\\x1", "\\q", "\"", "\\ud800", "\\777", "\\'"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = String::new();
            quote(&name, &mut out);
            prop_assert_eq!(unquote(&out), Some(name));
        }

        #[test]
        fn never_panics(s in "\\PC*") {
            let _ = unquote(&s);
        }
    }
}
