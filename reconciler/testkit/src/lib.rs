//! A simulated world: clock, targets, repositories, git, faults, seeds and checkers.
//!
//! Must not be used outside tests.
