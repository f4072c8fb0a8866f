//! Streams whose command starts with the first byte: streams are read one after the other, and none
//! should wait with an open connection for its turn.

use std::io;
use std::sync::Arc;

use model::cancel::Cancel;
use model::error::PortError;
use model::ports::agents::StreamSink;
use model::ports::mover::StreamSource;

use super::Scratch;
use crate::transport::{Invocation, Transport};

/// What is needed to start a command.
struct Start {
    transport: Arc<dyn Transport>,
    invocation: Invocation,
    cancel: Cancel,
}

/// A source that starts when it is read.
pub(super) struct LazySource {
    start: Start,
    running: Option<Box<dyn StreamSource>>,
    failed: Option<PortError>,
    _scratch: Scratch,
}

impl LazySource {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        invocation: Invocation,
        cancel: Cancel,
        scratch: Scratch,
    ) -> Self {
        let start = Start { transport, invocation, cancel };
        Self { start, running: None, failed: None, _scratch: scratch }
    }
}

impl StreamSource for LazySource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let running = match &mut self.running {
            Some(running) => running,
            None => match self.start.transport.source(&self.start.invocation, &self.start.cancel) {
                Ok(source) => self.running.insert(source),
                Err(error) => {
                    let told = io::Error::other(error.chain());
                    self.failed = Some(error);
                    return Err(told);
                }
            },
        };
        running.read(buffer)
    }

    fn finish(self: Box<Self>) -> Result<(), PortError> {
        match (self.failed, self.running) {
            (Some(error), _) => Err(error),
            (None, Some(running)) => running.finish(),
            (None, None) => {
                Err(PortError::terminal("StreamNotRead", "a stream was not read at all"))
            }
        }
    }
}

/// A sink that starts when it is written or finished: a stream may be empty.
pub(super) struct LazySink {
    start: Start,
    running: Option<Box<dyn StreamSink>>,
    failed: Option<PortError>,
    _scratch: Scratch,
}

impl LazySink {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        invocation: Invocation,
        cancel: Cancel,
        scratch: Scratch,
    ) -> Self {
        let start = Start { transport, invocation, cancel };
        Self { start, running: None, failed: None, _scratch: scratch }
    }

    fn running(&mut self) -> Result<&mut Box<dyn StreamSink>, PortError> {
        if self.running.is_none() {
            let sink = self.start.transport.sink(&self.start.invocation, &self.start.cancel)?;
            self.running = Some(sink);
        }
        self.running
            .as_mut()
            .ok_or_else(|| PortError::terminal("Internal", "a stream did not start"))
    }
}

impl StreamSink for LazySink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.running() {
            Ok(running) => running.write_all(bytes),
            Err(error) => {
                let told = io::Error::other(error.chain());
                self.failed = Some(error);
                Err(told)
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), PortError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.running()?;
        match self.running.take() {
            Some(running) => running.finish(),
            None => Err(PortError::terminal("Internal", "a stream did not start")),
        }
    }
}
