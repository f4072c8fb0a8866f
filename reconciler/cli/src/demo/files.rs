//! The demo's folder: some thousand files with everything that makes backups hard, and a manifest
//! by which they are compared after the restore.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use model::digest::Digest;

use crate::error::CliError;
use crate::human;

const FOLDERS: u64 = 60;
const FILES_EACH: u64 = 50;
const LARGE_BYTES: usize = 48 << 20;
const SPARSE_BYTES: u64 = 256 << 20;

/// A small generator with a fixed seed, so that every demo has the same data.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(count + 8);
        while out.len() < count {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(count);
        out
    }
}

/// Makes the folder; says what is in it.
pub fn make(top: &Path) -> Result<String, CliError> {
    let mut numbers = Numbers(0x6d61_696e_7374_6179);
    let mut total = 0;
    for folder in 0..FOLDERS {
        let folder = top.join(format!("2026/{folder:02}"));
        fs::create_dir_all(&folder)?;
        for file in 0..FILES_EACH {
            let size = usize::try_from(numbers.next() % 9000).unwrap_or(0);
            let text = format!("upload {file} of {}\n", folder.display()).repeat(size / 40);
            total += text.len() as u64;
            fs::write(folder.join(format!("upload-{file:03}.txt")), text)?;
        }
    }
    let large = numbers.bytes(LARGE_BYTES);
    fs::write(top.join("film.bin"), &large)?;
    fs::write(top.join("film-copy.bin"), &large)?;
    total += 2 * large.len() as u64;
    sparse(&top.join("disk.img"))?;
    odd(top)?;
    Ok(format!(
        "{} files, {}, with links, odd names, a sparse file of {}",
        FOLDERS * FILES_EACH + 10,
        human::bytes(total),
        human::bytes(SPARSE_BYTES)
    ))
}

fn sparse(path: &Path) -> Result<(), CliError> {
    let mut file = File::create(path)?;
    file.set_len(SPARSE_BYTES)?;
    for at in [0, SPARSE_BYTES / 2, SPARSE_BYTES - 5000] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&[b'x'; 5000])?;
    }
    Ok(())
}

fn odd(top: &Path) -> Result<(), CliError> {
    let odd = top.join("odd");
    fs::create_dir(&odd)?;
    fs::create_dir(odd.join("empty folder"))?;
    fs::write(odd.join("empty"), "")?;
    fs::write(odd.join("new\nline"), "a name with a line break\n")?;
    fs::write(odd.join("-rf"), "a name that looks like an option\n")?;
    fs::write(odd.join(OsStr::from_bytes(b"caf\xe9")), "a name that is not UTF-8\n")?;
    fs::write(odd.join("ウェブ 🦀"), "a name in UTF-8\n")?;
    fs::write(odd.join("n".repeat(255)), "a name of 255 bytes\n")?;
    let secret = odd.join("secret");
    fs::write(&secret, "for the owner only\n")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o400))?;
    fs::hard_link(&secret, odd.join("hard link"))?;
    symlink("../film.bin", odd.join("link"))?;
    symlink("nowhere at all", odd.join("dangling"))?;
    Ok(())
}

/// Changes some of it: new files, changed files, one gone, one renamed.
pub fn change(top: &Path) -> Result<(), CliError> {
    for file in 0..FILES_EACH {
        let path = top.join(format!("2026/07/upload-{file:03}.txt"));
        let mut file = fs::OpenOptions::new().append(true).open(path)?;
        file.write_all(b"and a second thought\n")?;
    }
    fs::write(top.join("2026/new.txt"), "written after the first backup\n")?;
    fs::remove_file(top.join("2026/08/upload-000.txt"))?;
    fs::rename(top.join("2026/09"), top.join("2026/renamed"))?;
    let mut film = fs::OpenOptions::new().write(true).open(top.join("film.bin"))?;
    film.seek(SeekFrom::Start(20 << 20))?;
    film.write_all(b"one changed scene")?;
    Ok(())
}

/// What is compared of one entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    modified_ns: i128,
    bytes: u64,
    links: u64,
    content: String,
}

/// Everything in a folder, by path below it.
pub type Manifest = BTreeMap<OsString, Entry>;

/// Looks at a folder.
pub fn manifest(top: &Path) -> Result<Manifest, CliError> {
    let mut out = Manifest::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        out.insert(below.clone().into_os_string(), entry(&top.join(&below))?);
        for found in fs::read_dir(top.join(&below))? {
            let found = found?;
            let path = below.join(found.file_name());
            if found.file_type()?.is_dir() {
                folders.push(path);
            } else {
                out.insert(path.clone().into_os_string(), entry(&top.join(&path))?);
            }
        }
    }
    Ok(out)
}

fn entry(path: &Path) -> Result<Entry, CliError> {
    let data = path.symlink_metadata()?;
    let kind = data.file_type();
    let (letter, content) = if kind.is_dir() {
        ('d', String::new())
    } else if kind.is_symlink() {
        ('l', format!("{:?}", fs::read_link(path)?))
    } else {
        ('f', Digest::of_bytes("demo", &fs::read(path)?).to_string())
    };
    let folder = kind.is_dir();
    Ok(Entry {
        kind: letter,
        mode: data.mode(),
        owner: (data.uid(), data.gid()),
        modified_ns: i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec()),
        // A folder's own size and link count are the file system's affair.
        bytes: if folder { 0 } else { data.len() },
        links: if folder { 0 } else { data.nlink() },
        content,
    })
}

/// Compares what was with what is; says what was compared.
pub fn compare(expected: &Manifest, found: &Manifest) -> Result<String, CliError> {
    for (path, entry) in expected {
        match found.get(path) {
            Some(other) if other == entry => {}
            Some(other) => {
                return Err(CliError::new(format!(
                    "{} came back different: {entry:?} became {other:?}",
                    Path::new(path).display()
                )));
            }
            None => {
                let path = Path::new(path).display();
                return Err(CliError::new(format!("{path} did not come back")));
            }
        }
    }
    if let Some(extra) = found.keys().find(|path| !expected.contains_key(*path)) {
        return Err(CliError::new(format!("{} was never there", Path::new(extra).display())));
    }
    let bytes = expected.values().map(|e| e.bytes).sum();
    Ok(format!(
        "{} entries with {} compared by content, owner, mode, time and links: all equal",
        expected.len(),
        human::bytes(bytes)
    ))
}
