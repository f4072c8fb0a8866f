//! Behaviour that wraps any storage: what every request passes on its way, one rule a file.
//! Composed by whoever opens a repository; the engine below sees a storage like any other.
//!
//! In the order in which a request meets them when all are used: [`Guarded`] refuses what must not
//! be, [`Retrying`] tries again, [`Limited`] waits for its turn, [`Traced`] tells of it.

mod dry_run;
mod guard;
#[cfg(any(test, feature = "testing"))]
mod hooked;
mod limit;
mod retry;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use model::error::PortError;
use model::ports::storage::{FileKind, Listed, Storage};

pub use dry_run::{Counted, DryRun};
pub use guard::{Guard, Guarded};
#[cfg(any(test, feature = "testing"))]
pub use hooked::{Act, Hooked};
pub use limit::{Limited, Limits};
pub use retry::{RetryPolicy, Retrying};
pub use trace::{Traced, Traffic};

/// Time and chance as decorators need them: handed in, so that a test decides both.
pub trait Pacing: Send + Sync {
    /// Returns the time since some fixed instant; it never goes back.
    fn elapsed(&self) -> Duration;
    /// Waits this long.
    fn wait(&self, duration: Duration);
    /// Returns a number from 0 to below 1, another one each time.
    fn random(&self) -> f64;
}

/// What is asked of a storage: the port's functions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Storage::create`].
    Create,
    /// [`Storage::list`].
    List,
    /// [`Storage::stat`].
    Stat,
    /// [`Storage::load`].
    Load,
    /// [`Storage::load_range`].
    LoadRange,
    /// [`Storage::save`].
    Save,
    /// [`Storage::delete`].
    Delete,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Load => "load",
            Self::LoadRange => "load part of",
            Self::Save => "save",
            Self::Delete => "delete",
        }
    }
}

/// One request, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    operation: Operation,
    kind: Option<FileKind>,
    name: &'a str,
    /// Bytes that are sent.
    bytes_up: u64,
    /// Bytes that will come, where that is known beforehand.
    bytes_down: u64,
}

impl<'a> Call<'a> {
    fn new(operation: Operation, kind: FileKind, name: &'a str) -> Self {
        Self { operation, kind: Some(kind), name, bytes_up: 0, bytes_down: 0 }
    }
}

/// What a request returned; only whole files have a size that was not known before.
pub(crate) trait Answer {
    fn bytes(&self) -> u64 {
        0
    }
}

impl Answer for () {}
impl Answer for u64 {}
impl Answer for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }
}

/// How `Storage::list` hands over what it finds.
pub(crate) type Each<'a> = dyn FnMut(Listed) -> Result<(), PortError> + 'a;

/// What is done around each request.
pub(crate) trait Rule: Send + Sync {
    fn connections(&self, inner: usize) -> usize {
        inner
    }

    /// Does a request by calling `act`: never, once or several times.
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError>;

    fn list(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        each: &mut Each<'_>,
    ) -> Result<(), PortError> {
        self.around(&Call::new(Operation::List, kind, ""), &mut || inner.list(kind, each))
    }

    fn save(
        &self,
        inner: &dyn Storage,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        let mut call = Call::new(Operation::Save, kind, name);
        call.bytes_up = data.len() as u64;
        self.around(&call, &mut || inner.save(kind, name, data, sha256))
    }

    fn delete(&self, inner: &dyn Storage, kind: FileKind, name: &str) -> Result<(), PortError> {
        let call = Call::new(Operation::Delete, kind, name);
        self.around(&call, &mut || inner.delete(kind, name))
    }
}

/// Makes a public storage of a rule: `$name` is `$rule` around another storage.
macro_rules! decorator {
    ($(#[$doc:meta])* $name:ident, $rule:ty) => {
        $(#[$doc])*
        pub struct $name {
            inner: std::sync::Arc<dyn model::ports::storage::Storage>,
            rule: $rule,
        }

        impl model::ports::storage::Storage for $name {
            fn location(&self) -> String {
                self.inner.location()
            }
            fn connections(&self) -> usize {
                $crate::storage::decorators::Rule::connections(
                    &self.rule,
                    self.inner.connections(),
                )
            }
            fn create(&self) -> Result<(), model::error::PortError> {
                $crate::storage::decorators::pass::create(&self.rule, &self.inner)
            }
            fn list(
                &self,
                kind: model::ports::storage::FileKind,
                each: &mut dyn FnMut(
                    model::ports::storage::Listed,
                ) -> Result<(), model::error::PortError>,
            ) -> Result<(), model::error::PortError> {
                $crate::storage::decorators::Rule::list(&self.rule, &*self.inner, kind, each)
            }
            fn stat(
                &self,
                kind: model::ports::storage::FileKind,
                name: &str,
            ) -> Result<u64, model::error::PortError> {
                $crate::storage::decorators::pass::stat(&self.rule, &self.inner, kind, name)
            }
            fn load(
                &self,
                kind: model::ports::storage::FileKind,
                name: &str,
                size_bytes_max: u64,
            ) -> Result<Vec<u8>, model::error::PortError> {
                let limit = size_bytes_max;
                $crate::storage::decorators::pass::load(&self.rule, &self.inner, kind, name, limit)
            }
            fn load_range(
                &self,
                kind: model::ports::storage::FileKind,
                name: &str,
                offset: u64,
                buffer: &mut [u8],
            ) -> Result<(), model::error::PortError> {
                let part = (offset, buffer);
                $crate::storage::decorators::pass::range(&self.rule, &self.inner, kind, name, part)
            }
            fn save(
                &self,
                kind: model::ports::storage::FileKind,
                name: &str,
                data: &[u8],
                sha256: &[u8; 32],
            ) -> Result<(), model::error::PortError> {
                let inner = &*self.inner;
                $crate::storage::decorators::Rule::save(&self.rule, inner, kind, name, data, sha256)
            }
            fn delete(
                &self,
                kind: model::ports::storage::FileKind,
                name: &str,
            ) -> Result<(), model::error::PortError> {
                $crate::storage::decorators::Rule::delete(&self.rule, &*self.inner, kind, name)
            }
        }
    };
}
use decorator;

/// Requests that every rule sees alike.
mod pass {
    use super::{Arc, Call, FileKind, Operation, PortError, Rule, Storage};

    pub fn create(rule: &impl Rule, inner: &Arc<dyn Storage>) -> Result<(), PortError> {
        let mut call = Call::new(Operation::Create, FileKind::Config, "");
        call.kind = None;
        rule.around(&call, &mut || inner.create())
    }

    pub fn stat(
        rule: &impl Rule,
        inner: &Arc<dyn Storage>,
        kind: FileKind,
        name: &str,
    ) -> Result<u64, PortError> {
        rule.around(&Call::new(Operation::Stat, kind, name), &mut || inner.stat(kind, name))
    }

    pub fn load(
        rule: &impl Rule,
        inner: &Arc<dyn Storage>,
        kind: FileKind,
        name: &str,
        size_bytes_max: u64,
    ) -> Result<Vec<u8>, PortError> {
        let call = Call::new(Operation::Load, kind, name);
        rule.around(&call, &mut || inner.load(kind, name, size_bytes_max))
    }

    pub fn range(
        rule: &impl Rule,
        inner: &Arc<dyn Storage>,
        kind: FileKind,
        name: &str,
        (offset, buffer): (u64, &mut [u8]),
    ) -> Result<(), PortError> {
        let mut call = Call::new(Operation::LoadRange, kind, name);
        call.bytes_down = buffer.len() as u64;
        rule.around(&call, &mut || inner.load_range(kind, name, offset, buffer))
    }
}
