//! One suite per port: what every implementation must do, the simulated and the real, as one
//! function that panics with the broken rule.

pub mod agents;
pub mod clock;
pub mod engine;
pub mod secrets;
pub mod source;
pub mod state;
