//! Every outside system behind a port: git, engine, transports, agents, secrets, state, clock.
//!
//! Must not contain: decisions; imports of `plan` or `runtime`.
