//! Reading of sparse files: holes are not read, they are zeros.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Reads a file from its begin, asking the file system where holes are.
pub struct HoleReader<F> {
    file: F,
    at: u64,
    size: u64,
    /// The extent of data at or behind `at`.
    data: (u64, u64),
    sparse: bool,
}

impl<F: AsFd> HoleReader<F> {
    /// Reads a file of a size in bytes. `sparse` says whether it may have holes: fewer blocks than
    /// its size needs.
    pub fn new(file: F, size: u64, sparse: bool) -> Self {
        Self::from(file, 0, size, sparse)
    }

    /// The same from a place in the file on.
    pub fn from(file: F, at: u64, size: u64, sparse: bool) -> Self {
        Self { file, at, size, data: (0, 0), sparse }
    }

    /// Finds the extent of data at or behind the place, if the file system tells.
    fn look(&mut self) -> Result<(), Errno> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(from) => {
                let to = rustix::fs::seek(&self.file, SeekFrom::Hole(from))?;
                self.data = (from, to.max(from + 1));
                Ok(())
            }
            // Only a hole is left.
            Err(Errno::NXIO) => {
                self.data = (self.size, u64::MAX);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Reads into the buffer and returns how many bytes; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.sparse && self.at < self.size && self.at >= self.data.1 && self.look().is_err() {
            self.sparse = false;
        }
        let count = if self.sparse && self.at < self.data.0.min(self.size) {
            let hole = self.data.0.min(self.size) - self.at;
            let count = buffer.len().min(usize::try_from(hole).unwrap_or(usize::MAX));
            buffer[..count].fill(0);
            count
        } else {
            let inside = self.sparse && self.at < self.data.1;
            let left = if inside { self.data.1 - self.at } else { u64::MAX };
            let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            rustix::io::pread(&self.file, &mut buffer[..count], self.at)?
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn read_all(file: &File, size: u64, sparse: bool) -> Vec<u8> {
        let mut reader = HoleReader::new(file, size, sparse);
        let (mut all, mut buffer) = (Vec::new(), vec![7; 100_000]);
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[test]
    fn holes_are_zeros_wherever_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        // Data at: nowhere, the begin, the middle, the end, two places.
        for places in [vec![], vec![0], vec![3 << 20], vec![(5 << 20) - 9], vec![1 << 20, 4 << 20]]
        {
            let path = folder.path().join("sparse");
            let _ = std::fs::remove_file(&path);
            let file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
            file.set_len(5 << 20).unwrap();
            for at in &places {
                file.write_all_at(b"some data", *at).unwrap();
            }
            let expect = std::fs::read(&path).unwrap();
            assert!(read_all(&file, 5 << 20, true) == expect, "{places:?}");
            assert!(read_all(&file, 5 << 20, false) == expect, "{places:?}");
            // A file that grew or shrank since is read as it is.
            file.set_len(6 << 20).unwrap();
            assert_eq!(read_all(&file, 5 << 20, true).len(), 6 << 20, "{places:?}");
            file.set_len(2 << 20).unwrap();
            assert!(read_all(&file, 5 << 20, false).len() == 2 << 20);
        }
    }
}
