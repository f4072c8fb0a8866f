//! The pure planner: graph, slots, retention, comparison, plan, checks, and reasons for everything.
//!
//! In reading order: `slots` says when work is due, `retention` what stays, `graph` what comes
//! before what, `condition` how a resource compares with where it should be, `planner` what is done
//! about all of it, `gates` what each step waits for, `precondition` what is looked at again at the
//! write, `check` which promise a plan would break; `status`, `objectives`, `explain` and `render`
//! tell people, `simulate` what a retention policy promises, `whatif` what a loss would leave,
//! `runbook` how people bring everything back without this program.
//!
//! Must not contain: async, I/O, clocks, iteration in hash order.

mod alarms;
pub mod anomaly;
pub mod check;
mod condition;
pub mod explain;
mod gates;
pub mod graph;
mod index;
pub mod objectives;
mod outcome;
mod planner;
mod precondition;
pub mod render;
pub mod retention;
pub mod rto;
pub mod runbook;
pub mod simulate;
pub mod slots;
pub mod status;
#[cfg(test)]
mod testing;
mod view;
pub mod whatif;

pub use check::check;
pub use condition::went_back;
pub use explain::explain;
pub use gates::{Gates, gates, is_open};
pub use outcome::Outcome;
pub use planner::{
    KeptPlanner, Planner, plan, plan_only, proof_of, restore_step, retention_of, step_digest,
};
pub use precondition::precondition;
pub use status::status;
