//! Where repositories lie: not in one another's folders, and not in what they protect.

use model::agent::Tree;
use model::desired::{RepositorySpec, StorageSpec};
use model::diagnostic::Diagnostic;
use model::id::Name;

use crate::checks::Whole;
use crate::diagnostics::{self as d, Place};
use crate::documents::Kind;

/// A repository in a folder.
struct Folder<'a> {
    name: &'a Name,
    path: &'a str,
    mounted: bool,
    place: Place,
}

pub(super) fn check(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let folders = folders(whole);
    for (index, folder) in folders.iter().enumerate() {
        for other in &folders[..index] {
            if contains(other.path, folder.path) || contains(folder.path, other.path) {
                let shared =
                    d::storage_shared(folder.place.clone(), folder.path, other.name.as_str());
                found.push(d::related(shared, other.place.clone(), "the other one"));
            }
        }
        overlaps(whole, folder, found);
    }
    services(whole, found);
}

/// Says which repositories share a place on a storage service.
fn services(whole: &Whole<'_>, found: &mut Vec<Diagnostic>) {
    let mut places: Vec<(String, &Name, Place)> = Vec::new();
    for repository in whole.lowered.desired.repositories.values() {
        let StorageSpec::Remote(remote) = &repository.storage else { continue };
        let Some(place) = place(whole, &repository.name, "/spec/storage") else { continue };
        let location = remote.location();
        for (other, name, there) in &places {
            if contains(other, &location) || contains(&location, other) {
                let shared = d::storage_shared(place.clone(), &location, name.as_str());
                found.push(d::related(shared, there.clone(), "the other one"));
            }
        }
        places.push((location, &repository.name, place));
    }
}

/// Returns where a value of a repository's document is.
fn place(whole: &Whole<'_>, name: &Name, pointer: &str) -> Option<Place> {
    let mut documents = whole.documents.iter();
    let document = documents.find(|d| d.kind == Kind::Repository && d.name == name.as_str())?;
    Some(document.place(pointer))
}

fn folders<'a>(whole: &Whole<'a>) -> Vec<Folder<'a>> {
    let mut folders = Vec::new();
    for repository in whole.lowered.desired.repositories.values() {
        let RepositorySpec { name, storage: StorageSpec::Local { path, mount_point }, .. } =
            repository
        else {
            continue;
        };
        let Some(place) = place(whole, name, "/spec/storage/local/path") else { continue };
        folders.push(Folder { name, path, mounted: *mount_point, place });
    }
    folders
}

fn overlaps(whole: &Whole<'_>, folder: &Folder<'_>, found: &mut Vec<Diagnostic>) {
    for (address, resource) in &whole.lowered.desired.resources {
        let Some(tree) = &resource.agent.tree else { continue };
        let inside = contains(&tree.path, folder.path) && !leaves_out(tree, folder);
        if !inside && !contains(folder.path, &tree.path) {
            continue;
        }
        let overlap = d::storage_overlaps(folder.place.clone(), folder.path, &address.to_string());
        let Some((_, at)) = whole.written(address) else { continue };
        found.push(d::related(overlap, at.at("with").at("path").place(), "the protected folder"));
    }
}

/// Returns whether a folder is another one or lies above it.
fn contains(outer: &str, inner: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a tree does not reach a repository's folder below it: by a pattern that names
/// the folder or one above it in full, or because it stays on its file system and the folder is on
/// another.
fn leaves_out(tree: &Tree, folder: &Folder<'_>) -> bool {
    let below = folder.path != tree.path;
    let named = |pattern: &String| pattern.starts_with('/') && contains(pattern, folder.path);
    below && (tree.excludes.iter().any(named) || (tree.one_file_system && folder.mounted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_contain_what_lies_below() {
        assert!(contains("/srv", "/srv"));
        assert!(contains("/srv", "/srv/a"));
        assert!(contains("/", "/srv"));
        assert!(!contains("/srv", "/srv2"));
        assert!(!contains("/srv/a", "/srv"));
    }
}
