//! The engine on a repository in a folder, held to the suite of engines.

use std::path::Path;
use std::sync::Arc;

use model::agent::SecretRef;
use model::cancel::Cancel;
use model::desired::{FailureDomain, RepositorySpec, StorageSpec};
use model::error::PortError;
use model::observed::RepositoryObservation;
use model::ports::engine::Engine;
use model::ports::storage::{FileKind, Listed, Storage};
use model::progress::Silent;
use repository::storage::LocalStorage;
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

/// A folder in which no config is ever written.
struct Killed(LocalStorage);

impl Storage for Killed {
    fn location(&self) -> String {
        self.0.location()
    }

    fn create(&self) -> Result<(), PortError> {
        self.0.create()
    }

    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        self.0.list(kind, each)
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        self.0.stat(kind, name)
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        self.0.load(kind, name, size_bytes_max)
    }

    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        self.0.load_range(kind, name, offset, buffer)
    }

    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        match kind {
            FileKind::Config => Err(PortError::transient("Injected", "killed")),
            _ => self.0.save(kind, name, data, sha256),
        }
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        self.0.delete(kind, name)
    }
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
    let old =
        Repository::open(Arc::new(Killed(LocalStorage::new(path))), b"secret", options).unwrap();
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
