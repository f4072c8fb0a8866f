//! The pure planner: graph, slots, retention, comparison, plan, checks, what-if, and reasons for
//! everything.
//!
//! Must not contain: async, I/O, clocks, iteration in hash order.
