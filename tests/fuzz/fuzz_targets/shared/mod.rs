//! What several targets read: the types and policies that come with the program.

use std::collections::BTreeMap;

/// The files that come with the program.
pub fn builtin() -> BTreeMap<String, Vec<u8>> {
    let files: [(&str, &[u8]); 5] = [
        ("templates/directory.yaml", include_bytes!("../../../../templates/directory.yaml")),
        ("templates/sqlite.yaml", include_bytes!("../../../../templates/sqlite.yaml")),
        ("templates/postgres.yaml", include_bytes!("../../../../templates/postgres.yaml")),
        ("policies/retention.yaml", include_bytes!("../../../../policies/retention.yaml")),
        ("policies/schedules.yaml", include_bytes!("../../../../policies/schedules.yaml")),
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}
