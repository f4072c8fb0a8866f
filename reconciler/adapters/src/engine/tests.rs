//! The engine on a repository in a folder, held to the suite of engines.

use std::sync::Arc;

use model::agent::SecretRef;
use model::desired::{FailureDomain, RepositorySpec, StorageSpec};

use super::{Parts, Repositories};
use crate::clock::System;
use crate::secrets::Chain;

#[tokio::test]
async fn repositories_in_folders_conform() {
    let temp = tempfile::tempdir().unwrap();
    let password = ("MAINSTAY_SECRET_PASSWORD".into(), "secret".into());
    let engine = Repositories::new(Parts {
        secrets: Arc::new(Chain::new().with_environment([password])),
        clock: Arc::new(System),
        marks: temp.path().join("marks"),
        cache: temp.path().join("cache"),
    });
    let path = temp.path().join("repository").to_str().unwrap().to_owned();
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
    testkit::conformance::engine::conformance(&engine, &spec).await;
}
