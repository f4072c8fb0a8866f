//! Refuses writes, or deletions only: what must not be is not asked of the storage at all.

use std::sync::Arc;

use model::error::PortError;
use model::ports::storage::{FileKind, Storage};

use super::{Answer, Call, Operation, Rule, decorator};

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Everything but reading.
    ReadOnly,
    /// Deletions, but of locks: they hold no data, and one that stays stops everybody else. The
    /// same rule as that of restic's REST server with `--append-only`.
    AppendOnly,
}

decorator! {
    /// Storage that refuses what its guard names, with the reason `ReadOnly` or `AppendOnly`.
    Guarded, Guard
}

impl Guarded {
    /// Wraps a storage.
    pub fn new(inner: Arc<dyn Storage>, guard: Guard) -> Self {
        Self { inner, rule: guard }
    }
}

impl Rule for Guard {
    fn around<T: Answer>(
        &self,
        call: &Call<'_>,
        act: &mut dyn FnMut() -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let word = call.operation.word();
        let folder = call.kind.map_or("folders", FileKind::folder);
        let refused = |reason, why: &str| {
            let what = format!("refused to {word} {folder} {}", call.name);
            Err(PortError::terminal(reason, what.trim_end().to_owned()).with_hint(why))
        };
        let writes =
            matches!(call.operation, Operation::Create | Operation::Save | Operation::Delete);
        match self {
            Self::ReadOnly if writes => {
                refused("ReadOnly", "this repository was opened for reading only")
            }
            Self::AppendOnly
                if call.operation == Operation::Delete && call.kind != Some(FileKind::Lock) =>
            {
                refused("AppendOnly", "this repository's document says `appendOnly: true`")
            }
            _ => act(),
        }
    }
}
