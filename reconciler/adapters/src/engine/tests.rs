//! The engine on a repository in a folder, held to the suite of engines.

use std::path::Path;
use std::sync::Arc;

use model::agent::SecretRef;
use model::cancel::Cancel;
use model::desired::{FailureDomain, RepositorySpec, StorageSpec};
use model::error::PortError;
use model::observed::RepositoryObservation;
use model::ports::engine::Engine;
use model::ports::storage::FileKind;
use model::progress::Silent;
use repository::storage::LocalStorage;
use repository::storage::decorators::{Hooked, Operation};
use repository::{Options, Owner, Repository};

use super::{Parts, Repositories};
use crate::clock::System;
use crate::secrets::Chain;

fn engine(temp: &Path) -> (Repositories, RepositorySpec) {
    let passwords = [("PASSWORD", "secret"), ("OTHER", "another")]
        .map(|(name, value)| (format!("MAINSTAY_SECRET_{name}").into(), value.into()));
    let engine = Repositories::new(Parts {
        secrets: Arc::new(Chain::new().with_environment(passwords)),
        clock: Arc::new(System),
        marks: temp.join("marks"),
        cache: temp.join("cache"),
    });
    let path = temp.join("repository").to_str().unwrap().to_owned();
    let spec = RepositorySpec {
        name: "local".parse().unwrap(),
        storage: StorageSpec::Local { path, mount_point: false },
        password: SecretRef("password".to_owned()),
        id: None,
        failure_domain: FailureDomain::default(),
        medium: None,
        append_only: false,
        immutable: false,
        offline: false,
    };
    (engine, spec)
}

#[tokio::test]
async fn repositories_in_folders_conform() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, spec) = engine(temp.path());
    testkit::conformance::engine::conformance(&engine, &spec).await;
}

/// Makes a repository of version 1, empty or not, whose migration was killed between its configs.
fn half_migrated(path: &Path, empty: bool) {
    let restic = |words: &[&str]| {
        let mut command = mainstay_tests::restic().command();
        let command = command.arg("-r").arg(path).args(words).env("RESTIC_PASSWORD", "secret");
        let output = command.env("RESTIC_CACHE_DIR", path.with_extension("cache")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    restic(&["init", "--repository-version", "1"]);
    if !empty {
        restic(&["backup", env!("CARGO_MANIFEST_DIR"), "--exclude", "src"]);
    }
    let options = Options::new(Owner::current("dead"), Arc::new(model::Timestamp::now));
    // No config is ever written there.
    let folder = Hooked::new(Arc::new(LocalStorage::new(path)), |operation, kind, _, act| {
        match (operation, kind) {
            (Operation::Save, FileKind::Config) => Err(PortError::transient("Injected", "killed")),
            _ => act(),
        }
    });
    let old = Repository::open(Arc::new(folder), b"secret", options).unwrap();
    assert_eq!(old.migrate(&Silent, &Cancel::default()).unwrap_err().reason, "Injected");
    assert!(!path.join("config").exists());
}

#[tokio::test]
async fn a_migration_that_was_killed_is_completed_by_whatever_opens_next() {
    for empty in [false, true] {
        for first in ["observe", "open", "init"] {
            let temp = tempfile::tempdir().unwrap();
            let (engine, spec) = engine(temp.path());
            let path = temp.path().join("repository");
            half_migrated(&path, empty);
            match first {
                "open" => assert_eq!(engine.open(&spec).unwrap().version(), 2),
                "init" => assert_eq!(engine.init(&spec).await.unwrap_err().reason, "PlaceTaken"),
                _ => {}
            }
            let seen = engine.observe(&spec).await;
            assert!(
                matches!(seen, RepositoryObservation::Known { .. }),
                "{empty} {first}: {seen:?}"
            );
            assert!(path.join("config").exists());
            assert_eq!(engine.open(&spec).unwrap().version(), 2);
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let (engine, mut spec) = engine(temp.path());
    let path = temp.path().join("repository");
    half_migrated(&path, false);
    // Who has not its password completes nothing, and never takes the place for an empty one.
    spec.password = SecretRef("other".to_owned());
    assert_eq!(engine.open(&spec).map(drop).unwrap_err().reason, "RepositoryMissing");
    let seen = engine.observe(&spec).await;
    assert!(matches!(seen, RepositoryObservation::Unknown { .. }), "{seen:?}");
    assert_eq!(engine.init(&spec).await.unwrap_err().reason, "PlaceTaken");
    assert!(!path.join("config").exists());
}
