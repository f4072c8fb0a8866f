//! Sealing and opening of every stored byte: AES-256-CTR with Poly1305-AES, as restic's design
//! document ("Keys, Encryption and MAC") lays down. Key derivation by scrypt.
//!
//! SHA-256 and AES come from aws-lc, Poly1305 from RustCrypto (aws-lc offers it only inside an
//! AEAD).

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use model::error::PortError;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::{Zeroize, Zeroizing};

/// Bytes by which sealing enlarges: 16 of nonce before, 16 of MAC behind.
pub const OVERHEAD_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 16;
pub(crate) const MAC_BYTES: usize = 16;

/// Memory in bytes that a key file may make scrypt take; restic's own keys need 32 to 64 MiB.
const SCRYPT_BYTES_MAX: u64 = 512 << 20;
/// Passes over that memory that a key file may ask for.
const SCRYPT_PASSES_MAX: u32 = 64;

/// The raw parts of a key as they lie in a key file.
pub struct KeyParts {
    /// AES-256 key for the content.
    pub encrypt: [u8; 32],
    /// AES-128 key for the MAC's nonce.
    pub mac_k: [u8; 16],
    /// Poly1305 key.
    pub mac_r: [u8; 16],
}

impl Drop for KeyParts {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.mac_k.zeroize();
        self.mac_r.zeroize();
    }
}

impl KeyParts {
    /// Returns fresh random parts.
    pub fn random() -> Result<Self, PortError> {
        let mut parts = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        random(&mut parts.encrypt)?;
        random(&mut parts.mac_k)?;
        random(&mut parts.mac_r)?;
        Ok(parts)
    }
}

/// A key ready for use; shared by all threads.
pub struct Cipher {
    parts: KeyParts,
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
    mac: EncryptingKey,
}

fn broken(what: &'static str) -> PortError {
    PortError::terminal("Crypto", format!("{what} failed in the crypto library"))
}

/// Fills the buffer with random bytes from the operating system.
pub fn random(buffer: &mut [u8]) -> Result<(), PortError> {
    rand::fill(buffer).map_err(|_| broken("drawing random bytes"))
}

impl Cipher {
    /// Returns a cipher for the given key.
    pub fn new(parts: KeyParts) -> Result<Self, PortError> {
        let key = |bytes: &[u8]| UnboundCipherKey::new(&AES_256, bytes);
        let encrypt = key(&parts.encrypt).and_then(EncryptingKey::ctr);
        let decrypt = key(&parts.encrypt).and_then(DecryptingKey::ctr);
        let mac = UnboundCipherKey::new(&AES_128, &parts.mac_k).and_then(EncryptingKey::ctr);
        match (encrypt, decrypt, mac) {
            (Ok(encrypt), Ok(decrypt), Ok(mac)) => Ok(Self { parts, encrypt, decrypt, mac }),
            _ => Err(broken("setting up the key")),
        }
    }

    /// Returns the raw key.
    pub fn parts(&self) -> &KeyParts {
        &self.parts
    }

    /// Appends the sealed form of `plain` to `out`: [`OVERHEAD_BYTES`] longer.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), PortError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        out.reserve(plain.len() + OVERHEAD_BYTES);
        out.extend_from_slice(&nonce);
        let begin = out.len();
        out.extend_from_slice(plain);
        let context = EncryptionContext::Iv128(FixedLength::from(nonce));
        self.encrypt
            .less_safe_encrypt(&mut out[begin..], context)
            .map_err(|_| broken("encryption"))?;
        let mac = self.authenticate(&nonce, &out[begin..])?;
        out.extend_from_slice(&mac);
        Ok(())
    }

    /// Opens sealed bytes in place and returns where the plain ones lie; `None` when they were not
    /// made with this key or have changed since.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<Option<&'a mut [u8]>, PortError> {
        if sealed.len() < OVERHEAD_BYTES {
            return Ok(None);
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (body, mac) = rest.split_at_mut(rest.len() - MAC_BYTES);
        let mut iv = [0; NONCE_BYTES];
        iv.copy_from_slice(nonce);
        let expected = self.authenticate(&iv, body)?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&expected, mac).is_err() {
            return Ok(None);
        }
        if !body.is_empty() {
            let context = DecryptionContext::Iv128(FixedLength::from(iv));
            self.decrypt.decrypt(body, context).map_err(|_| broken("decryption"))?;
        }
        Ok(Some(body))
    }

    fn authenticate(&self, nonce: &[u8; 16], body: &[u8]) -> Result<[u8; 16], PortError> {
        // AES of the nonce, as the key stream that counter mode makes of one zero block.
        let mut s = [0; 16];
        self.mac
            .less_safe_encrypt(&mut s, EncryptionContext::Iv128(FixedLength::from(*nonce)))
            .map_err(|_| broken("authentication"))?;
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(&self.parts.mac_r);
        key[16..].copy_from_slice(&s);
        let mut poly = Poly1305::new(poly1305::Key::from_slice(&*key));
        let whole = body.len() / 16 * 16;
        poly.update_padded(&body[..whole]);
        Ok(poly.compute_unpadded(&body[whole..]).into())
    }
}

/// Cost of deriving a key from a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kdf {
    /// Binary logarithm of scrypt's N.
    pub log_n: u8,
    /// scrypt's block size.
    pub r: u32,
    /// scrypt's passes.
    pub p: u32,
}

impl Default for Kdf {
    /// 32 MiB of memory, and passes for about a quarter of a second: restic's calibration on a
    /// machine of 2020 or later comes out near it.
    fn default() -> Self {
        Self { log_n: 15, r: 8, p: 4 }
    }
}

impl Kdf {
    /// Reads the numbers of a key file; `None` when they are not sane.
    pub fn from_numbers(n: u64, r: u32, p: u32) -> Option<Self> {
        let sane = n.is_power_of_two()
            && n >= 2
            && (1..=SCRYPT_PASSES_MAX).contains(&p)
            && (1..=1024).contains(&r)
            && n.checked_mul(128 * u64::from(r)).is_some_and(|b| b <= SCRYPT_BYTES_MAX);
        sane.then_some(Self { log_n: n.trailing_zeros() as u8, r, p })
    }

    /// Derives the key that opens a key file.
    pub fn derive(&self, password: &[u8], salt: &[u8]) -> Result<KeyParts, PortError> {
        let params = scrypt::Params::new(self.log_n, self.r, self.p, 64)
            .map_err(|_| PortError::terminal("BadKeyFile", "scrypt parameters are not valid"))?;
        let mut out = Zeroizing::new([0; 64]);
        scrypt::scrypt(password, salt, &params, &mut *out).map_err(|_| broken("key derivation"))?;
        let mut parts = KeyParts { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        parts.encrypt.copy_from_slice(&out[..32]);
        parts.mac_k.copy_from_slice(&out[32..48]);
        parts.mac_r.copy_from_slice(&out[48..]);
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_and_opens_every_length() {
        let cipher = Cipher::new(KeyParts::random().unwrap()).unwrap();
        for length in (0..70).chain([255, 4096, 100_001]) {
            let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut sealed = Vec::new();
            cipher.seal(&plain, &mut sealed).unwrap();
            assert_eq!(sealed.len(), length + OVERHEAD_BYTES);
            for at in [0, 15, 16, sealed.len() - 1, sealed.len() / 2] {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert!(cipher.open(&mut bad).unwrap().is_none(), "byte {at} of {length}");
            }
            assert_eq!(cipher.open(&mut sealed).unwrap().unwrap(), &plain);
        }
    }

    #[test]
    fn hostile_key_costs_are_refused() {
        assert!(Kdf::from_numbers(1 << 15, 8, 4).is_some());
        for (n, r, p) in
            [(3, 8, 1), (1 << 40, 8, 1), (1 << 15, 0, 1), (1 << 15, 8, 1000), (0, 1, 1)]
        {
            assert!(Kdf::from_numbers(n, r, p).is_none(), "{n} {r} {p}");
        }
    }
}
