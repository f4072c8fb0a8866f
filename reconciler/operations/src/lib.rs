//! What a person asks for, one file a verb, over the runtime and the ports.
//!
//! Must not contain: argument parsing, HTTP, printing.
