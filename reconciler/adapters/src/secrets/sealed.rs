//! Opens secrets that lie encrypted in the config repository. Called by the chain.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use age::armor::ArmoredReader;
use age::{Decryptor, IdentityFile};
use model::error::PortError;

use super::{SECRET_BYTES_MAX, without_line_break};
use crate::fault;

/// Decrypts one file, binary or armoured, with the identities of a file.
pub(super) fn open(name: &str, content: &[u8], identity: &Path) -> Result<Vec<u8>, PortError> {
    let file =
        File::open(identity).map_err(|e| fault::path("open the age identity", identity, e))?;
    let identities = IdentityFile::from_buffer(BufReader::new(file))
        .map_err(|e| fault::path("read the age identity", identity, e))?
        .into_identities()
        .map_err(|_| {
            PortError::terminal(
                "BadIdentity",
                format!("{} holds no usable age identity", identity.display()),
            )
        })?;
    let failed = |error: String| {
        PortError::terminal(
            "SecretNotOpened",
            format!("the secret `{name}` cannot be decrypted with {}: {error}", identity.display()),
        )
        .with_hint("encrypt it for this identity's recipient, or name the right identity file")
    };
    let decryptor =
        Decryptor::new_buffered(ArmoredReader::new(content)).map_err(|e| failed(e.to_string()))?;
    let reader = decryptor
        .decrypt(identities.iter().map(|i| i.as_ref() as &dyn age::Identity))
        .map_err(|e| failed(e.to_string()))?;
    let mut value = Vec::new();
    reader.take(SECRET_BYTES_MAX + 1).read_to_end(&mut value).map_err(|e| failed(e.to_string()))?;
    if value.len() as u64 > SECRET_BYTES_MAX {
        return Err(failed(format!("it is larger than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(without_line_break(value))
}
