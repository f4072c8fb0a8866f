//! Feeds a snapshot's streams to programs, counting and digesting on the way.

use std::io::{self, Write};

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::StreamSink;
use model::progress::{Counts, Progress, ProgressSink};
use repository::{StreamDigest, content_digest};

/// How often progress is told, in bytes.
const TELL_BYTES: u64 = 4 << 20;

/// One restore of streams on its way.
pub struct Feeding<'a> {
    progress: &'a dyn ProgressSink,
    cancel: &'a Cancel,
    counts: Counts,
    told: u64,
    sink: Option<Box<dyn StreamSink>>,
    hasher: blake3::Hasher,
    digests: Vec<StreamDigest>,
    name: String,
}

impl<'a> Feeding<'a> {
    /// Returns one that has fed nothing.
    pub fn new(progress: &'a dyn ProgressSink, cancel: &'a Cancel) -> Self {
        Self {
            progress,
            cancel,
            counts: Counts::default(),
            told: 0,
            sink: None,
            hasher: blake3::Hasher::new(),
            digests: Vec::new(),
            name: String::new(),
        }
    }

    /// Begins a stream.
    pub fn begin(&mut self, name: &str, sink: Box<dyn StreamSink>) {
        name.clone_into(&mut self.name);
        self.hasher.reset();
        self.sink = Some(sink);
    }

    /// Ends a stream: only a stream that was read whole is offered for a verdict.
    pub fn end(&mut self, read: Result<u64, PortError>) -> Result<(), PortError> {
        let sink = self.sink.take();
        match read {
            Ok(bytes) => {
                let blake3 = self.hasher.finalize().to_hex().to_string();
                self.digests.push(StreamDigest { name: self.name.clone(), bytes, blake3 });
                self.counts.files_done += 1;
                sink.map_or(Ok(()), |sink| sink.finish())
            }
            Err(error) => {
                // The program's own words say more than a broken pipe.
                match sink.map(|sink| sink.finish()) {
                    Some(Err(said)) if error.reason != "Cancelled" => Err(said),
                    _ => Err(error),
                }
            }
        }
    }

    /// Returns the counts and the content digest, in the shape of the receipt's.
    pub fn result(mut self) -> (Counts, String) {
        self.counts.files_total = self.counts.files_done;
        self.counts.bytes_total = self.counts.bytes_done;
        self.progress.event(Progress::Counts(self.counts));
        (self.counts, content_digest(&self.digests))
    }
}

impl Write for Feeding<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped as asked"));
        }
        if let Some(sink) = &mut self.sink {
            sink.write_all(bytes)?;
        }
        self.hasher.update(bytes);
        self.counts.bytes_done += bytes.len() as u64;
        if self.counts.bytes_done - self.told >= TELL_BYTES {
            self.told = self.counts.bytes_done;
            self.progress.event(Progress::Counts(self.counts));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
