//! Storage that needs nothing but this machine (local files and, for tests, memory), decorators
//! that wrap any storage, and the suite that every implementation of the port runs.

pub mod conformance;
pub mod decorators;
pub mod local;
pub mod memory;

pub use local::LocalStorage;
pub use memory::MemoryStorage;
