//! From bytes and a discovery to diagnostics and one `Desired` state in which every value knows
//! its line.
//!
//! Must not contain: file system, git, environment, clocks, printing.
