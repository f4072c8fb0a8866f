//! One pass (fetch, load, observe, plan, gate, execute), its memory and journal, and the daemon
//! loop.
//!
//! In reading order: `world` holds the ports; `configuration` loads a tree; `pass` goes from a
//! commit to a plan; `observe` looks; `judge` doubts our memory; `memory` reads and writes what our
//! state remembers; `execute` walks the plan's steps; `step` acts; `recovery` brings data back in
//! phases; `recreate` makes it anew; `takeback`, `takeup` and `resume` look at what a crash or a
//! state that went back left; `daemon` repeats.
//!
//! Must not contain: imports of `adapters`; printing; clocks, environment and randomness of its
//! own.

pub mod configuration;
pub mod daemon;
pub mod event;
pub mod execute;
mod judge;
pub mod memory;
pub mod observe;
pub mod pass;
mod recovery;
mod recreate;
pub mod resume;
mod step;
mod takeback;
mod takeup;
pub mod world;

pub use event::{Observer, RunEvent, Unobserved};
pub use pass::{Pass, PassError, PassRequest};
pub use world::World;
