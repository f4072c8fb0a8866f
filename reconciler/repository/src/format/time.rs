//! Times in RFC 3339 with nanoseconds, as Go's `time.Time` writes them; read with any offset,
//! written in UTC. By hand because trees hold three of them per file, and parsing is half their
//! cost.

use model::ports::mover::FileTime;

/// Appends the time, with the year held between 0 and 9999 as the format demands.
pub fn write(time: FileTime, out: &mut Vec<u8>) {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999_END: i64 = 253_402_300_799;
    let seconds = time.seconds.clamp(YEAR_0, YEAR_9999_END);
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    digits(out, year as u64, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, (rest / 3600) as u64, 2);
    out.push(b':');
    digits(out, (rest / 60 % 60) as u64, 2);
    out.push(b':');
    digits(out, (rest % 60) as u64, 2);
    if time.nanos != 0 {
        out.push(b'.');
        digits(out, u64::from(time.nanos.min(999_999_999)), 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Returns the time as text.
pub fn text(time: FileTime) -> String {
    let mut out = Vec::with_capacity(30);
    write(time, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn digits(out: &mut Vec<u8>, value: u64, width: u32) {
    let from = out.len();
    out.resize(from + width as usize, b'0');
    let mut rest = value;
    for digit in out[from..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
}

/// Days since 1970-01-01 to year, month, day; Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, u64, u64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Year, month, day to days since 1970-01-01; Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Reads a time; `None` when it is not one.
pub fn parse(text: &str) -> Option<FileTime> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        b.get(from..to)?
            .iter()
            .try_fold(0i64, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let mark = |at: usize, c: u8| (*b.get(at)? == c).then_some(());
    mark(4, b'-')?;
    mark(7, b'-')?;
    mark(13, b':')?;
    mark(16, b':')?;
    if !matches!(b.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (month, day) = (number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 24
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut seconds = days(number(0, 4)?, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let mut at = 19;
    let mut nanos = 0u32;
    if b.get(at) == Some(&b'.') {
        at += 1;
        let mut scale = 100_000_000;
        while let Some(c) = b.get(at).filter(|c| c.is_ascii_digit()) {
            nanos += u32::from(c - b'0') * scale;
            scale /= 10;
            at += 1;
        }
    }
    match b.get(at)? {
        b'Z' | b'z' => at += 1,
        sign @ (b'+' | b'-') => {
            mark(at + 3, b':')?;
            let offset = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            seconds += if *sign == b'+' { -offset } else { offset };
            at += 6;
        }
        _ => return None,
    }
    (at == b.len()).then_some(FileTime { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_writes() {
        let check = |s: &str, seconds, nanos| {
            assert_eq!(parse(s), Some(FileTime { seconds, nanos }), "{s}");
        };
        check("1970-01-01T00:00:00Z", 0, 0);
        check("2014-12-22T14:47:59.912418701+01:00", 1_419_256_079, 912_418_701);
        check("1969-12-31T23:59:59.5Z", -1, 500_000_000);
        check("0000-01-01T00:00:00Z", -62_167_219_200, 0);
        for bad in
            ["", "2014", "2014-13-01T00:00:00Z", "2014-12-22T14:47:59", "2014-12-22T14:47:59.5Zx"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(seconds in -62_167_219_200i64..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let time = FileTime { seconds, nanos };
            prop_assert_eq!(parse(&text(time)), Some(time));
            let oracle = jiff::Timestamp::new(seconds, 0).map(|t| t.to_string());
            if let Ok(oracle) = oracle && seconds > -62_135_596_800 {
                prop_assert_eq!(text(FileTime { seconds, nanos: 0 }), oracle);
            }
        }

        #[test]
        fn never_panics(s in "\\PC*") {
            let _ = parse(&s);
        }
    }
}
