//! Durations and sizes as people write them. Called wherever a document holds one.

/// Longest duration: a hundred years. Anything beyond is a slip of the finger.
pub const DURATION_S_MAX: u64 = 100 * 366 * 86_400;

/// Largest size: an exbibyte, the largest that a file system holds today.
pub const SIZE_BYTES_MAX: u64 = 1 << 60;

/// How a duration is written, for messages.
pub const DURATION_SHAPE: &str =
    "write a whole number with a unit, such as `30s`, `5m`, `1h`, `7d`, `4w`, or `1h30m`";

/// How a size is written, for messages.
pub const SIZE_SHAPE: &str = "write a whole number with a unit, such as `512KiB`, `10MiB`, `2GB`";

/// Returns the seconds of `30s`, `5m`, `1h`, `7d`, `4w` or a sequence of them from the largest unit
/// to the smallest, as in `1h30m`; `None` when the text is nothing of that kind.
pub fn duration_s(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut unit_before = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 7 * 86_400,
            _ => return None,
        };
        if unit >= unit_before {
            return None;
        }
        unit_before = unit;
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = rest.get(digits + 1..)?;
    }
    (total <= DURATION_S_MAX).then_some(total)
}

/// Returns the bytes of `512B`, `10MiB` (powers of 1024) or `2GB` (powers of 1000); `None` when the
/// text is nothing of that kind.
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text.get(..digits)?.parse().ok()?;
    let unit: u64 = match text.get(digits..)?.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    count.checked_mul(unit).filter(|&bytes| bytes <= SIZE_BYTES_MAX)
}

/// Returns seconds in words, in the largest units that fit: `1d 2h`.
pub fn duration_words(seconds: u64) -> String {
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in [(7 * 86_400, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("4w", Some(2_419_200)),
            ("1h30m", Some(5_400)),
            ("0s", Some(0)),
            ("", None),
            ("1", None),
            ("h", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1h1h", None),
            ("-1h", None),
            ("1y", None),
            ("99999999999999999999s", None),
            ("1é", None),
        ] {
            assert_eq!(duration_s(text), want, "{text}");
        }
        assert_eq!(duration_s(&format!("{DURATION_S_MAX}s")), Some(DURATION_S_MAX));
        assert_eq!(duration_s(&format!("{}s", DURATION_S_MAX + 1)), None);
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10MiB", Some(10 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("2 GB", Some(2_000_000_000)),
            ("7B", Some(7)),
            ("7", None),
            ("MiB", None),
            ("7mb", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(size_bytes(text), want, "{text}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(duration_words(0), "0s");
        assert_eq!(duration_words(93_600), "1d 2h");
    }
}
