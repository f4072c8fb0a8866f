//! Every outside system behind a port: git, engine, transports, agents, secrets, state, clock.
//!
//! In reading order: `fault` turns what went wrong outside into the one error shape; `durable`
//! writes small files whole or not at all; `clock` and `secrets` are small; `source` reads
//! configuration, `state` is our own memory; `transport` runs commands, `agents` looks at protected
//! things with it; `storage` keeps what `engine` writes; `tools` is what templates call.
//!
//! Must not contain: decisions; imports of `plan` or `runtime`.

pub mod agents;
pub mod clock;
pub mod durable;
pub mod engine;
pub mod fault;
pub mod mount;
pub mod secrets;
pub mod source;
pub mod state;
pub mod storage;
pub mod tools;
pub mod transport;
