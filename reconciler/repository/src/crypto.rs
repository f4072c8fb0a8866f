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
use model::error::PortError;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::{Zeroize, Zeroizing};

/// Bytes by which sealing enlarges: 16 of nonce before, 16 of MAC behind.
pub const OVERHEAD_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 16;
pub(crate) const MAC_BYTES: usize = 16;

/// Bytes that go through all steps of sealing or opening before the next ones do: they stay in the
/// processor's first cache meanwhile. A multiple of the blocks of cipher and MAC.
const STEP_BYTES: usize = 16 << 10;

/// Memory in bytes that a key file may make scrypt take; restic's own keys need 32 to 64 MiB.
const SCRYPT_BYTES_MAX: u64 = 512 << 20;
/// Memory in bytes up to which passes run at the same time.
const SCRYPT_PARALLEL_BYTES_MAX: u64 = 64 << 20;
/// Passes over that memory that a key file may ask for.
const SCRYPT_PASSES_MAX: u32 = 64;

/// The raw parts of a key as they lie in a key file.
#[derive(Clone)]
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
///
/// Asked for anew each time: a generator of our own would have to notice forks and resumed virtual
/// machines, or nonces would repeat; and aws-lc's spends 60 ms of each process on gathering
/// entropy of its own.
pub fn random(buffer: &mut [u8]) -> Result<(), PortError> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::rand::getrandom(&mut buffer[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(broken("drawing random bytes").with_source(e)),
        }
    }
    Ok(())
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
        let mut mac = self.mac(&nonce)?;
        let mut counter = Counter::new(nonce);
        for step in plain.chunks(STEP_BYTES) {
            let begin = out.len();
            out.extend_from_slice(step);
            self.encrypt
                .less_safe_encrypt(&mut out[begin..], EncryptionContext::Iv128(counter.next()))
                .map_err(|_| broken("encryption"))?;
            mac.update(&out[begin..]);
        }
        out.extend_from_slice(&mac.finish());
        Ok(())
    }

    /// Opens sealed bytes without changing them and returns whether they are authentic and hold
    /// `plain`. Calls `each` with all of `sealed` in order meanwhile, as it is at hand then;
    /// `scratch` is memory that is kept from call to call.
    pub fn holds(
        &self,
        sealed: &[u8],
        plain: &[u8],
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<bool, PortError> {
        let Some((nonce, rest)) = sealed.split_first_chunk::<NONCE_BYTES>() else {
            return Ok(false);
        };
        let Some((body, expected)) = rest.split_last_chunk::<MAC_BYTES>() else {
            return Ok(false);
        };
        if body.len() != plain.len() {
            return Ok(false);
        }
        each(nonce);
        let mut mac = self.mac(nonce)?;
        let mut counter = Counter::new(*nonce);
        for (step, plain) in body.chunks(STEP_BYTES).zip(plain.chunks(STEP_BYTES)) {
            each(step);
            mac.update(step);
            scratch.clear();
            scratch.extend_from_slice(step);
            self.decrypt
                .decrypt(scratch, DecryptionContext::Iv128(counter.next()))
                .map_err(|_| broken("decryption"))?;
            if scratch != plain {
                return Ok(false);
            }
        }
        each(expected);
        Ok(mac.finish() == *expected)
    }

    /// Opens sealed bytes in place and returns where the plain ones lie; `None` when they were not
    /// made with this key or have changed since. The bytes are of no use afterwards then.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<Option<&'a mut [u8]>, PortError> {
        if sealed.len() < OVERHEAD_BYTES {
            return Ok(None);
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (body, mac) = rest.split_at_mut(rest.len() - MAC_BYTES);
        let mut iv = [0; NONCE_BYTES];
        iv.copy_from_slice(nonce);
        let mut found = self.mac(&iv)?;
        let mut counter = Counter::new(iv);
        for step in body.chunks_mut(STEP_BYTES) {
            found.update(step);
            self.decrypt
                .decrypt(step, DecryptionContext::Iv128(counter.next()))
                .map_err(|_| broken("decryption"))?;
        }
        // Nobody sees the plain bytes before this.
        if aws_lc_rs::constant_time::verify_slices_are_equal(&found.finish(), mac).is_err() {
            body.zeroize();
            return Ok(None);
        }
        Ok(Some(body))
    }

    /// Begins the MAC of what is sealed with a nonce.
    fn mac(&self, nonce: &[u8; 16]) -> Result<Mac, PortError> {
        // AES of the nonce, as the key stream that counter mode makes of one zero block.
        let mut s = [0; 16];
        self.mac
            .less_safe_encrypt(&mut s, EncryptionContext::Iv128(FixedLength::from(*nonce)))
            .map_err(|_| broken("authentication"))?;
        let mut key = Zeroizing::new([0; 32]);
        key[..16].copy_from_slice(&self.parts.mac_r);
        key[16..].copy_from_slice(&s);
        let poly = Poly1305::new(poly1305::Key::from_slice(&*key));
        Ok(Mac { poly, rest: [0; MAC_BYTES], rest_bytes: 0 })
    }
}

/// A MAC under way. All parts but the last one are whole blocks.
struct Mac {
    poly: Poly1305,
    /// What the last part had beyond whole blocks.
    rest: [u8; MAC_BYTES],
    rest_bytes: usize,
}

impl Mac {
    fn update(&mut self, part: &[u8]) {
        debug_assert_eq!(self.rest_bytes, 0, "only the last part may end within a block");
        let (whole, rest) = part.split_at(part.len() / MAC_BYTES * MAC_BYTES);
        self.poly.update_padded(whole);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_bytes = rest.len();
    }

    fn finish(self) -> [u8; MAC_BYTES] {
        self.poly.compute_unpadded(&self.rest[..self.rest_bytes]).into()
    }
}

/// Counter mode's counter, from step to step.
struct Counter(u128);

impl Counter {
    fn new(nonce: [u8; NONCE_BYTES]) -> Self {
        Self(u128::from_be_bytes(nonce))
    }

    /// Returns where the next step's key stream begins, and moves on by a whole step.
    fn next(&mut self) -> FixedLength<NONCE_BYTES> {
        let now = self.0;
        self.0 = now.wrapping_add(STEP_BYTES as u128 / 16);
        FixedLength::from(now.to_be_bytes())
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

    /// Passes that run at the same time: each has memory of its own.
    fn threads(&self) -> usize {
        let bytes = (128 * u64::from(self.r)) << self.log_n;
        let fit = usize::try_from(SCRYPT_PARALLEL_BYTES_MAX / bytes.max(1)).unwrap_or(1);
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        available.min(fit).min(self.p as usize).max(1)
    }

    /// Derives the key that opens a key file.
    pub fn derive(&self, password: &[u8], salt: &[u8]) -> Result<KeyParts, PortError> {
        let params = scrypt::Params::new(self.log_n, self.r, self.p)
            .map_err(|_| PortError::terminal("BadKeyFile", "scrypt parameters are not valid"))?;
        let mut out = Zeroizing::new([0; 64]);
        // Threads of its own, so that memory is bounded whatever the number of processors.
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads())
            .build()
            .map_err(|e| broken("starting threads for key derivation").with_source(e))?
            .install(|| scrypt::scrypt(password, salt, &params, &mut *out))
            .map_err(|_| broken("key derivation"))?;
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
        let step = STEP_BYTES;
        for length in (0..70).chain([255, 4096, step - 1, step, step + 1, 2 * step, 100_001]) {
            let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut sealed = Vec::new();
            cipher.seal(&plain, &mut sealed).unwrap();
            assert_eq!(sealed.len(), length + OVERHEAD_BYTES);
            let (mut scratch, mut seen) = (Vec::new(), Vec::new());
            let mut holds = |sealed: &[u8], plain: &[u8]| {
                seen.clear();
                let each = |step: &[u8]| seen.extend_from_slice(step);
                let same = cipher.holds(sealed, plain, &mut scratch, each).unwrap();
                assert!(!same || seen == sealed, "all is handed over");
                same
            };
            assert!(holds(&sealed, &plain));
            assert!(!holds(&sealed, &[&plain[..], &[0]].concat()));
            if let Some(last) = plain.len().checked_sub(1) {
                let mut other = plain.clone();
                other[last] ^= 1;
                assert!(!holds(&sealed, &other));
            }
            for at in [0, 15, 16, sealed.len() - 1, sealed.len() / 2] {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert!(!holds(&bad, &plain), "byte {at} of {length}");
                assert!(cipher.open(&mut bad).unwrap().is_none(), "byte {at} of {length}");
            }
            assert_eq!(cipher.open(&mut sealed).unwrap().unwrap(), &plain);
        }
    }

    /// The slow model: all of it at once, as the format's definition says it.
    #[test]
    fn steps_make_what_one_piece_makes() {
        let cipher = Cipher::new(KeyParts::random().unwrap()).unwrap();
        let plain: Vec<u8> = (0..5 * STEP_BYTES / 2 + 7).map(|i| (i / 3) as u8).collect();
        let mut sealed = Vec::new();
        cipher.seal(&plain, &mut sealed).unwrap();
        let nonce: [u8; 16] = sealed[..16].try_into().unwrap();
        let mut body = plain;
        let context = EncryptionContext::Iv128(FixedLength::from(nonce));
        cipher.encrypt.less_safe_encrypt(&mut body, context).unwrap();
        assert!(sealed[16..16 + body.len()] == body);
        let whole = body.len() / 16 * 16;
        let mut mac = cipher.mac(&nonce).unwrap();
        mac.poly.update_padded(&body[..whole]);
        let expected: [u8; 16] = mac.poly.compute_unpadded(&body[whole..]).into();
        assert_eq!(sealed[16 + body.len()..], expected);
    }

    #[test]
    fn the_counter_carries_over_all_its_bytes() {
        let mut counter = Counter::new([0xff; 16]);
        counter.next();
        assert_eq!(counter.0, STEP_BYTES as u128 / 16 - 1);
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
