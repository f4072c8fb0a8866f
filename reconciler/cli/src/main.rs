//! The binary `mainstay`: arguments, wiring of adapters into the runtime, rendering, exit codes.
//!
//! Must not contain: logic.
fn main() {}
