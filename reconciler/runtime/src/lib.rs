//! One pass (observe, plan, gate, execute), its journal, leases and backoff, and the daemon loop.
//!
//! Must not contain: imports of `adapters`; printing; clocks and randomness of its own.
