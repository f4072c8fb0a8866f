//! Headers of tar archives in the POSIX pax form; used by the dump of folders.
//!
//! By hand, as the well-kept crate wants its input from files, and only headers are needed.

use model::ports::mover::{Entry, EntryKind};

const BLOCK: usize = 512;

/// Returns the zeros that fill a content of this size to whole blocks.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { &[] } else { &ZEROS[over..] }
}

/// Returns the header blocks of an entry: a pax one with what the old form cannot say, then the
/// old.
pub(crate) fn header(path: &[u8], entry: &Entry) -> Vec<u8> {
    let mut path = path.to_vec();
    if entry.kind == EntryKind::Directory {
        path.push(b'/');
    }
    let mut pax = Vec::new();
    record(&mut pax, b"path", &path);
    if entry.kind == EntryKind::Symlink {
        record(&mut pax, b"linkpath", &entry.link_target);
    }
    if entry.kind == EntryKind::File {
        record(&mut pax, b"size", entry.size.to_string().as_bytes());
    }
    let time = format!("{}.{:09}", entry.mtime.seconds, entry.mtime.nanos);
    if entry.mtime.seconds >= 0 {
        record(&mut pax, b"mtime", time.as_bytes());
    }
    record(&mut pax, b"uid", entry.owner.uid.to_string().as_bytes());
    record(&mut pax, b"gid", entry.owner.gid.to_string().as_bytes());
    for (name, value) in &entry.xattrs {
        let mut key = b"SCHILY.xattr.".to_vec();
        key.extend_from_slice(name);
        record(&mut pax, &key, value);
    }
    let mut out = block(b"pax", entry, b'x', pax.len() as u64);
    out.extend_from_slice(&pax);
    out.extend_from_slice(padding(pax.len() as u64));
    let kind = match entry.kind {
        EntryKind::File | EntryKind::Socket => b'0',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
    out.extend(block(&path, entry, kind, size));
    out
}

/// Appends one pax record: its own length in decimal, key, value.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    // What does not fit is said in the pax header.
    if text.len() == digits {
        field[..digits].copy_from_slice(text.as_bytes());
    } else {
        field[..digits].fill(b'7');
    }
}

fn block(path: &[u8], entry: &Entry, kind: u8, size: u64) -> Vec<u8> {
    let mut b = vec![0; BLOCK];
    let copy = |field: &mut [u8], text: &[u8]| {
        let n = text.len().min(field.len());
        field[..n].copy_from_slice(&text[..n]);
    };
    copy(&mut b[..100], path);
    octal(&mut b[100..108], u64::from(entry.mode));
    octal(&mut b[108..116], u64::from(entry.owner.uid));
    octal(&mut b[116..124], u64::from(entry.owner.gid));
    octal(&mut b[124..136], size);
    octal(&mut b[136..148], u64::try_from(entry.mtime.seconds).unwrap_or(0));
    b[156] = kind;
    copy(&mut b[157..257], &entry.link_target);
    copy(&mut b[257..265], b"ustar\x0000");
    copy(&mut b[265..296], entry.owner.user.as_bytes());
    copy(&mut b[297..328], entry.owner.group.as_bytes());
    octal(&mut b[329..337], u64::from(rustix::fs::major(entry.rdev)));
    octal(&mut b[337..345], u64::from(rustix::fs::minor(entry.rdev)));
    b[148..156].fill(b' ');
    let sum: u64 = b.iter().map(|x| u64::from(*x)).sum();
    octal(&mut b[148..155], sum);
    b
}
