//! What a person asks for, one file a verb, over the runtime and the ports; used by the command
//! line and, later, by the web face.
//!
//! Must not contain: argument parsing, HTTP, printing.

pub mod apply;
pub mod backup;
pub mod beside;
pub mod bundle;
pub mod decide;
pub mod history;
pub mod owner;
pub mod recovery;
pub mod retention;
pub mod scenario;
pub mod status;
pub mod whatif;

pub use apply::{Applied, ApplyError, ApplyRequest, apply};
pub use owner::owner;
