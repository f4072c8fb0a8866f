//! Reads a `known_hosts` file, so that an SSH server is who it was before. The format is that of
//! OpenSSH, `sshd(8)`, section "SSH_KNOWN_HOSTS FILE FORMAT".

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the file says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The host has this key.
    Known,
    /// The host has other keys only.
    Other,
    /// The host is not in the file.
    Unknown,
    /// The key is revoked.
    Revoked,
}

/// Looks a host's key up. `key` is the raw public key as it came over the wire.
pub(super) fn look_up(file: &str, host: &str, port: u16, key: &[u8]) -> Verdict {
    let name = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
    let mut verdict = Verdict::Unknown;
    for line in file.lines() {
        let mut fields = line.split_ascii_whitespace().peekable();
        let revoked = match fields.peek() {
            None => continue,
            Some(first) if first.starts_with('#') => continue,
            // Certificates of hosts are not understood; such lines say nothing to us.
            Some(&"@cert-authority") => continue,
            Some(&"@revoked") => fields.next().is_some(),
            Some(_) => false,
        };
        let (Some(names), Some(_type), Some(encoded)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if !matches(names, &name) {
            continue;
        }
        let same = STANDARD.decode(encoded).is_ok_and(|known| known == key);
        match (revoked, same) {
            (true, true) => return Verdict::Revoked,
            (true, false) => {}
            (false, true) => verdict = Verdict::Known,
            (false, false) if verdict == Verdict::Unknown => verdict = Verdict::Other,
            (false, false) => {}
        }
    }
    verdict
}

fn matches(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return matches_hash(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if wildcard(not.as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= wildcard(pattern.as_bytes(), name.as_bytes()),
        }
    }
    found
}

fn matches_hash(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, name.as_bytes(), &hash).is_ok())
}

/// Matches `*` and `?`, without regard to case, as host names are.
fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            wildcard(&pattern[1..], name) || (!name.is_empty() && wildcard(pattern, &name[1..]))
        }
        (Some(b'?'), Some(_)) => wildcard(&pattern[1..], &name[1..]),
        (Some(p), Some(n)) if p.eq_ignore_ascii_case(n) => wildcard(&pattern[1..], &name[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6MDEyMzQ1";

    fn check(file: &str, host: &str, port: u16, expect: Verdict) {
        let key = STANDARD.decode(KEY).unwrap();
        assert_eq!(look_up(file, host, port, &key), expect, "{file:?} {host}:{port}");
    }

    #[test]
    fn hosts_are_found_by_name_port_and_pattern() {
        check(&format!("git.example ssh-ed25519 {KEY}"), "git.example", 22, Verdict::Known);
        check(&format!("git.example ssh-ed25519 {KEY}"), "git.example", 2222, Verdict::Unknown);
        check(
            &format!("[git.example]:2222 ssh-ed25519 {KEY}"),
            "git.example",
            2222,
            Verdict::Known,
        );
        check(&format!("*.example,!bad.example t {KEY}"), "bad.example", 22, Verdict::Unknown);
        check(&format!("# comment\n\nother,*.EXAMPLE t {KEY}"), "git.example", 22, Verdict::Known);
        check("git.example ssh-ed25519 AAAA", "git.example", 22, Verdict::Other);
        check(&format!("x t {KEY}\n@revoked * t {KEY}"), "x", 22, Verdict::Revoked);
        check(&format!("@cert-authority * t {KEY}"), "x", 22, Verdict::Unknown);
    }

    #[test]
    fn hashed_names_are_found() {
        let salt = b"01234567890123456789";
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
        let hash = hmac::sign(&key, b"git.example");
        let names = format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash.as_ref()));
        check(&format!("{names} t {KEY}"), "git.example", 22, Verdict::Known);
        check(&format!("{names} t {KEY}"), "other.example", 22, Verdict::Unknown);
    }
}
