//! A block device or a disk image as one stream: its size is known beforehand, holes of an image
//! are not read. Called by whoever backs up volumes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use model::error::PortError;
use model::ports::mover::StreamSource;

use crate::holes::HoleReader;

/// An open device or image.
pub struct Device {
    reader: HoleReader<File>,
    size: u64,
    read: u64,
}

impl Device {
    /// Opens a block device or a regular file.
    pub fn open(path: &Path) -> Result<Self, PortError> {
        let failed = |e: io::Error| {
            PortError::terminal("SourceMissing", format!("{} cannot be opened", path.display()))
                .with_source(e)
        };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let (size, sparse) = if metadata.file_type().is_block_device() {
            (file.seek(SeekFrom::End(0)).map_err(failed)?, false)
        } else if metadata.is_file() {
            (metadata.len(), metadata.blocks() * 512 < metadata.len())
        } else {
            let what = format!("{} is neither a block device nor a file", path.display());
            return Err(PortError::terminal("WrongKind", what));
        };
        Ok(Self { reader: HoleReader::new(file, size, sparse), size, read: 0 })
    }

    /// Returns its size in bytes: the hint by which the size of pieces is chosen.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl StreamSource for Device {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        if self.read == self.size {
            return Ok(());
        }
        let what = format!("it had {} bytes when opened and {} when read", self.size, self.read);
        Err(PortError::transient("SourceChanged", what))
    }
}
