//! Reads the texts of documents that mean more than text: paths, names, durations, instants. Each
//! says what is wrong at the place that it is given.

use jiff::Timestamp;
use model::diagnostic::Diagnostic;
use model::id::{Address, Name};

use crate::diagnostics::{self as d, Place};
use crate::units;

/// Longest path: what Linux takes.
const PATH_BYTES_MAX: usize = 4_096;

/// Longest name of a secret.
const SECRET_NAME_BYTES_MAX: usize = 128;

/// Longest token: it becomes part of names on targets, hashed, and is shown whole to people.
pub const TOKEN_BYTES_MAX: usize = 200;

/// Says what is wrong with an absolute path.
///
/// # Errors
/// When it is not absolute or not in its simplest form.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("is not absolute");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("is too long");
    }
    if path.contains(|c: char| c.is_control()) {
        return Err("has characters that do not print");
    }
    if path == "/" {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("ends with `/`");
    }
    for part in path.split('/').skip(1) {
        match part {
            "" => return Err("has an empty part"),
            "." | ".." => return Err("has a part that goes nowhere or back"),
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether a text can be the name of a secret: of a file or an environment variable.
pub fn is_secret_name(name: &str) -> bool {
    let edge = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    edge && name.len() <= SECRET_NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Reads a duration in seconds.
pub fn duration(place: Place, path: &str, text: &str, found: &mut Vec<Diagnostic>) -> Option<u64> {
    let seconds = units::duration_s(text);
    if seconds.is_none() {
        found.push(d::duration_malformed(place, path, text));
    }
    seconds
}

/// Reads a duration that must be more than nothing.
pub fn duration_some(
    place: Place,
    path: &str,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<u64> {
    let seconds = duration(place.clone(), path, text, found)?;
    if seconds == 0 {
        found.push(d::duration_zero(place, path));
    }
    (seconds > 0).then_some(seconds)
}

/// Reads an instant.
pub fn instant(
    place: Place,
    path: &str,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<Timestamp> {
    let instant = text.parse().ok();
    if instant.is_none() {
        found.push(d::instant_malformed(place, path, text));
    }
    instant
}

/// Reads a name.
pub fn name(place: Place, text: &str, found: &mut Vec<Diagnostic>) -> Option<Name> {
    let name = text.parse().ok();
    if name.is_none() {
        found.push(d::name_invalid(place, text));
    }
    name
}

/// Reads an address; with an application, a bare name is a resource of it.
pub fn address(
    place: Place,
    text: &str,
    application: Option<&Name>,
    found: &mut Vec<Diagnostic>,
) -> Option<Address> {
    let address = match application {
        Some(application) if !text.contains('/') => {
            text.parse().ok().map(|resource| Address { application: application.clone(), resource })
        }
        _ => text.parse().ok(),
    };
    if address.is_none() {
        found.push(d::address_invalid(place, text));
    }
    address
}

/// Reads a token.
pub fn token(place: Place, text: &str, found: &mut Vec<Diagnostic>) -> Option<String> {
    let why = if text.trim().is_empty() {
        "is empty".to_owned()
    } else if text.len() > TOKEN_BYTES_MAX {
        format!("has {} bytes, more than {TOKEN_BYTES_MAX}", text.len())
    } else if text.contains(|c: char| c.is_control()) {
        "has characters that do not print".to_owned()
    } else {
        return Some(text.to_owned());
    };
    found.push(d::token_invalid(place, &why));
    None
}

/// Returns whether a text is an id of 64 hex digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["/", "/srv", "/srv/a b/c", "/srv/..a"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["", "srv", "/srv/", "/srv//a", "/srv/../a", "/srv/.", "/a\nb", "//"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
