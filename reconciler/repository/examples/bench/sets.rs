//! The data that is backed up, made from fixed seeds, and how it changes between two backups.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a database's page, PostgreSQL's.
pub const PAGE_BYTES: usize = 8192;
/// Bytes of the pieces that the index is measured with.
pub const INDEX_PIECE_BYTES: usize = 64;
/// Pieces of one file of that set.
const INDEX_PIECES: usize = 50_000;

/// Makes a data set; a scale of 1 is the full size.
pub fn make(set: &str, root: &Path, scale: f64) {
    fs::create_dir_all(root).unwrap();
    match set {
        // A mean of about 43 KB: 2.1 GB in all.
        "tree" => make_files(root, 7, (50_000.0 * scale) as usize, 50, mixed_size),
        "waste" => make_files(root, 7, (25_000.0 * scale) as usize, 50, mixed_size),
        "small" => make_files(root, 13, (100_000.0 * scale) as usize, 500, small_size),
        "random" => make_random(root, (scale * (1u64 << 30) as f64) as usize),
        "database" => make_database(root, (scale * (1u64 << 17) as f64) as usize),
        "index" => make_index(root, (100.0 * scale).ceil() as usize),
        _ => panic!("no such data set: {set}"),
    }
}

/// Changes a data set, differently for each seed: two percent of it, of `waste` each second file.
pub fn change(set: &str, root: &Path, seed: u64) {
    let mut noise = Noise(23 + seed * 1_000_003);
    match set {
        "random" => change_random(&root.join("random"), &mut noise),
        "database" => change_database(&root.join("database"), &mut noise),
        "waste" => change_files(root, 2, |file, bytes| {
            let data = noise.mixed(bytes as usize);
            file.write_all_at(&data, 0).unwrap();
        }),
        _ => change_files(root, 50, |file, _| {
            file.write_all_at(&noise.bytes(16), 0).unwrap();
        }),
    }
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(length);
        out
    }

    /// Bytes that compress about threefold, as programs and texts do.
    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 64);
        while out.len() < length {
            let n = self.next();
            if n.is_multiple_of(3) {
                out.extend_from_slice(&n.to_le_bytes());
            } else {
                const WORDS: [&[u8]; 8] = [
                    b"static inline int ",
                    b"return NULL;\n    ",
                    b"the quick brown fox ",
                    b"\x7fELF\0\0\0\0\x01\0\0\0",
                    b"</div><div class=\"",
                    b"0123456789abcdef",
                    b"configuration_",
                    b"\0\0\0\0\0\0\0\0",
                ];
                out.extend_from_slice(WORDS[(n >> 8) as usize % WORDS.len()]);
            }
        }
        out.truncate(length);
        out
    }

    /// A quarter noise, the rest text.
    fn mixed(&mut self, length: usize) -> Vec<u8> {
        if self.next().is_multiple_of(4) { self.bytes(length) } else { self.text(length) }
    }

    /// A database's page: text, then free space.
    fn page(&mut self) -> Vec<u8> {
        let filled = 4096 + (self.next() % 4096) as usize;
        let mut page = self.text(filled);
        page.resize(PAGE_BYTES, 0);
        page
    }
}

/// Mostly small, some large.
fn mixed_size(noise: &mut Noise) -> usize {
    match noise.next() % 100 {
        0 => 2_000_000,
        1..10 => 200_000,
        _ => (noise.next() % 12_000) as usize,
    }
}

fn small_size(noise: &mut Noise) -> usize {
    1024 + (noise.next() % 7168) as usize
}

fn make_files(
    root: &Path,
    seed: u64,
    files: usize,
    per_folder: usize,
    size: fn(&mut Noise) -> usize,
) {
    let mut noise = Noise(seed);
    for i in 0..files {
        let folder = root.join(format!("{}/{}", i / (per_folder * 40), i / per_folder));
        if i % per_folder == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        let bytes = size(&mut noise);
        fs::write(folder.join(format!("file-{i}")), noise.mixed(bytes)).unwrap();
    }
}

fn make_random(root: &Path, bytes: usize) {
    let mut noise = Noise(11);
    let mut file = fs::File::create(root.join("random")).unwrap();
    let mut left = bytes;
    while left > 0 {
        let data = noise.bytes(left.min(1 << 20));
        file.write_all(&data).unwrap();
        left -= data.len();
    }
}

fn make_database(root: &Path, pages: usize) {
    let mut noise = Noise(17);
    let mut file = BufWriter::new(fs::File::create(root.join("database")).unwrap());
    for _ in 0..pages {
        file.write_all(&noise.page()).unwrap();
    }
    file.flush().unwrap();
}

fn make_index(root: &Path, files: usize) {
    let mut noise = Noise(19);
    for i in 0..files {
        fs::create_dir_all(root.join(format!("{i}"))).unwrap();
        let data = noise.bytes(INDEX_PIECES * INDEX_PIECE_BYTES);
        fs::write(root.join(format!("{i}/file")), data).unwrap();
    }
}

fn writable(path: &Path) -> fs::File {
    fs::File::options().write(true).open(path).unwrap()
}

/// Two percent of the bytes, in 20 places.
fn change_random(path: &Path, noise: &mut Noise) {
    let file = writable(path);
    let size = file.metadata().unwrap().len();
    for i in 0..20 {
        file.write_all_at(&noise.bytes((size / 1000) as usize), size / 20 * i).unwrap();
    }
}

/// Two percent of the pages, anywhere.
fn change_database(path: &Path, noise: &mut Noise) {
    let file = writable(path);
    let pages = file.metadata().unwrap().len() / PAGE_BYTES as u64;
    for _ in 0..pages / 50 {
        let page = noise.next() % pages;
        file.write_all_at(&noise.page(), page * PAGE_BYTES as u64).unwrap();
    }
}

/// Calls `each` with one of `of` files and its size.
fn change_files(root: &Path, of: usize, mut each: impl FnMut(&fs::File, u64)) {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let into = if entry.file_type().unwrap().is_dir() { &mut todo } else { &mut paths };
            into.push(entry.path());
        }
    }
    // Listings have no order that holds from one machine to the next.
    paths.sort();
    for path in paths.iter().step_by(of) {
        let file = writable(path);
        let size = file.metadata().unwrap().len();
        each(&file, size);
    }
}
