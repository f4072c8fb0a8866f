//! Tests of the sources on real repositories: pinning, ancestry, force-push, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Oid, Repository, Signature};
use model::error::ErrorClass;
use model::id::CommitId;
use model::observed::Ancestry;
use model::ports::source::Source as _;
use tempfile::TempDir;

use super::{Access, Git, Location, Worktree};
use crate::secrets::Chain;

/// A repository to fetch from, and a folder for the cache.
struct World {
    temp: TempDir,
    origin: Repository,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main").bare(true);
        let origin = Repository::init_opts(temp.path().join("origin"), &options).unwrap();
        Self { temp, origin }
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("origin")
    }

    /// Commits files, made of path and content, onto parents; returns the commit.
    fn commit(&self, branch: &str, parents: &[Oid], files: &[(&str, &str)]) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, content) in files {
            let id = self.origin.blob(content.as_bytes()).unwrap();
            index.add(&entry(path, id, 0o100_644)).unwrap();
        }
        self.commit_index(branch, parents, &mut index)
    }

    fn commit_index(&self, branch: &str, parents: &[Oid], index: &mut git2::Index) -> Oid {
        let tree = self.origin.find_tree(index.write_tree_to(&self.origin).unwrap()).unwrap();
        let who = Signature::new("a", "a@example", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<_> =
            parents.iter().map(|p| self.origin.find_commit(*p).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        let oid = self.origin.commit(None, &who, &who, "m", &tree, &parents).unwrap();
        self.origin.reference(&format!("refs/heads/{branch}"), oid, true, "test").unwrap();
        oid
    }

    fn source(&self, reference: Option<&str>, folder: Option<&str>) -> Git {
        let location = Location::parse(self.path().to_str().unwrap()).unwrap();
        Git::new(
            location,
            reference.map(str::to_owned),
            folder.map(str::to_owned),
            self.temp.path().join("cache"),
            Access::default(),
            Arc::new(Chain::new()),
        )
    }
}

fn entry(path: &str, id: Oid, mode: u32) -> git2::IndexEntry {
    let zero = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

fn id(oid: Oid) -> CommitId {
    CommitId::from(oid.to_string())
}

#[tokio::test]
async fn a_fetch_pins_the_newest_commit_with_all_its_files() {
    let world = World::new();
    let first = world.commit("main", &[], &[("a.yaml", "1"), ("deep/b.yaml", "2")]);
    let source = world.source(None, None);
    let tree = source.fetch().await.unwrap();
    assert_eq!(tree.commit, id(first));
    assert_eq!(tree.reference, "refs/heads/main");
    assert_eq!(tree.committed_at.unwrap().as_second(), 1_700_000_000);
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a.yaml", "deep/b.yaml"]);
    let second = world.commit("main", &[first], &[("a.yaml", "3")]);
    assert_eq!(source.fetch().await.unwrap().commit, id(second));
    assert_eq!(source.at(&id(first)).await.unwrap().files, tree.files);
    assert_eq!(source.ancestry(&id(first), &id(second)).await, Ancestry::Descends);
    assert_eq!(source.ancestry(&id(second), &id(second)).await, Ancestry::Same);
}

#[tokio::test]
async fn a_force_push_and_an_older_branch_diverge() {
    let world = World::new();
    let first = world.commit("main", &[], &[("a", "1")]);
    let second = world.commit("main", &[first], &[("a", "2")]);
    world.origin.reference("refs/heads/old", first, true, "test").unwrap();
    let source = world.source(None, None);
    source.fetch().await.unwrap();
    let forced = world.commit("main", &[first], &[("a", "forced")]);
    assert_eq!(source.fetch().await.unwrap().commit, id(forced));
    assert_eq!(source.ancestry(&id(second), &id(forced)).await, Ancestry::Diverged);
    let older = world.source(Some("old"), None);
    assert_eq!(older.fetch().await.unwrap().commit, id(first));
    assert_eq!(older.ancestry(&id(second), &id(first)).await, Ancestry::Diverged);
    let never_seen = CommitId::from("0123456789012345678901234567890123456789");
    assert_eq!(older.ancestry(&never_seen, &id(first)).await, Ancestry::Unknown);
}

#[tokio::test]
async fn tags_full_names_and_folders_are_resolved() {
    let world = World::new();
    let first = world.commit("main", &[], &[("sub/deep/a", "1"), ("b", "2")]);
    let object = world.origin.find_object(first, None).unwrap();
    let who = Signature::now("a", "a@example").unwrap();
    world.origin.tag("v1", &object, &who, "annotated", false).unwrap();
    world.commit("main", &[first], &[("c", "3")]);
    let tagged = world.source(Some("v1"), Some("/sub/")).fetch().await.unwrap();
    assert_eq!(tagged.commit, id(first));
    assert_eq!(tagged.files.keys().collect::<Vec<_>>(), ["deep/a"]);
    let full = world.source(Some("refs/tags/v1"), None).fetch().await.unwrap();
    assert_eq!(full.commit, id(first));
}

#[tokio::test]
async fn what_is_missing_is_an_error_and_never_an_empty_tree() {
    let world = World::new();
    let reason = |s: Git| async move { s.fetch().await.unwrap_err().reason };
    assert_eq!(reason(world.source(None, None)).await, "RepositoryEmpty");
    world.commit("main", &[], &[("a", "1")]);
    assert_eq!(reason(world.source(Some("gone"), None)).await, "ReferenceNotFound");
    assert_eq!(reason(world.source(None, Some("gone"))).await, "FolderNotFound");
    assert_eq!(reason(world.source(None, Some("a"))).await, "FolderNotFound");
    let source = world.source(None, None);
    let good = source.fetch().await.unwrap();
    fs::rename(world.path(), world.temp.path().join("moved")).unwrap();
    let error = source.fetch().await.unwrap_err();
    assert_eq!((error.class, error.reason), (ErrorClass::Transient, "FetchFailed"));
    assert_eq!(source.at(&good.commit).await.unwrap(), good_at(&good));
}

/// `at` names the commit where `fetch` names the branch.
fn good_at(tree: &model::ports::source::ConfigTree) -> model::ports::source::ConfigTree {
    model::ports::source::ConfigTree { reference: tree.commit.to_string(), ..tree.clone() }
}

#[tokio::test]
async fn a_damaged_origin_never_yields_a_smaller_tree() {
    let world = World::new();
    world.commit("main", &[], &[("a", "1"), ("b", "2")]);
    let blob = world.origin.blob(b"2").unwrap().to_string();
    fs::remove_file(world.path().join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    assert!(world.source(None, None).fetch().await.is_err());
}

#[tokio::test]
async fn an_empty_tree_is_an_empty_tree() {
    let world = World::new();
    let empty = world.commit("main", &[], &[]);
    let tree = world.source(None, None).fetch().await.unwrap();
    assert_eq!((tree.commit, tree.files.len()), (id(empty), 0));
}

#[tokio::test]
async fn links_and_submodules_are_not_followed() {
    let world = World::new();
    let blob = world.origin.blob(b"/etc/passwd").unwrap();
    let mut index = git2::Index::new().unwrap();
    index.add(&entry("link", blob, 0o120_000)).unwrap();
    index.add(&entry("file", blob, 0o100_755)).unwrap();
    index.add(&entry("module", blob, 0o160_000)).unwrap();
    world.commit_index("main", &[], &mut index);
    let tree = world.source(None, None).fetch().await.unwrap();
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["file"]);
}

#[tokio::test]
async fn a_damaged_cache_is_made_anew() {
    let world = World::new();
    let commit = world.commit("main", &[], &[("a", "1")]);
    let source = world.source(None, None);
    source.fetch().await.unwrap();
    let cache = fs::read_dir(world.temp.path().join("cache"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.is_dir())
        .unwrap();
    fs::remove_file(cache.join("HEAD")).unwrap();
    assert_eq!(source.fetch().await.unwrap().commit, id(commit));
}

#[test]
fn locations_carry_no_credentials_and_no_plain_http() {
    let reason = |text: &str| Location::parse(text).unwrap_err().reason;
    assert_eq!(reason("https://me:secret@host/x"), "CredentialsInUrl");
    assert_eq!(reason("https://token@host/x"), "CredentialsInUrl");
    assert_eq!(reason("ssh://me:secret@host/x"), "CredentialsInUrl");
    assert_eq!(reason("http://host/x"), "BadLocation");
    assert_eq!(reason("relative/path"), "BadLocation");
    let error = Location::parse("https://me:secret@host/x").unwrap_err();
    assert!(!error.chain().contains("secret@"), "{}", error.chain());
    let ssh = |text: &str| {
        let location = Location::parse(text).unwrap();
        (location.host.clone(), location.port)
    };
    assert_eq!(ssh("ssh://git@host:2222/x"), ("host".to_owned(), 2222));
    assert_eq!(ssh("git@host:group/x.git"), ("host".to_owned(), 22));
    assert_eq!(ssh("ssh://git@[::1]:2222/x"), ("::1".to_owned(), 2222));
}

#[tokio::test]
async fn a_folder_is_read_without_git_and_without_links() {
    let temp = tempfile::tempdir().unwrap();
    let write = |path: &str| {
        let path: &Path = &temp.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    write(".git/config");
    write("a.yaml");
    write("deep/b.yaml");
    std::os::unix::fs::symlink("/etc", temp.path().join("link")).unwrap();
    let source = Worktree::new(temp.path());
    let tree = source.fetch().await.unwrap();
    assert_eq!(tree.commit.as_str(), "worktree");
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a.yaml", "deep/b.yaml"]);
    assert_eq!(source.ancestry(&tree.commit, &tree.commit).await, Ancestry::Unknown);
    assert!(Worktree::new("/does/not/exist").fetch().await.is_err());
}

/// The suite's hands on a repository.
struct Played(World);

impl testkit::conformance::source::Subject for Played {
    fn commit(&mut self, parent: Option<&CommitId>, files: &[(&str, &str)]) -> CommitId {
        let parents: Vec<Oid> =
            parent.iter().map(|id| Oid::from_str(id.as_str()).unwrap()).collect();
        CommitId::from(self.0.commit("main", &parents, files).to_string())
    }

    fn point_to(&mut self, commit: &CommitId) {
        let oid = Oid::from_str(commit.as_str()).unwrap();
        self.0.origin.reference("refs/heads/main", oid, true, "test").unwrap();
    }

    fn cut_off(&mut self, cut_off: bool) {
        let away = self.0.temp.path().join("away");
        let (from, to) = if cut_off { (self.0.path(), away) } else { (away, self.0.path()) };
        fs::rename(from, to).unwrap();
    }
}

#[tokio::test]
async fn git_conforms() {
    let mut played = Played(World::new());
    let source = played.0.source(None, None);
    testkit::conformance::source::conformance(&source, &mut played).await;
}
