//! Tests of the planner, by the rules of `docs/semantics.md`.

mod alarms;
mod backups;
mod conditions;
mod convergence;
mod expiry;
mod incremental;
mod properties;
mod recovery;
mod repositories;
