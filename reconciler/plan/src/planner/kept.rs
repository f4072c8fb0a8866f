//! A planner that is kept from pass to pass together with the desired state that it speaks of.
//! Called by the runtime's daemon.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::desired::Desired;
use model::digest::Digest;
use model::observed::Observed;
use model::plan::Plan;

use super::Planner;
use crate::gates::Gates;

// The planner borrows from the desired state beside it, which never moves.
self_cell::self_cell!(
    struct Pair {
        owner: Arc<Desired>,

        #[covariant]
        dependent: Planner,
    }
);

/// See the module.
pub struct KeptPlanner(Pair);

impl KeptPlanner {
    /// Takes in a desired state and a first observation; nothing is planned yet.
    pub fn new(desired: Arc<Desired>, observed: Observed) -> Self {
        Self(Pair::new(desired, |desired| Planner::new(desired, observed)))
    }

    /// Returns whether it plans for this desired state.
    pub fn is_for(&self, desired: &Arc<Desired>) -> bool {
        Arc::ptr_eq(self.0.borrow_owner(), desired)
    }

    /// Takes in the next observation, at the cost of what differs.
    pub fn take(&mut self, observed: Observed) {
        self.0.with_dependent_mut(|_, planner| planner.take(observed));
    }

    /// Returns the observation as it stands.
    pub fn observed(&self) -> Arc<Observed> {
        self.0.borrow_dependent().shared()
    }

    /// Plans for an instant: what [`crate::plan`] plans, byte for byte.
    pub fn plan(&mut self, now: Timestamp) -> Plan {
        self.0.with_dependent_mut(|_, planner| planner.plan(now))
    }

    /// Returns what each step of the last plan waits for, as [`crate::gates`] does.
    pub fn gates(&self, plan: &Plan, now: Timestamp, approvals: &BTreeSet<Digest>) -> Gates {
        self.0.borrow_dependent().gates(plan, now, approvals)
    }
}
