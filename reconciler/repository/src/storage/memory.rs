//! Storage in memory, for tests of whatever stands on the port.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::error::PortError;
use model::ports::storage::{
    ALREADY_EXISTS, CHECKSUM_MISMATCH, FileKind, Listed, NOT_FOUND, SHORT_READ, Storage, TOO_LARGE,
};

use crate::id::Id;

/// Files in memory, by kind and name.
#[derive(Default)]
pub struct MemoryStorage {
    files: Mutex<BTreeMap<(FileKind, String), Vec<u8>>>,
}

fn key(kind: FileKind, name: &str) -> (FileKind, String) {
    (kind, if kind == FileKind::Config { String::new() } else { name.to_owned() })
}

fn missing(kind: FileKind, name: &str) -> PortError {
    PortError::terminal(NOT_FOUND, format!("{}/{name} does not exist", kind.folder()))
}

impl MemoryStorage {
    fn files(&self) -> MutexGuard<'_, BTreeMap<(FileKind, String), Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a stored file in place: what a failing disk does.
    pub fn damage(&self, kind: FileKind, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(data) = self.files().get_mut(&key(kind, name)) {
            change(data);
        }
    }

    /// Returns a copy of all files as they are.
    pub fn fork(&self) -> Self {
        Self { files: Mutex::new(self.files().clone()) }
    }
}

impl Storage for MemoryStorage {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self) -> Result<(), PortError> {
        Ok(())
    }

    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let listed: Vec<Listed> = self
            .files()
            .iter()
            .filter(|((k, _), _)| *k == kind)
            .map(|((_, name), data)| Listed { name: name.clone(), size_bytes: data.len() as u64 })
            .collect();
        listed.into_iter().try_for_each(each)
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        self.files()
            .get(&key(kind, name))
            .map(|d| d.len() as u64)
            .ok_or_else(|| missing(kind, name))
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        let files = self.files();
        let data = files.get(&key(kind, name)).ok_or_else(|| missing(kind, name))?;
        if data.len() as u64 > size_bytes_max {
            return Err(PortError::terminal(TOO_LARGE, format!("{name} is too large")));
        }
        Ok(data.clone())
    }

    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        let files = self.files();
        let data = files.get(&key(kind, name)).ok_or_else(|| missing(kind, name))?;
        let begin = usize::try_from(offset).ok();
        let part = begin.and_then(|b| data.get(b..b.checked_add(buffer.len())?));
        match part {
            Some(part) => {
                buffer.copy_from_slice(part);
                Ok(())
            }
            None => Err(PortError::terminal(SHORT_READ, format!("{name} ends too early"))),
        }
    }

    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        if Id::of(data).0 != *sha256 {
            return Err(PortError::transient(CHECKSUM_MISMATCH, format!("{name} has changed")));
        }
        let mut files = self.files();
        if files.contains_key(&key(kind, name)) {
            return Err(PortError::terminal(ALREADY_EXISTS, format!("{name} exists already")));
        }
        files.insert(key(kind, name), data.to_vec());
        Ok(())
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        self.files().remove(&key(kind, name)).map(|_| ()).ok_or_else(|| missing(kind, name))
    }
}
