//! What repositories and our own state say, as JSON: the first byte chooses which.
#![no_main]

mod shared;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use model::desired::Desired;
use model::few::Proofs;
use model::id::CommitId;
use model::observed::{Backoff, MeasuredRestore, Memory, Observed, RecoveryRecord};
use model::receipt::{Control, Receipt};
use operations::bundle::Bundle;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A folder and a database, to plan for.
static DESIRED: LazyLock<Desired> = LazyLock::new(|| {
    let text = include_bytes!("../../../examples/quickstart/mainstay.yaml").to_vec();
    let tree = BTreeMap::from([("mainstay.yaml".to_owned(), text)]);
    let loaded = config::load(&tree, &shared::builtin(), CommitId::from("c0ffee"));
    loaded.desired.expect("an example is valid")
});

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let again = serde_json::to_vec(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&again).expect("and read"), value);
    Some(value)
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind {
        b'r' => drop(same::<Receipt>(data)),
        b'c' => drop(same::<Control>(data)),
        b'y' => drop(same::<RecoveryRecord>(data)),
        b'e' => drop(same::<Proofs>(data)),
        b'b' => drop(same::<Backoff>(data)),
        b'm' => drop(same::<Memory>(data)),
        b's' => drop(same::<MeasuredRestore>(data)),
        b'B' => drop(same::<Bundle>(data)),
        b'z' => drop(Bundle::from_bytes(data)),
        _ => {
            let Some(observed) = same::<Observed>(data) else { return };
            let plan = plan::plan(&DESIRED, &observed, observed.at);
            assert!(plan::check(&DESIRED, &observed, &plan).is_empty());
        }
    }
});
