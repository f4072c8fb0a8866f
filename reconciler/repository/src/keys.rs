//! Passwords: each has a key file that holds the one master key. Several serve at once; one is
//! changed by adding the new before the old goes.

use std::sync::PoisonError;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::storage::{FileKind, Storage};

use crate::crypto::KeyParts;
use crate::format::keyfile::KeyFile;
use crate::id::Id;
use crate::repo::{Options, Repository};

/// The largest key file in bytes; restic's have less than one KiB.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Key files that are tried with a password; each costs a key derivation.
const KEYS_TRIED_MAX: usize = 100;

/// A password's key file.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Its file name.
    pub id: Id,
    /// When it was made, RFC 3339.
    pub created: String,
    /// By whom.
    pub username: String,
    /// On which host.
    pub hostname: String,
    /// Whether it is the one this repository was opened with.
    pub current: bool,
}

fn wrong_password(location: &str) -> PortError {
    PortError::terminal("WrongPassword", format!("no key of {location} fits the password"))
        .with_hint("check which secret the repository's document names")
}

pub(crate) fn not_empty(password: &[u8]) -> Result<(), PortError> {
    if password.is_empty() {
        return Err(PortError::terminal("EmptyPassword", "an empty password protects nothing"));
    }
    Ok(())
}

pub(crate) fn save_key(
    storage: &dyn Storage,
    master: &KeyParts,
    password: &[u8],
    options: &Options,
) -> Result<Id, PortError> {
    not_empty(password)?;
    let created = (options.clock)().to_string();
    let owner = &options.owner;
    let file = KeyFile::seal(master, password, options.kdf, created, &owner.username, &owner.host)?;
    let json = serde_json::to_vec(&file)
        .map_err(|e| PortError::terminal("Internal", "key does not serialise").with_source(e))?;
    let id = Id::of(&json);
    storage.save(FileKind::Key, &id.hex(), &json, &id.0)?;
    Ok(id)
}

fn load_key(storage: &dyn Storage, name: &str) -> Result<KeyFile, PortError> {
    let json = storage.load(FileKind::Key, name, KEY_BYTES_MAX)?;
    serde_json::from_slice(&json).map_err(|e| {
        PortError::terminal("BadKeyFile", format!("key {name} is not valid")).with_source(e)
    })
}

pub(crate) fn key_names(storage: &dyn Storage) -> Result<Vec<String>, PortError> {
    let mut names = Vec::new();
    storage.list(FileKind::Key, &mut |file| {
        names.push(file.name);
        Ok(())
    })?;
    names.sort();
    Ok(names)
}

pub(crate) fn find_key(
    storage: &dyn Storage,
    password: &[u8],
) -> Result<(Id, KeyParts), PortError> {
    let mut trouble = None;
    for name in key_names(storage)?.into_iter().take(KEYS_TRIED_MAX) {
        let Some(id) = Id::parse(&name) else { continue };
        match load_key(storage, &name).and_then(|file| file.open(password)) {
            Ok(Some(master)) => return Ok((id, master)),
            Ok(None) => {}
            // One damaged key must not lock out the others.
            Err(e) => trouble = Some(e),
        }
    }
    Err(trouble.unwrap_or_else(|| wrong_password(&storage.location())))
}

impl Repository {
    fn current_key(&self) -> Id {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the key files.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, PortError> {
        let mut keys = Vec::new();
        let current = self.current_key();
        for name in key_names(&*self.store.storage)? {
            let Some(id) = Id::parse(&name) else { continue };
            let file = load_key(&*self.store.storage, &name)?;
            keys.push(KeyInfo {
                id,
                created: file.created,
                username: file.username,
                hostname: file.hostname,
                current: id == current,
            });
        }
        Ok(keys)
    }

    /// Adds a password and returns its key's id.
    pub fn add_key(&self, password: &[u8]) -> Result<Id, PortError> {
        self.writable()?;
        not_empty(password)?;
        let _lock = self.lock(false, &Cancel::default())?;
        save_key(&*self.store.storage, self.store.cipher.parts(), password, &self.options)
    }

    /// Removes a password's key. The one in use is refused, so one always stays.
    pub fn remove_key(&self, id: &Id) -> Result<(), PortError> {
        self.erasable()?;
        if *id == self.current_key() {
            return Err(PortError::terminal(
                "KeyInUse",
                "the key that this repository was opened with cannot be removed",
            )
            .with_hint("open it with another password first"));
        }
        let _lock = self.lock(true, &Cancel::default())?;
        self.store.storage.delete(FileKind::Key, &id.hex())
    }

    /// Replaces the password that this repository was opened with, and returns the new key's id.
    /// The old one goes only once the new one was seen to open.
    pub fn change_password(&self, password: &[u8]) -> Result<Id, PortError> {
        self.erasable()?;
        not_empty(password)?;
        let _lock = self.lock(true, &Cancel::default())?;
        let storage = &*self.store.storage;
        let new = save_key(storage, self.store.cipher.parts(), password, &self.options)?;
        let opened = load_key(storage, &new.hex())?.open(password)?;
        if opened.is_none_or(|parts| parts.encrypt != self.store.cipher.parts().encrypt) {
            let what = format!("key {new} does not open with the password it was made with");
            return Err(PortError::terminal("BadKeyFile", what).with_hint("nothing was removed"));
        }
        let old = self.current_key();
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.store.delete(FileKind::Key, &old)?;
        Ok(new)
    }
}
