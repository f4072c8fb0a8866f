//! Tests of the planner: one per rule of `docs/semantics.md`.

mod backups;
