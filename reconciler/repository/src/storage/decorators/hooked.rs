//! Storage of which a test decides what each request does: it fails, panics, is counted, or goes
//! through. Only for tests.

use std::sync::Arc;

use model::error::PortError;
use model::ports::storage::{FileKind, Storage};

use super::{Answer, Call, Operation, Rule, decorator};

/// Does the request; what it returned is kept for the caller.
pub type Act<'a> = dyn FnMut() -> Result<(), PortError> + 'a;

/// What a test does about a request: it returns `act()` to let it through.
type Deed = dyn Fn(Operation, FileKind, &str, &mut Act<'_>) -> Result<(), PortError> + Send + Sync;

/// The rule.
pub struct Hook(Box<Deed>);

decorator! {
    /// Storage each of whose requests goes through a function of the test. What makes the folders
    /// comes as of the kind `Config`.
    Hooked, Hook
}

impl Hooked {
    /// Wraps a storage.
    pub fn new(
        inner: Arc<dyn Storage>,
        hook: impl Fn(Operation, FileKind, &str, &mut Act<'_>) -> Result<(), PortError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { inner, rule: Hook(Box::new(hook)) }
    }
}

impl Rule for Hook {
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let mut answer = None;
        let kind = call.kind.unwrap_or(FileKind::Config);
        (self.0)(call.operation, kind, call.name, &mut || {
            answer = Some(act()?);
            Ok(())
        })?;
        let said = || PortError::terminal("BadHook", "the test's hook succeeded without the act");
        answer.ok_or_else(said)
    }
}
