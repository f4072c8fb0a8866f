//! Tests of bundles over plain values.

use std::collections::BTreeMap;

use model::desired::Desired;
use model::id::{CommitId, PlanId};
use model::journal::{Body, JOURNAL_VERSION, Outcome, Record};
use model::observed::{Observation, Observed, RepositoryObservation};
use model::plan::{Action, SnapshotRef};
use model::progress::Counts;

use super::*;

const DOCUMENTS: &str = r#"
apiVersion: mainstay.dev/v1
kind: Host
metadata: { name: here }
spec: { connection: local }
---
apiVersion: mainstay.dev/v1
kind: Repository
metadata: { name: local }
spec: { storage: { local: { path: /backup } }, password: { secret: the-password } }
---
apiVersion: mainstay.dev/v1
kind: Application
metadata: { name: shop, labels: { LABELS } }
spec:
  resources:
    - { name: files, type: directory, target: host/here, with: { path: /srv/patients } }
---
apiVersion: mainstay.dev/v1
kind: Backup
metadata: { name: shop }
spec: { select: { application: shop }, schedule: "@every 1h", repositories: [local] }
"#;

fn at() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn desired(labels: &str) -> Desired {
    let documents = DOCUMENTS.replace("LABELS", labels);
    let tree = BTreeMap::from([("all.yaml".to_owned(), documents.into_bytes())]);
    let directory = include_str!("../../../../templates/directory.yaml");
    let builtin = BTreeMap::from([("directory.yaml".to_owned(), directory.as_bytes().to_vec())]);
    let loaded = config::load(&tree, &builtin, CommitId::from("c1"));
    loaded.desired.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn bundle(labels: &str) -> Bundle {
    let desired = desired(labels);
    let mut observed = Observed::empty(at());
    observed.memory.known = true;
    let detail = "/srv/patients does not exist; password was hunter22".to_owned();
    let gone = Observation::Absent { detail, at: at() };
    observed.resources.insert("shop/files".parse().unwrap(), gone);
    let none = RepositoryObservation::Absent { detail: "nothing is there".to_owned() };
    observed.repositories.insert("local".parse().unwrap(), none);
    Bundle {
        mainstay: "0.1.0".to_owned(),
        at: at(),
        reference: "main".to_owned(),
        notes: Vec::new(),
        replaced: 0,
        desired,
        observed,
        history: Vec::new(),
    }
}

fn none(_: &str) -> Option<String> {
    None
}

#[test]
fn a_bundle_gives_the_same_plan_byte_for_byte() {
    let home = bundle("");
    let away = Bundle::from_bytes(&home.to_bytes().unwrap()).unwrap();
    assert_eq!(away, home);
    let bytes = |b: &Bundle| serde_json::to_vec(&b.plan()).unwrap();
    assert_eq!(bytes(&away), bytes(&home));
    assert!(!home.plan().steps.is_empty(), "there is something to compare");
}

#[test]
fn what_was_cut_or_changed_is_not_read() {
    let bytes = bundle("").to_bytes().unwrap();
    for cut in [0, 1, 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(Bundle::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let text = zstd::decode_all(bytes.as_slice()).unwrap();
    let packed = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    let changed = String::from_utf8(text.clone()).unwrap().replace("\"main\"", "\"mein\"");
    let error = Bundle::from_bytes(&packed(changed.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("cut or changed"), "{error}");
    let newer = String::from_utf8(text).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    let error = Bundle::from_bytes(&packed(newer.as_bytes())).unwrap_err();
    assert!(matches!(error, BundleError::Newer(2)), "{error}");
    assert!(Bundle::from_bytes(&packed(b"{}\n{}")).is_err());
    assert!(Bundle::from_bytes(b"hello").is_err());
}

#[test]
fn what_is_private_stays_at_home_and_what_belongs_together_still_does() {
    let marked = bundle("mainstay.dev/private: path");
    let clean = scrub::scrub(marked, &none).unwrap();
    assert!(clean.replaced > 1);
    let text = serde_json::to_string(&clean).unwrap();
    assert!(!text.contains("/srv/patients"), "{text}");
    let resource = clean.desired.resources.values().next().unwrap();
    assert_eq!(resource.agent.with["path"], "private-1");
    assert_eq!(resource.agent.tree.as_ref().unwrap().path, "private-1");
    let away = Bundle::from_bytes(&clean.to_bytes().unwrap()).unwrap();
    assert_eq!(away.plan().steps.len(), bundle("").plan().steps.len());
}

#[test]
fn a_mark_that_names_nothing_is_an_error() {
    let error = scrub::scrub(bundle("mainstay.dev/private: size"), &none).unwrap_err();
    assert!(error.to_string().contains("names `size`"), "{error}");
}

#[test]
fn a_secret_that_another_program_printed_is_replaced() {
    let secret = |text: &str| text.contains("hunter22").then(|| text.replace("hunter22", "***"));
    let clean = scrub::scrub(bundle(""), &secret).unwrap();
    assert_eq!(clean.replaced, 1);
    let text = serde_json::to_string(&clean).unwrap();
    assert!(!text.contains("hunter22") && text.contains("password was ***"), "{text}");
    assert!(text.contains("the-password"), "the reference stays");
}

#[test]
fn rates_come_from_steps_that_were_done() {
    let record =
        |sequence, body| Record { version: JOURNAL_VERSION, sequence, at: at(), epoch: 1, body };
    let begin = |n, plan: &str| {
        let action = Action::Verify {
            resource: "shop/files".parse().unwrap(),
            repository: "local".parse().unwrap(),
            snapshot: SnapshotRef::Id("a".into()),
        };
        record(n, Body::StepBegun { plan: PlanId::from(plan), step: "v".into(), action })
    };
    let end = |n, plan: &str, outcome| {
        record(n, Body::StepEnded { plan: PlanId::from(plan), step: "v".into(), outcome })
    };
    let counts = Counts { bytes_done: 1000, ..Counts::default() };
    let done = Outcome::Done { summary: "".into(), snapshot: None, counts, duration_ms: 500 };
    let failed = Outcome::Skipped { why: "no".into() };
    let newest_first = [end(3, "q", failed), begin(2, "q"), end(1, "p", done), begin(0, "p")];
    let measured = measured(&newest_first);
    assert!(measured.restores.is_empty());
    let rate = measured.verifications[&"local".parse().unwrap()];
    assert_eq!((rate.bytes, rate.milliseconds, rate.runs), (1000, 500, 1));
}
