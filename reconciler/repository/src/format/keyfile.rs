//! Key files: the master key, sealed under a key derived from a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::error::PortError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{self, Cipher, Kdf, KeyParts};

/// A key file as it lies in storage, in plain JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who made it.
    pub username: String,
    /// On which host.
    pub hostname: String,
    /// Always `scrypt`.
    pub kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

#[derive(Serialize, Deserialize)]
struct MasterJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacJson {
    k: String,
    r: String,
}

fn bad(what: &str) -> PortError {
    PortError::terminal("BadKeyFile", what)
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], PortError> {
    let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| bad("key is not base64"))?);
    bytes.as_slice().try_into().map_err(|_| bad("key has the wrong length"))
}

impl KeyFile {
    /// Seals the master key under a password.
    pub fn seal(
        master: &KeyParts,
        password: &[u8],
        kdf: Kdf,
        created: String,
        username: &str,
        hostname: &str,
    ) -> Result<Self, PortError> {
        let mut salt = [0; 64];
        crypto::random(&mut salt)?;
        let json = MasterJson {
            mac: MacJson { k: BASE64.encode(master.mac_k), r: BASE64.encode(master.mac_r) },
            encrypt: BASE64.encode(master.encrypt),
        };
        let plain = Zeroizing::new(
            serde_json::to_vec(&json).map_err(|e| bad("key does not serialise").with_source(e))?,
        );
        let mut data = Vec::new();
        Cipher::new(kdf.derive(password, &salt)?)?.seal(&plain, &mut data)?;
        Ok(Self {
            created,
            username: username.to_owned(),
            hostname: hostname.to_owned(),
            kdf: "scrypt".to_owned(),
            n: 1 << kdf.log_n,
            r: kdf.r,
            p: kdf.p,
            salt: BASE64.encode(salt),
            data: BASE64.encode(data),
        })
    }

    /// Opens the master key; `None` when the password is not this key's.
    pub fn open(&self, password: &[u8]) -> Result<Option<KeyParts>, PortError> {
        if self.kdf != "scrypt" {
            return Err(bad("key derivation is not scrypt"));
        }
        let kdf = Kdf::from_numbers(self.n, self.r, self.p)
            .ok_or_else(|| bad("scrypt parameters are out of bounds"))?;
        let salt = BASE64.decode(&self.salt).map_err(|_| bad("salt is not base64"))?;
        let mut data = BASE64.decode(&self.data).map_err(|_| bad("data is not base64"))?;
        let cipher = Cipher::new(kdf.derive(password, &salt)?)?;
        let Some(plain) = cipher.open(&mut data)? else { return Ok(None) };
        let json: MasterJson =
            serde_json::from_slice(plain).map_err(|_| bad("master key is not JSON"))?;
        Ok(Some(KeyParts {
            encrypt: fixed(&json.encrypt)?,
            mac_k: fixed(&json.mac.k)?,
            mac_r: fixed(&json.mac.r)?,
        }))
    }
}
