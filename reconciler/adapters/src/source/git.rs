//! A git repository as a source: a bare clone in a cache folder, one pinned commit per fetch.
//!
//! What the remote lists and what is fetched go over one connection, and the commit that was listed
//! must then be there with its whole tree; anything less is an error, never a smaller tree.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode,
    FetchOptions, ObjectType, Oid, RemoteCallbacks, Repository, TreeWalkMode, TreeWalkResult,
};
use model::Timestamp;
use model::agent::SecretRef;
use model::error::PortError;
use model::id::CommitId;
use model::observed::Ancestry;
use model::ports::Boxed;
use model::ports::secrets::Secrets;
use model::ports::source::{ConfigTree, Source};
use rustix::fs::{FlockOperation, flock};

use super::bounds::Gathered;
use super::known_hosts::{self, Verdict};
use super::location::{Location, Reach};
use crate::fault;

/// How long one fetch may take. Configuration is small; a first clone of a large history fits.
const FETCH_TIME_MAX: Duration = Duration::from_secs(600);

/// Bytes that one fetch may bring: guards the cache folder's disk against a wrong URL.
const FETCH_BYTES_MAX: usize = 4 << 30;

/// How often credentials are asked for: once for the user name, once for the key or token.
const CREDENTIAL_TRIES_MAX: u32 = 3;

/// The user name that goes with a token where the URL names none; hosts ignore it.
const TOKEN_USER: &str = "x-access-token";

/// Mode bits of a tree entry that is a symbolic link.
const MODE_SYMLINK: i32 = 0o120_000;

/// What opens the remote.
#[derive(Clone, Default)]
pub struct Access {
    /// The token for `https://`.
    pub token: Option<SecretRef>,
    /// The private key file for `ssh://`; without it the SSH agent is asked.
    pub key: Option<PathBuf>,
    /// The key's passphrase.
    pub passphrase: Option<SecretRef>,
    /// The `known_hosts` file for `ssh://`; without it the user's own is read.
    pub known_hosts: Option<PathBuf>,
}

/// A git repository.
pub struct Git(Arc<Inner>);

struct Inner {
    location: Location,
    reference: Option<String>,
    folder: Option<String>,
    cache: PathBuf,
    access: Access,
    secrets: Arc<dyn Secrets>,
}

impl Git {
    /// Returns a source. `reference` is a branch, a tag or a full name such as `refs/heads/main`;
    /// `None` is the remote's default branch. `folder` is a folder of the repository; `None` is all
    /// of it. `cache` is a folder for clones, which is made where it is missing.
    pub fn new(
        location: Location,
        reference: Option<String>,
        folder: Option<String>,
        cache: impl Into<PathBuf>,
        access: Access,
        secrets: Arc<dyn Secrets>,
    ) -> Self {
        let folder =
            folder.map(|f| f.trim_matches('/').to_owned()).filter(|f| !f.is_empty() && f != ".");
        let name = blake3::hash(location.as_str().as_bytes()).to_hex();
        let cache = cache.into().join(format!("{}.git", &name[..16]));
        Self(Arc::new(Inner { location, reference, folder, cache, access, secrets }))
    }
}

impl Source for Git {
    fn fetch(&self) -> Boxed<'_, Result<ConfigTree, PortError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let work = fault::blocking(move || inner.fetch());
            match tokio::time::timeout(FETCH_TIME_MAX + Duration::from_secs(30), work).await {
                Ok(result) => result,
                Err(_) => Err(too_slow()),
            }
        })
    }

    fn at<'a>(&'a self, commit: &'a CommitId) -> Boxed<'a, Result<ConfigTree, PortError>> {
        let (inner, commit) = (self.0.clone(), commit.clone());
        Box::pin(fault::blocking(move || {
            let repository = inner.open_cache()?;
            let oid = Oid::from_str(commit.as_str()).map_err(|_| not_found(&commit))?;
            if repository.find_commit(oid).is_err() {
                return Err(not_found(&commit));
            }
            inner.read(&repository, oid, commit.as_str())
        }))
    }

    fn ancestry<'a>(&'a self, old: &'a CommitId, new: &'a CommitId) -> Boxed<'a, Ancestry> {
        let (inner, old, new) = (self.0.clone(), old.clone(), new.clone());
        Box::pin(async move {
            fault::blocking(move || Ok(inner.ancestry(&old, &new)))
                .await
                .unwrap_or(Ancestry::Unknown)
        })
    }
}

impl Inner {
    fn fetch(&self) -> Result<ConfigTree, PortError> {
        let span = tracing::info_span!("fetch", location = %self.location);
        let _entered = span.enter();
        let _lock = self.lock()?;
        let repository = self.open_or_make_cache()?;
        let started = Instant::now();
        let mut remote = repository
            .remote_anonymous(self.location.as_str())
            .map_err(|e| self.failed("set up the remote", &e))?;
        let (name, listed) = {
            let mut connection = remote
                .connect_auth(Direction::Fetch, Some(self.callbacks(started)), None)
                .map_err(|e| self.failed("connect", &e))?;
            let (name, oid) = self.resolve(&mut connection)?;
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(started)).download_tags(AutotagOption::None);
            let refspec = format!("+{name}:refs/mainstay/{}", name.trim_start_matches("refs/"));
            connection
                .remote()
                .fetch(&[refspec], Some(&mut options), None)
                .map_err(|e| self.failed("fetch", &e))?;
            (name, oid)
        };
        let commit = repository
            .find_object(listed, None)
            .and_then(|object| object.peel(ObjectType::Commit))
            .map_err(|e| {
                if e.code() == ErrorCode::NotFound {
                    PortError::transient("FetchIncomplete", format!("{name} did not come whole"))
                } else {
                    self.failed("read the commit", &e)
                }
            })?;
        self.read(&repository, commit.id(), &name)
    }

    /// Finds the reference among what the remote lists: its full name and what it points at.
    fn resolve(
        &self,
        connection: &mut git2::RemoteConnection<'_, '_, '_>,
    ) -> Result<(String, Oid), PortError> {
        let heads = connection.list().map_err(|e| self.failed("list", &e))?;
        if heads.is_empty() {
            return Err(PortError::terminal(
                "RepositoryEmpty",
                format!("{} has no commit", self.location),
            )
            .with_hint("commit and push the configuration first"));
        }
        let find = |name: &str| {
            heads.iter().find(|h| h.name() == name).map(|h| (name.to_owned(), h.oid()))
        };
        let found = match self.reference.as_deref() {
            None | Some("HEAD") => {
                let head = heads.iter().find(|h| h.name() == "HEAD");
                head.and_then(|h| h.symref_target()).and_then(&find).or_else(|| find("HEAD"))
            }
            Some(full) if full.starts_with("refs/") => find(full),
            Some(short) => {
                find(&format!("refs/heads/{short}")).or_else(|| find(&format!("refs/tags/{short}")))
            }
        };
        found.ok_or_else(|| {
            let wanted = self.reference.as_deref().unwrap_or("HEAD");
            PortError::terminal(
                "ReferenceNotFound",
                format!("{} has no branch or tag `{wanted}`", self.location),
            )
            .with_hint("name a branch or tag that exists, or push it")
        })
    }

    /// Reads all files of a commit below the folder.
    fn read(
        &self,
        repository: &Repository,
        oid: Oid,
        reference: &str,
    ) -> Result<ConfigTree, PortError> {
        let failed = |e: git2::Error| self.failed("read the commit", &e);
        let commit = repository.find_commit(oid).map_err(failed)?;
        let mut tree = commit.tree().map_err(failed)?;
        if let Some(folder) = &self.folder {
            let entry = tree.get_path(Path::new(folder)).map_err(|e| {
                if e.code() != ErrorCode::NotFound {
                    return self.failed("read the commit", &e);
                }
                PortError::terminal(
                    "FolderNotFound",
                    format!("commit {oid} has no folder `{folder}`"),
                )
            })?;
            tree = repository.find_tree(entry.id()).map_err(|_| {
                PortError::terminal("FolderNotFound", format!("`{folder}` is no folder"))
            })?;
        }
        Ok(ConfigTree {
            commit: CommitId::from(oid.to_string()),
            reference: reference.to_owned(),
            committed_at: Timestamp::from_second(commit.time().seconds()).ok(),
            files: self.read_files(repository, &tree)?,
        })
    }

    fn read_files(
        &self,
        repository: &Repository,
        tree: &git2::Tree<'_>,
    ) -> Result<std::collections::BTreeMap<String, Vec<u8>>, PortError> {
        let mut gathered = Gathered::default();
        let mut first = Ok(());
        let odb = repository.odb().map_err(|e| self.failed("read the cache", &e))?;
        let walked = tree.walk(TreeWalkMode::PreOrder, |prefix, entry| {
            let done = self.take_entry(&odb, prefix, entry, &mut gathered);
            match done {
                Ok(()) => TreeWalkResult::Ok,
                Err(error) => {
                    first = Err(error);
                    TreeWalkResult::Abort
                }
            }
        });
        first?;
        walked.map_err(|e| self.failed("read the tree", &e))?;
        Ok(gathered.files)
    }

    fn take_entry(
        &self,
        odb: &git2::Odb<'_>,
        prefix: &str,
        entry: &git2::TreeEntry<'_>,
        gathered: &mut Gathered,
    ) -> Result<(), PortError> {
        let Ok(name) = entry.name() else {
            return Err(PortError::terminal(
                "BadPath",
                format!("a name in the folder `{prefix}` is not UTF-8"),
            ));
        };
        let path = format!("{prefix}{name}");
        match entry.kind() {
            Some(ObjectType::Tree) => Ok(()),
            Some(ObjectType::Blob) if entry.filemode() == MODE_SYMLINK => {
                tracing::info!(path, "a symbolic link in the configuration is not followed");
                Ok(())
            }
            Some(ObjectType::Blob) => {
                let failed = |e: git2::Error| self.failed(&format!("read {path}"), &e);
                let (bytes, _) = odb.read_header(entry.id()).map_err(failed)?;
                gathered.admit(&path, bytes as u64)?;
                let object = odb.read(entry.id()).map_err(failed)?;
                gathered.take(path, object.data().to_vec())
            }
            Some(ObjectType::Commit) => {
                tracing::info!(path, "a submodule in the configuration is not read");
                Ok(())
            }
            _ => Err(PortError::terminal("BadPath", format!("{path} is of an unknown kind"))),
        }
    }

    fn ancestry(&self, old: &CommitId, new: &CommitId) -> Ancestry {
        if old == new {
            return Ancestry::Same;
        }
        let answer = || -> Result<Ancestry, git2::Error> {
            let repository = Repository::open_bare(&self.cache)?;
            let old = repository.find_commit(Oid::from_str(old.as_str())?)?.id();
            let new = repository.find_commit(Oid::from_str(new.as_str())?)?.id();
            if repository.graph_descendant_of(new, old)? {
                return Ok(Ancestry::Descends);
            }
            // Where history is cut off, a missing link proves nothing.
            Ok(if repository.is_shallow() { Ancestry::Unknown } else { Ancestry::Diverged })
        };
        answer().unwrap_or(Ancestry::Unknown)
    }

    fn lock(&self) -> Result<File, PortError> {
        let parent = self.cache.parent().unwrap_or(&self.cache);
        fs::create_dir_all(parent).map_err(|e| fault::path("create", parent, e))?;
        let path = self.cache.with_extension("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| fault::path("open", &path, e))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| fault::path("lock", &path, e))?;
        Ok(file)
    }

    fn open_cache(&self) -> Result<Repository, PortError> {
        Repository::open_bare(&self.cache).map_err(|e| {
            PortError::transient("CacheMissing", "nothing was fetched yet").with_source(e)
        })
    }

    /// Opens the cache; one that is damaged is removed and made anew, for it holds nothing else.
    fn open_or_make_cache(&self) -> Result<Repository, PortError> {
        if self.cache.exists() {
            match Repository::open_bare(&self.cache) {
                Ok(repository) => return Ok(repository),
                Err(error) => {
                    tracing::warn!(cache = %self.cache.display(), %error, "the clone is made anew");
                    fs::remove_dir_all(&self.cache)
                        .map_err(|e| fault::path("remove", &self.cache, e))?;
                }
            }
        }
        Repository::init_bare(&self.cache).map_err(|e| self.failed("make the cache", &e))
    }

    fn callbacks(&self, started: Instant) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        let mut tries = 0;
        callbacks.credentials(move |_url, user, allowed| {
            tries += 1;
            if tries > CREDENTIAL_TRIES_MAX {
                return Err(refusal("the credentials were refused"));
            }
            self.credentials(user, allowed)
        });
        callbacks.certificate_check(|certificate, _host| self.check_host(certificate));
        callbacks.transfer_progress(move |progress| {
            started.elapsed() < FETCH_TIME_MAX && progress.received_bytes() < FETCH_BYTES_MAX
        });
        callbacks
    }

    fn credentials(
        &self,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let text = |secret: &SecretRef| -> Result<String, git2::Error> {
            let value = self.secrets.resolve(secret).map_err(|e| refusal(&e.message))?;
            String::from_utf8(value.expose().to_vec())
                .map_err(|_| refusal(&format!("the secret `{}` is no text", secret.0)))
        };
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user.unwrap_or("git"));
        }
        if allowed.contains(CredentialType::SSH_KEY) {
            let user = user.unwrap_or("git");
            let passphrase = self.access.passphrase.as_ref().map(text).transpose()?;
            return match &self.access.key {
                Some(key) => Cred::ssh_key(user, None, key, passphrase.as_deref()),
                None => Cred::ssh_key_from_agent(user),
            };
        }
        match &self.access.token {
            Some(token) if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) => {
                Cred::userpass_plaintext(user.unwrap_or(TOKEN_USER), &text(token)?)
            }
            _ => Err(refusal("the remote asks for credentials, and none are configured")),
        }
    }

    /// Checks an SSH server against the given `known_hosts`; TLS is left to libgit2.
    fn check_host(
        &self,
        certificate: &git2::cert::Cert<'_>,
    ) -> Result<CertificateCheckStatus, git2::Error> {
        let (Some(path), Some(host_key)) = (&self.access.known_hosts, certificate.as_hostkey())
        else {
            return Ok(CertificateCheckStatus::CertificatePassthrough);
        };
        let untrusted =
            |why: String| git2::Error::new(ErrorCode::Certificate, ErrorClass::Ssh, why);
        let file = fs::read_to_string(path)
            .map_err(|e| untrusted(format!("{} cannot be read: {e}", path.display())))?;
        let key = host_key.hostkey().unwrap_or_default();
        let (host, port) = (&self.location.host, self.location.port);
        let kind = host_key.hostkey_type().map_or("unknown", |t| t.short_name());
        match known_hosts::look_up(&file, host, port, key) {
            Verdict::Known => Ok(CertificateCheckStatus::CertificateOk),
            Verdict::Other => Err(untrusted(format!(
                "{host} shows a key of type {kind} that {} does not have",
                path.display()
            ))),
            Verdict::Unknown => Err(untrusted(format!("{host} is not in {}", path.display()))),
            Verdict::Revoked => Err(untrusted(format!("the key of {host} is revoked"))),
        }
    }

    fn failed(&self, doing: &str, error: &git2::Error) -> PortError {
        let message = format!("cannot {doing} {}: {}", self.location, self.clean(error.message()));
        match (error.class(), error.code()) {
            (_, ErrorCode::Auth) => PortError::terminal("AuthenticationFailed", message)
                .with_hint("check the token or key and what it may read"),
            (ErrorClass::Callback, _) => PortError::terminal("AuthenticationFailed", message),
            (_, ErrorCode::Certificate) => untrusted_host(message),
            // OpenSSL's verdict reaches us with a class and a text only.
            (ErrorClass::Ssl, _) if error.message().contains("certificate") => {
                untrusted_host(message)
            }
            (_, ErrorCode::User) => too_slow(),
            (_, ErrorCode::Owner) => PortError::terminal("OwnerDiffers", message).with_hint(
                "git config --global --add safe.directory PATH, as the user that runs this",
            ),
            _ if self.location.reach == Reach::Https && refused_by_host(error.message()) => {
                PortError::terminal("AuthenticationFailed", message)
                    .with_hint("check the token and what it may read")
            }
            _ => PortError::transient("FetchFailed", message)
                .with_hint("the last good commit stays valid"),
        }
    }

    /// Takes the token out of a message, should the library ever quote it.
    fn clean(&self, message: &str) -> String {
        let token = self.access.token.as_ref().and_then(|t| self.secrets.resolve(t).ok());
        match token.as_ref().and_then(|t| std::str::from_utf8(t.expose()).ok()) {
            Some(value) if !value.is_empty() => message.replace(value, "***"),
            _ => message.to_owned(),
        }
    }
}

fn untrusted_host(message: String) -> PortError {
    PortError::terminal("HostNotTrusted", message).with_hint(
        "once you are sure that it is the right server: for ssh add its key of that type to \
         known_hosts, for https add its authority to the system's or name a PEM file of \
         authorities in SSL_CERT_FILE",
    )
}

/// Says whether the host answered that the credentials do not suffice.
fn refused_by_host(message: &str) -> bool {
    ["status code: 401", "status code: 403", "too many redirects or authentication"]
        .iter()
        .any(|text| message.contains(text))
}

fn refusal(why: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, why)
}

fn too_slow() -> PortError {
    PortError::transient(
        "FetchTooLarge",
        format!("the fetch took more than {FETCH_TIME_MAX:?} or {FETCH_BYTES_MAX} bytes"),
    )
}

fn not_found(commit: &CommitId) -> PortError {
    PortError::terminal("CommitNotFound", format!("commit {commit} is not in the cache"))
        .with_hint("fetch again; a commit that was force-pushed away may be gone")
}
