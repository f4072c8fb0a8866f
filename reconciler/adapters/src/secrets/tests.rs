//! Tests of the places that secrets come from, and of what errors say.

use std::fs;
use std::io::Write as _;

use age::secrecy::ExposeSecret as _;
use model::id::CommitId;

use super::*;

fn secret(name: &str) -> SecretRef {
    SecretRef(name.to_owned())
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect()
}

fn tree_with(path: &str, content: Vec<u8>) -> ConfigTree {
    ConfigTree {
        commit: CommitId::from("worktree"),
        reference: "test".to_owned(),
        committed_at: None,
        files: BTreeMap::from([(path.to_owned(), content)]),
    }
}

fn seal(key: &age::x25519::Identity, value: &[u8]) -> Vec<u8> {
    let recipient = key.to_public();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            .unwrap();
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
    writer.write_all(value).unwrap();
    writer.finish().unwrap();
    sealed
}

#[test]
fn a_variable_is_found_by_its_derived_name() {
    let chain = Chain::new().with_environment(environment(&[
        ("MAINSTAY_SECRET_DB_MAIN_PASSWORD", "one"),
        ("DB_MAIN_PASSWORD", "two"),
    ]));
    assert_eq!(chain.resolve(&secret("db-main.password")).unwrap().expose(), b"one");
}

#[test]
fn a_file_comes_before_the_environment_and_loses_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "from file\n").unwrap();
    let chain = Chain::new()
        .with_folder(folder.path())
        .with_environment(environment(&[("MAINSTAY_SECRET_TOKEN", "from environment")]));
    assert_eq!(chain.resolve(&secret("token")).unwrap().expose(), b"from file");
}

#[test]
fn an_encrypted_file_of_the_config_repository_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let key = age::x25519::Identity::generate();
    let identity = folder.path().join("identity");
    fs::write(&identity, key.to_string().expose_secret()).unwrap();
    fs::write(folder.path().join("token"), "from file").unwrap();
    let chain = Chain::new().with_identity(&identity).with_folder(folder.path());
    chain.use_tree(&tree_with("secrets/token.age", seal(&key, b"sealed\n")));
    assert_eq!(chain.resolve(&secret("token")).unwrap().expose(), b"sealed");
}

#[test]
fn a_wrong_identity_is_named_and_nothing_else_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    fs::write(&identity, age::x25519::Identity::generate().to_string().expose_secret()).unwrap();
    fs::write(folder.path().join("token"), "older value").unwrap();
    let chain = Chain::new().with_identity(&identity).with_folder(folder.path());
    let other = age::x25519::Identity::generate();
    chain.use_tree(&tree_with("secrets/token.age", seal(&other, b"sealed")));
    let error = chain.resolve(&secret("token")).unwrap_err();
    assert_eq!(error.reason, "SecretNotOpened");
}

#[test]
fn what_is_missing_names_all_places_and_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::new()
        .with_folder(folder.path())
        .with_environment(environment(&[("MAINSTAY_SECRET_OTHER", "hunter2")]));
    let error = chain.resolve(&secret("token")).unwrap_err();
    assert_eq!(error.reason, "SecretNotFound");
    let text = error.chain();
    assert!(text.contains("secrets/token.age"), "{text}");
    assert!(text.contains("MAINSTAY_SECRET_TOKEN"), "{text}");
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let chain = Chain::new().with_folder("/etc");
    for name in ["../passwd", "", ".hidden", "a/b", "a\nb"] {
        assert_eq!(chain.resolve(&secret(name)).unwrap_err().reason, "BadSecretName", "{name:?}");
    }
}

#[test]
fn every_place_of_secrets_conforms() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("known"), "a-value-of-a-file").unwrap();
    let files = Chain::new().with_folder(folder.path());
    testkit::conformance::secrets::conformance(&files, "known", b"a-value-of-a-file", "missing");
    let variables = environment(&[("MAINSTAY_SECRET_KNOWN", "a-value-of-the-environment")]);
    let chain = Chain::new().with_environment(variables);
    let value = b"a-value-of-the-environment";
    testkit::conformance::secrets::conformance(&chain, "known", value, "missing");
}
