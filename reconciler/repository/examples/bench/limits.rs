//! The parts of which a backup is made, each alone on one thread over the same data: their sum is
//! the least that a backup of this format can cost on this machine.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use mainstay_repository::Id;
use mainstay_repository::codec::Codec;
use mainstay_repository::crypto::{Cipher, KeyParts};
use model::ports::mover::{Chunking, fixed_chunk_size};
use mover::chunk::Chunker;
use mover::pages::PageBuffer;
use serde_json::json;

use crate::measure::thread_cpu_s;

/// Content that is measured at the most; the rest is taken to be alike.
const SAMPLE_BYTES_MAX: u64 = 512 << 20;

/// Seconds of one processor that each part takes for the whole data set.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub bytes: u64,
    pub parts: Vec<(&'static str, f64)>,
}

impl Limits {
    /// Seconds of one processor for all parts.
    pub fn cpu_s(&self) -> f64 {
        self.parts.iter().map(|(_, s)| s).sum()
    }

    /// The figures as one line.
    pub fn json(&self) -> serde_json::Value {
        let parts: serde_json::Map<_, _> =
            self.parts.iter().map(|(name, s)| ((*name).to_owned(), json!(s))).collect();
        json!({ "bytes": self.bytes, "cpu_s": self.cpu_s(), "parts": parts })
    }
}

/// Adds up the processor time of calls.
#[derive(Default)]
struct Watch(f64);

impl Watch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = thread_cpu_s();
        let value = work();
        self.0 += thread_cpu_s() - before;
        value
    }
}

/// Measures all parts over a data set.
pub fn measure(set: &str, root: &Path) -> Limits {
    let files = files(root);
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    let mut walk = Watch::default();
    walk.time(|| files_again(root));
    let mut watches: [Watch; 7] = Default::default();
    let mut scratch = Scratch::new(root);
    // With the bytes that count: a buffer may be longer.
    let mut batch: Vec<(PageBuffer, usize)> = Vec::new();
    let (mut gathered, mut seen) = (0, 0);
    for (path, size) in &files {
        if seen >= SAMPLE_BYTES_MAX {
            break;
        }
        let mut file: Option<fs::File> = None;
        let mut left = (*size).min(SAMPLE_BYTES_MAX - seen);
        seen += left;
        while left > 0 {
            let part = left.min(8 << 20);
            let mut buffer = PageBuffer::default();
            let data = &mut buffer.grow(part as usize)[..part as usize];
            // Touched before, so that the fault of the memory is not the read's.
            data.fill(1);
            watches[0].time(|| {
                let file = file.get_or_insert_with(|| fs::File::open(path).unwrap());
                file.read_exact(data).unwrap();
            });
            left -= part;
            gathered += part;
            batch.push((buffer, part as usize));
        }
        if gathered >= 16 << 20 {
            scratch.stages(set, *size, &batch, &mut watches);
            batch.clear();
            gathered = 0;
        }
    }
    scratch.stages(set, total, &batch, &mut watches);
    let factor = total as f64 / seen.max(1) as f64;
    let names = ["read", "cut", "SHA-256 of blobs", "zstd", "seal", "verify", "SHA-256 of packs"];
    let mut parts: Vec<(&'static str, f64)> =
        names.into_iter().zip(watches.iter().map(|w| w.0 * factor)).collect();
    parts.push(("write", scratch.write.0 * factor));
    parts.push(("walk", walk.0));
    Limits { bytes: total, parts }
}

struct Scratch {
    codec: Codec,
    cipher: Cipher,
    chunker: Chunker,
    plain: Vec<u8>,
    pack: Vec<u8>,
    place: PathBuf,
    write: Watch,
}

impl Scratch {
    fn new(root: &Path) -> Self {
        Self {
            codec: Codec::new(1).unwrap(),
            cipher: Cipher::new(KeyParts::random().unwrap()).unwrap(),
            chunker: Chunker::default(),
            plain: Vec::new(),
            pack: Vec::new(),
            // Beside the data, on the same file system as the repositories.
            place: root.with_extension("limit"),
            write: Watch::default(),
        }
    }

    /// Takes a batch of contents through all parts, one part after the other.
    fn stages(
        &mut self,
        set: &str,
        size: u64,
        batch: &[(PageBuffer, usize)],
        watches: &mut [Watch; 7],
    ) {
        let batch: Vec<&[u8]> = batch.iter().map(|(buffer, length)| &buffer[..*length]).collect();
        let [_, cut, hash, zstd, seal, verify, pack_hash] = watches;
        let chunking = match set {
            "database" => Chunking::Fixed { size_bytes: fixed_chunk_size(size) },
            _ => Chunking::ContentDefined,
        };
        let mut ends: Vec<Vec<usize>> = Vec::new();
        for data in &batch {
            ends.push(self.cut(data, chunking, cut));
        }
        let blobs: Vec<&[u8]> = batch.iter().zip(&ends).flat_map(|(d, e)| pieces(d, e)).collect();
        hash.time(|| blobs.iter().for_each(|b| assert!(Id::of(b) != Id::default())));
        let mut packed: Vec<Option<Vec<u8>>> = Vec::new();
        for blob in &blobs {
            zstd.time(|| self.codec.compress(blob).unwrap());
            let small = self.codec.packed.len() < blob.len();
            packed.push(small.then(|| self.codec.packed.clone()));
        }
        self.pack.clear();
        // Touched before: the pack's memory is used again in a backup.
        self.pack.resize(24 << 20, 1);
        self.pack.clear();
        let mut places = Vec::new();
        seal.time(|| {
            for (blob, packed) in blobs.iter().zip(&packed) {
                let from = self.pack.len();
                self.cipher.seal(packed.as_deref().unwrap_or(blob), &mut self.pack).unwrap();
                places.push(from..self.pack.len());
            }
        });
        pack_hash.time(|| Id::of(&self.pack));
        self.write.time(|| fs::write(&self.place, &self.pack).unwrap());
        fs::remove_file(&self.place).unwrap();
        let same = verify.time(|| {
            places.iter().zip(&blobs).zip(&packed).all(|((place, blob), packed)| {
                let opened = self.cipher.open(&mut self.pack[place.clone()]).unwrap().unwrap();
                if packed.is_none() {
                    return *opened == **blob;
                }
                self.codec.decompress(opened, blob.len(), &mut self.plain).unwrap();
                self.plain == *blob
            })
        });
        assert!(same, "what was sealed opens to other bytes");
    }

    /// Cuts without hashing; the copy into the chunker's buffer is the read's and not counted.
    fn cut(&mut self, data: &[u8], chunking: Chunking, watch: &mut Watch) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut at = 0;
        let mut copying = 0.0;
        watch.time(|| {
            let mut read = |buffer: &mut [u8]| {
                let before = thread_cpu_s();
                let n = buffer.len().min(data.len() - at);
                buffer[..n].copy_from_slice(&data[at..at + n]);
                at += n;
                copying += thread_cpu_s() - before;
                Ok(n)
            };
            let mut end = 0;
            let mut each = |piece: &[u8]| {
                end += piece.len();
                ends.push(end);
                Ok(())
            };
            self.chunker.run(chunking, data.len() as u64, &mut read, &mut each).unwrap();
        });
        watch.0 -= copying;
        ends
    }
}

fn pieces<'d>(data: &'d [u8], ends: &[usize]) -> Vec<&'d [u8]> {
    let mut from = 0;
    let mut out = Vec::with_capacity(ends.len());
    for end in ends {
        out.push(&data[from..*end]);
        from = *end;
    }
    out
}

/// All files with their sizes.
fn files(root: &Path) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                todo.push(entry.path());
            } else {
                out.push((entry.path(), meta.len()));
            }
        }
    }
    out.sort();
    out
}

/// The least that a walk does: list folders and look at each entry.
fn files_again(root: &Path) {
    drop(files(root));
}

/// Reads what [`Limits::json`] wrote.
pub fn parse(line: &str) -> Limits {
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    let names = [
        "walk",
        "read",
        "cut",
        "SHA-256 of blobs",
        "zstd",
        "seal",
        "verify",
        "SHA-256 of packs",
        "write",
    ];
    let parts = names.into_iter().map(|n| (n, json["parts"][n].as_f64().unwrap())).collect();
    Limits { bytes: json["bytes"].as_u64().unwrap(), parts }
}
