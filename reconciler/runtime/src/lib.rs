//! One pass (fetch, load, observe, plan, gate, execute), its memory and journal, and the daemon
//! loop.
//!
//! In reading order: `world` holds the ports; `configuration` loads a tree; `pass` goes from a
//! commit to a plan; `observe` looks; `memory` reads and writes what our state remembers; `execute`
//! walks the plan's steps; `step` acts; `recovery` brings data back in phases; `takeback` and
//! `resume` look at what a crash left; `daemon` repeats.
//!
//! Must not contain: imports of `adapters`; printing; clocks, environment and randomness of its
//! own.

pub mod configuration;
pub mod daemon;
pub mod event;
pub mod execute;
pub mod memory;
pub mod observe;
pub mod pass;
mod recovery;
pub mod resume;
mod step;
mod takeback;
pub mod world;

pub use event::{Observer, RunEvent, Unobserved};
pub use pass::{Pass, PassError, PassRequest};
pub use world::World;
