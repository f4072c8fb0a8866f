//! The documents of a commit, up to a plan for them that keeps every promise.
#![no_main]

mod shared;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use model::diagnostic::Severity;
use model::id::CommitId;
use model::observed::Observed;

fuzz_target!(|data: &[u8]| {
    let tree = BTreeMap::from([("mainstay.yaml".to_owned(), data.to_vec())]);
    let loaded = config::load(&tree, &shared::builtin(), CommitId::from("c0ffee"));
    let wrong = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(loaded.desired.is_none(), wrong);
    let Some(desired) = loaded.desired else { return };
    let now = "2026-11-20T12:00:00Z".parse().expect("an instant");
    let observed = Observed::empty(now);
    let plan = plan::plan(&desired, &observed, now);
    assert!(plan::check(&desired, &observed, &plan).is_empty());
});
