//! Keeps the verdict of a stream that broke off: the engine sees an I/O error, the command behind the
//! stream knows why. Used by backups and restores.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use model::error::PortError;
use model::ports::agents::StreamSink;
use model::ports::mover::StreamSource;

/// Where the first verdict is kept.
#[derive(Clone, Default)]
pub(super) struct Verdicts(Arc<Mutex<Option<PortError>>>);

impl Verdicts {
    fn keep(&self, error: PortError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Returns the kept verdict in the place of an error that it caused.
    pub(super) fn instead_of(&self, error: PortError) -> PortError {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error)
    }
}

/// A source that asks for the verdict when reading fails.
pub(super) struct Asked {
    inner: Option<Box<dyn StreamSource>>,
    verdicts: Verdicts,
}

impl Asked {
    pub(super) fn new(inner: Box<dyn StreamSource>, verdicts: Verdicts) -> Self {
        Self { inner: Some(inner), verdicts }
    }
}

impl StreamSource for Asked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else {
            return Err(io::Error::other("the stream broke off before"));
        };
        let result = inner.read(buffer);
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
            && let Some(inner) = self.inner.take()
            && let Err(verdict) = inner.finish()
        {
            self.verdicts.keep(verdict);
        }
        result
    }

    fn finish(mut self: Box<Self>) -> Result<(), PortError> {
        match self.inner.take() {
            Some(inner) => inner.finish(),
            None => Err(PortError::transient("SourceFailed", "the stream broke off")),
        }
    }
}

/// A sink as a writer that hashes what goes through.
pub(super) struct Hashed {
    sink: Option<Box<dyn StreamSink>>,
    hasher: blake3::Hasher,
    verdicts: Verdicts,
}

impl Hashed {
    pub(super) fn new(sink: Box<dyn StreamSink>, verdicts: Verdicts) -> Self {
        Self { sink: Some(sink), hasher: blake3::Hasher::new(), verdicts }
    }

    /// Ends the stream; returns the digest of what it took.
    pub(super) fn finish(mut self) -> Result<String, PortError> {
        match self.sink.take() {
            Some(sink) => sink.finish().map(|()| self.hasher.finalize().to_hex().to_string()),
            None => Err(PortError::transient("TargetFailed", "the stream was not taken")),
        }
    }
}

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(sink) = &mut self.sink else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        };
        if let Err(error) = sink.write_all(bytes) {
            if let Some(sink) = self.sink.take()
                && let Err(verdict) = sink.finish()
            {
                self.verdicts.keep(verdict);
            }
            return Err(error);
        }
        self.hasher.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
