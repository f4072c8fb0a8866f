//! Tests of the planner, by the rules of `docs/semantics.md`.

mod alarms;
mod backups;
mod conditions;
mod convergence;
mod erasure;
mod expiry;
mod incremental;
mod matrix;
mod properties;
mod recovery;
mod recreate;
mod repositories;
