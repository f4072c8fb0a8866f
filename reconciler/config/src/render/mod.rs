//! Prints diagnostics: for people, and in the formats that machines read. All pure; the caller writes.

mod text;

pub use text::text;
