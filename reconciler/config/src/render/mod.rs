//! Prints diagnostics: for people, and in the formats that machines read. All pure; the caller
//! writes.

mod machine;
mod text;

pub use machine::{JSON_VERSION, github, json, junit, sarif};
pub use text::text;
