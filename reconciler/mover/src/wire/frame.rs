//! Frames: length of the head, length of the data, check sum, head, data. Numbers are
//! little-endian. The check sum is the begin of the BLAKE3 of everything else: it finds what a
//! transport got wrong, and guards against no attacker.

use std::io::{self, Read, Write};

use model::error::PortError;
use model::ports::mover::CHUNK_BYTES_MAX;

use super::{broken, gone};

/// The version of the protocol; only equal ones speak with each other.
pub const VERSION: u16 = 1;
/// The largest encoded message of a frame in bytes.
pub const HEAD_BYTES_MAX: usize = 4 << 20;
/// The largest content of a frame in bytes: one blob.
pub const DATA_BYTES_MAX: usize = CHUNK_BYTES_MAX as usize;

const GREETING: &[u8; 14] = b"mainstay-mover";
const CHECK_BYTES: usize = 8;
const PREFIX_BYTES: usize = 4 + 4 + CHECK_BYTES;

/// One frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The encoded message.
    pub head: Vec<u8>,
    /// The content that goes with it.
    pub data: Vec<u8>,
}

impl Frame {
    /// Returns its size in bytes, as the window counts it.
    pub fn size(&self) -> usize {
        self.head.len() + self.data.len()
    }

    /// Reads the next frame; `None` where the stream ends between two.
    pub fn read(stream: &mut dyn Read) -> Result<Option<Self>, PortError> {
        let mut prefix = [0; PREFIX_BYTES];
        if !fill(stream, &mut prefix)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let bytes = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
            usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let (head_bytes, data_bytes) = (number(0), number(4));
        if head_bytes > HEAD_BYTES_MAX || data_bytes > DATA_BYTES_MAX {
            let what = format!("a frame of {head_bytes} and {data_bytes} bytes is too large");
            return Err(broken(what));
        }
        let mut frame = Self { head: vec![0; head_bytes], data: vec![0; data_bytes] };
        for part in [&mut frame.head, &mut frame.data] {
            if !part.is_empty() && !fill(stream, part)? {
                return Err(gone("the connection ended inside a frame"));
            }
        }
        if check(&frame.head, &frame.data)[..] != prefix[8..] {
            return Err(broken("a frame's check sum is wrong"));
        }
        Ok(Some(frame))
    }
}

/// Writes a frame from its parts, so that content is not copied.
pub(super) fn write(stream: &mut dyn Write, head: &[u8], data: &[u8]) -> Result<(), PortError> {
    if head.len() > HEAD_BYTES_MAX || data.len() > DATA_BYTES_MAX {
        let what = format!("{} and {} bytes do not fit a frame", head.len(), data.len());
        return Err(PortError::terminal("TooLarge", what));
    }
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..4].copy_from_slice(&length(head));
    prefix[4..8].copy_from_slice(&length(data));
    prefix[8..].copy_from_slice(&check(head, data));
    let written = stream
        .write_all(&prefix)
        .and_then(|()| stream.write_all(head))
        .and_then(|()| stream.write_all(data))
        .and_then(|()| stream.flush());
    written.map_err(|e| gone("the connection broke while it was written to").with_source(e))
}

fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn check(head: &[u8], data: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length(head)).update(&length(data)).update(head).update(data);
    let mut short = [0; CHECK_BYTES];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    short
}

/// Fills the buffer; `false` where the stream ends before its first byte.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> Result<bool, PortError> {
    let mut done = 0;
    while done < buffer.len() {
        match stream.read(&mut buffer[done..]) {
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => return Err(gone("the connection ended inside a frame")),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(gone("the connection broke").with_source(e)),
        }
    }
    Ok(true)
}

/// Sends this side's greeting.
pub(super) fn greet(stream: &mut dyn Write) -> Result<(), PortError> {
    let mut greeting = GREETING.to_vec();
    greeting.extend_from_slice(&VERSION.to_le_bytes());
    let sent = stream.write_all(&greeting).and_then(|()| stream.flush());
    sent.map_err(|e| gone("the connection broke at the greeting").with_source(e))
}

/// Reads the other side's greeting.
pub(super) fn greeted(stream: &mut dyn Read) -> Result<(), PortError> {
    let mut greeting = [0; GREETING.len() + 2];
    if !fill(stream, &mut greeting)? {
        return Err(gone("the connection ended before the greeting"));
    }
    let (name, version) = greeting.split_at(GREETING.len());
    if name != GREETING {
        let shown = greeting.escape_ascii();
        return Err(broken(format!("the other side is no mover: it begins with `{shown}`")));
    }
    let version = u16::from_le_bytes([version[0], version[1]]);
    if version != VERSION {
        let what = format!("the other side speaks version {version}, this one {VERSION}");
        return Err(PortError::terminal("VersionDiffers", what)
            .with_hint("bring the mover to the host again from this program's version"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back(parts in {
            let bytes = || prop::collection::vec(any::<u8>(), 0..300);
            prop::collection::vec((bytes(), bytes()), 0..5)
        }) {
            let mut stream = Vec::new();
            for (head, data) in &parts {
                write(&mut stream, head, data).unwrap();
            }
            let mut rest = stream.as_slice();
            for (head, data) in parts {
                prop_assert_eq!(Frame::read(&mut rest).unwrap(), Some(Frame { head, data }));
            }
            prop_assert_eq!(Frame::read(&mut rest).unwrap(), None);
        }

        #[test]
        fn a_wrong_bit_or_an_early_end_is_found(at in 0usize..56, bit in 0u8..8) {
            let mut stream = Vec::new();
            write(&mut stream, &[7; 20], &[9; 20]).unwrap();
            prop_assert!(Frame::read(&mut &stream[..at.max(1)]).is_err());
            stream[at] ^= 1 << bit;
            prop_assert!(Frame::read(&mut stream.as_slice()).is_err());
        }
    }

    #[test]
    fn sizes_are_checked_before_memory_is_taken() {
        let mut prefix = [0xff; PREFIX_BYTES].as_slice();
        assert_eq!(Frame::read(&mut prefix).unwrap_err().reason, "MoverBroken");
    }

    #[test]
    fn only_a_mover_of_this_version_is_spoken_to() {
        let mut greeting = Vec::new();
        greet(&mut greeting).unwrap();
        greeted(&mut greeting.as_slice()).unwrap();
        greeting[14] += 1;
        assert_eq!(greeted(&mut greeting.as_slice()).unwrap_err().reason, "VersionDiffers");
        let shell = greeted(&mut b"bash: mainstay-mover: not found".as_slice()).unwrap_err();
        assert_eq!(shell.reason, "MoverBroken");
        assert!(shell.message.contains("bash: mainstay-"), "{}", shell.message);
        assert_eq!(greeted(&mut b"".as_slice()).unwrap_err().reason, "MoverGone");
    }
}
