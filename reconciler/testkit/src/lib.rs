//! The simulated world: the real configuration, planner and runtime live in it, with time,
//! randomness, hosts, databases, repositories, git and memory of its own, and are broken on
//! purpose. Also one conformance suite per port, run by the simulated ports here and by the real
//! ones in `adapters`.
//!
//! In reading order: `scenario` makes events and faults of a seed; `simulation` runs them;
//! `world` is the truth, `ports` reach it, `faults` go wrong there, `checks` hold the promises
//! against it; `minimise` shortens what failed, `sweep` fails every call in turn; `coverage` says
//! what was shown. `docs/simulation.md` explains how to read a failure.
//!
//! Used by tests alone.

pub mod checks;
pub mod conformance;
pub mod coverage;
pub mod documents;
pub mod faults;
pub mod minimise;
pub mod ports;
pub mod random;
pub mod scenario;
pub mod simulation;
pub mod sweep;
pub mod time;
pub mod world;
