//! What every implementation of the storage port must do, as one function that its tests call.

use model::ports::storage::{
    ALREADY_EXISTS, FileKind, Listed, NOT_FOUND, SHORT_READ, Storage, TOO_LARGE,
};

use crate::id::Id;

fn listed(storage: &dyn Storage, kind: FileKind) -> Result<Vec<Listed>, String> {
    let mut all = Vec::new();
    storage
        .list(kind, &mut |file| {
            all.push(file);
            Ok(())
        })
        .map_err(|e| format!("list {kind:?}: {}", e.chain()))?;
    all.sort();
    Ok(all)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}")) }
}

/// Runs the suite on empty storage and returns the first deviation in words.
pub fn run(storage: &dyn Storage) -> Result<(), String> {
    let say = |what: &str, e: model::error::PortError| format!("{what}: {}", e.chain());
    storage.create().map_err(|e| say("create", e))?;
    storage.create().map_err(|e| say("create again", e))?;
    for kind in FileKind::LISTED.into_iter().chain([FileKind::Config]) {
        expect("listing of nothing", listed(storage, kind)?, Vec::new())?;
        one_kind(storage, kind)?;
        expect("listing after deletion", listed(storage, kind)?, Vec::new())?;
    }
    Ok(())
}

fn one_kind(storage: &dyn Storage, kind: FileKind) -> Result<(), String> {
    let say = |what: &str, e: model::error::PortError| format!("{kind:?} {what}: {}", e.chain());
    let data: Vec<u8> = (0..100_000u32).flat_map(|i| i.to_le_bytes()).collect();
    let id = Id::of(&data);
    let name = if kind == FileKind::Config { String::new() } else { id.hex() };
    let size = data.len() as u64;

    expect("stat of nothing", storage.stat(kind, &name).map_err(|e| e.reason), Err(NOT_FOUND))?;
    expect("load of nothing", storage.load(kind, &name, 9).map_err(|e| e.reason), Err(NOT_FOUND))?;
    match storage.delete(kind, &name) {
        Err(error) if error.reason != NOT_FOUND => return Err(say("delete of nothing", error)),
        _ => {}
    }

    storage.save(kind, &name, &data, &id.0).map_err(|e| say("save", e))?;
    let again = storage.save(kind, &name, &data, &id.0).map_err(|e| e.reason);
    expect("save again", again, Err(ALREADY_EXISTS))?;
    expect("stat", storage.stat(kind, &name).map_err(|e| e.reason), Ok(size))?;
    let whole = storage.load(kind, &name, size).map_err(|e| say("load", e))?;
    expect("load", Id::of(&whole), id)?;
    let small = storage.load(kind, &name, size - 1).map_err(|e| e.reason);
    expect("load above the bound", small, Err(TOO_LARGE))?;
    expect(
        "listing",
        listed(storage, kind)?,
        vec![Listed { name: name.clone(), size_bytes: size }],
    )?;

    for (offset, length) in [(0u64, 1usize), (0, data.len()), (4_000, 12), (size - 1, 1), (size, 0)]
    {
        let mut buffer = vec![0; length];
        storage.load_range(kind, &name, offset, &mut buffer).map_err(|e| say("load_range", e))?;
        let begin = offset as usize;
        expect("load_range", buffer == data[begin..begin + length], true)?;
    }
    for (offset, length) in [(size - 1, 2), (size + 10, 1), (u64::MAX >> 2, 5)] {
        let mut buffer = vec![0; length];
        let short = storage.load_range(kind, &name, offset, &mut buffer).map_err(|e| e.reason);
        expect("load_range beyond the end", short, Err(SHORT_READ))?;
    }
    storage.delete(kind, &name).map_err(|e| say("delete", e))?;
    expect("stat when deleted", storage.stat(kind, &name).map_err(|e| e.reason), Err(NOT_FOUND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{LocalStorage, MemoryStorage};

    #[test]
    fn memory() {
        run(&MemoryStorage::default()).unwrap();
    }

    #[test]
    fn local_files() {
        let folder = tempfile::tempdir().unwrap();
        run(&LocalStorage::new(folder.path().join("repo"))).unwrap();
    }
}
