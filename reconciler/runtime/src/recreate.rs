//! Makes a resource anew by the commands of its type, and measures it from then on. One that was
//! killed before it was measured is planned again for what is there then.

use model::error::PortError;
use model::id::Address;
use model::observed::{Deed, Observation};

use crate::memory;
use crate::recovery::{measure, not_readable, probed};
use crate::step::{self, StepContext, Success};

/// Does it, whatever is in the place; that was judged by the planner.
pub(crate) async fn recreate(
    context: &StepContext,
    address: &Address,
    token: &str,
) -> Result<Success, PortError> {
    let resource = step::resource(context, address)?;
    let world = &context.world;
    // Counted before it is done, so that no crash makes room in a budget.
    let change = memory::deed(Deed::Recreated, world.clock.now(), token)?;
    world.state.write(&[change]).await?;
    let (target, agent) = (&resource.target, &resource.agent);
    world.agents.recreate(target, agent, token, &context.cancel).await?;
    let marker = match probed(context, resource).await {
        Observation::Known { marker, damaged: None, .. } => marker,
        Observation::Known { damaged: Some(why), .. } => {
            return Err(PortError::terminal(
                "NotRecreated",
                format!("the commands ended well, and {address} cannot be used: {why}"),
            ));
        }
        Observation::Absent { detail, .. } | Observation::Unknown { detail, .. } => {
            return Err(not_readable(resource, &detail));
        }
    };
    let noted = measure(context, resource, None, (marker, "it was made anew")).await?;
    Ok(Success::new(format!("made anew, without any point; noted in {noted} repositories")))
}
