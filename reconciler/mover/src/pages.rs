//! Memory that begins on a page, for what is read, gathered and written in bulk.
//!
//! The allocator puts large buffers 16 bytes behind the begin of a page. A copy from the begin of
//! a page (where the kernel's pages of a file begin) to there is what the string instructions of
//! AMD's Zen 3 take 4 to 20 times as long for as for other copies. Both the kernel and the C
//! library copy by them.

use std::ops::{Deref, DerefMut};

/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// Bytes that begin on a page; only grows.
#[derive(Default)]
pub struct PageBuffer {
    bytes: Vec<u8>,
    begin: usize,
    length: usize,
}

impl PageBuffer {
    /// Makes it at least so many bytes long; what it holds stays.
    pub fn grow(&mut self, length: usize) -> &mut [u8] {
        if length > self.length {
            // Twice as long, so that growing by little is rare; what is not touched costs nothing.
            let old = std::mem::replace(self, Self::new(length.max(2 * self.length)));
            self[..old.length].copy_from_slice(&old);
        }
        self
    }

    /// Makes it at least so many bytes long, whatever it holds then.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        if length > self.length {
            *self = Self::default();
            *self = Self::new(length + length / 4);
        }
        self
    }

    fn new(length: usize) -> Self {
        let length = length.next_multiple_of(PAGE_BYTES);
        let bytes = vec![0; length + PAGE_BYTES];
        let begin = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { bytes, begin, length }
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.length]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_page_and_keeps_what_it_holds() {
        let mut buffer = PageBuffer::default();
        assert!(buffer.is_empty());
        let mut before = 0;
        for length in [1, 2, 4096, 5000, 70_000, 300_000, 100] {
            assert!(buffer.grow(length).len() >= length);
            assert_eq!(buffer.as_ptr().align_offset(PAGE_BYTES), 0, "{length}");
            let kept = buffer[..before].iter().all(|byte| *byte == 7);
            assert!(kept && buffer[before..].iter().all(|byte| *byte == 0), "{length}");
            before = buffer.len();
            buffer.fill(7);
        }
        assert!(buffer.room(900_000).len() >= 900_000);
        assert_eq!(buffer.as_ptr().align_offset(PAGE_BYTES), 0);
    }
}
