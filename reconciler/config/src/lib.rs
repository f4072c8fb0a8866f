//! From bytes and a discovery to diagnostics and one `Desired` state in which every value knows
//! its line.
//!
//! Must not contain: file system, git, environment, clocks, printing.
//!
//! In reading order: `source` cuts files into documents, `spans` remembers where everything is
//! written, `documents` names the shapes, `schema` holds them against the JSON Schemas and
//! `explain` says in words what does not fit, `lower` makes the desired state of them with the
//! help of `template`, `checks` asks whether it makes sense as a whole, `render` prints what
//! was found.

mod checks;
pub mod diagnostics;
pub mod documents;
mod explain;
mod load;
mod lower;
pub mod render;
pub mod schema;
mod source;
mod spans;
pub mod template;
pub mod timing;
pub mod units;

pub use documents::Kind;
pub use load::{DocumentSummary, Loaded, load};
pub use schema::schema;
