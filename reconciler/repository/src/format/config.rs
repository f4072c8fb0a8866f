//! The `config` file: format version and identity of a repository.

use model::error::PortError;
use serde::{Deserialize, Serialize};

use crate::crypto;

/// What a repository says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Format version: 1 or 2.
    pub version: u32,
    /// 32 random bytes in hexadecimal: the repository's identity.
    pub id: String,
    /// The polynomial of restic's chunker, in hexadecimal.
    pub chunker_polynomial: String,
}

impl Config {
    /// Returns the config of a new repository of version 2.
    pub fn new() -> Result<Self, PortError> {
        let mut id = [0; 32];
        crypto::random(&mut id)?;
        let chunker_polynomial = format!("{:x}", random_polynomial()?);
        Ok(Self { version: 2, id: hex::encode(id), chunker_polynomial })
    }
}

/// Degree of restic's chunker polynomials.
const DEGREE: u32 = 53;

/// Draws irreducible polynomials over GF(2) as restic's chunker needs one; about one in 53 of the
/// candidates is irreducible.
fn random_polynomial() -> Result<u64, PortError> {
    for _ in 0..100_000 {
        let mut bytes = [0; 8];
        crypto::random(&mut bytes)?;
        let candidate = u64::from_le_bytes(bytes) & ((1 << (DEGREE + 1)) - 1) | 1 << DEGREE | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
    Err(PortError::terminal("Crypto", "no irreducible polynomial found"))
}

fn degree(p: u64) -> i32 {
    63 - p.leading_zeros() as i32
}

fn reduce(mut a: u64, p: u64) -> u64 {
    while a != 0 && degree(a) >= degree(p) {
        a ^= p << (degree(a) - degree(p));
    }
    a
}

fn square(a: u64, p: u64) -> u64 {
    // Multiplication bit by bit, reduced on the way so that it fits.
    let mut result = 0;
    for bit in (0..64).rev() {
        result = reduce(result << 1, p);
        if a >> bit & 1 == 1 {
            result = reduce(result ^ a, p);
        }
    }
    result
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        let r = reduce(a, b);
        a = b;
        b = r;
    }
    a
}

/// Rabin's test for a prime degree: x^(2^53) = x modulo p, and gcd(x^2 - x, p) = 1.
fn is_irreducible(p: u64) -> bool {
    let mut power = 2;
    for i in 0..DEGREE {
        power = square(power, p);
        if i == 0 && gcd(p, power ^ 2) != 1 {
            return false;
        }
    }
    power == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_restics_own_polynomials() {
        // The first is in restic's design document, the second its chunker's test polynomial.
        assert!(is_irreducible(0x25b468838dcb75));
        assert!(is_irreducible(0x3DA3358B4DC173));
        assert!(!is_irreducible(0x3DA3358B4DC171));
    }
}
