//! The tidy test: holds the shape of the tree that taste alone would lose. Run by `cargo test`.
//!
//! Every rule is a function from what it reads to a list of problems. Each has a test that holds
//! it over the real tree, and a test that shows it a mistake, so that no rule can rot into one
//! that never fails. What clippy checks already (`unwrap` outside tests, missing docs) is not
//! repeated here.

mod docs;
mod floors;
mod limits;
mod purity;
mod ratchet;
mod repo;
mod tokens;
mod tree;

/// Fails the calling test when `problems` is not empty, and says how to mend them.
#[track_caller]
fn hold(mend: &str, problems: Vec<String>) {
    assert!(
        problems.is_empty(),
        "\n\n{} problem(s):\n  {}\n\nHow to mend: {mend}\n",
        problems.len(),
        problems.join("\n  ")
    );
}
