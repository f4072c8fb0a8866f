//! `status`, `plan`, `explain`, `snapshots`: looks at the world as a reader, who leaves everything
//! as it is, our own state included.

use std::collections::BTreeSet;

use model::cancel::Cancel;
use model::id::{Address, CommitId};
pub use plan::status::{Status, Verdict};
use runtime::pass::{self, Pass, PassError, PassRequest};
use runtime::{Observer, World};

/// Makes a pass up to the plan, as a reader.
pub async fn look(
    world: &World,
    commit: Option<CommitId>,
    only: BTreeSet<Address>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Pass, PassError> {
    let request = PassRequest { commit, only, lease: None, fall_back: false };
    pass::prepare(world, &request, observer, cancel).await
}

/// Says how well everything is protected, as the pass saw it.
pub fn report(pass: &Pass, now: model::Timestamp) -> Status {
    plan::status(&pass.desired, &pass.observed, now)
}
