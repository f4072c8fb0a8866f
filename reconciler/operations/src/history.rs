//! `history`: what was done, from the journal, newest first.

use model::error::PortError;
use model::id::{Address, StepId};
use model::journal::{Body, Record};
use runtime::World;

/// Records read at once.
const PAGE: usize = 5000;

/// Returns the newest records, at most `count_max`, newest first; with an address only those of its
/// steps.
pub async fn history(
    world: &World,
    address: Option<&Address>,
    count_max: usize,
) -> Result<Vec<Record>, PortError> {
    let needle = address.map(ToString::to_string);
    let mut kept = std::collections::VecDeque::new();
    let mut from = 0;
    loop {
        let page = world.state.read_journal(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.sequence + 1;
        for record in page {
            let wanted = needle.as_deref().is_none_or(|n| concerns(&record.body, n));
            if wanted {
                kept.push_back(record);
                if kept.len() > count_max {
                    kept.pop_front();
                }
            }
        }
    }
    Ok(kept.into_iter().rev().collect())
}

fn concerns(body: &Body, address: &str) -> bool {
    match body {
        Body::StepBegun { step, .. }
        | Body::StepReached { step, .. }
        | Body::StepEnded { step, .. }
        | Body::Recovered { step, .. } => is_of(step, address),
        _ => false,
    }
}

/// Whether a step is one of a resource's, by the step's name.
pub(crate) fn is_of(step: &StepId, address: &str) -> bool {
    format!("{step}/").contains(&format!("/{address}/"))
}
