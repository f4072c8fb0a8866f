//! Where a repository lies: a folder, or a place on a storage service.

use schemars::JsonSchema;
use serde::Deserialize;

use super::common::SecretSpec;

/// Where a repository lies: exactly one of `local`, `s3`, `gcs`, `azure`, `sftp` and
/// `rest`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// A folder on the machine that Mainstay runs on.
    pub local: Option<LocalStorageSpec>,
    /// A bucket of Amazon S3, or of whatever speaks its protocol.
    pub s3: Option<S3StorageSpec>,
    /// A bucket of Google Cloud Storage.
    pub gcs: Option<GcsStorageSpec>,
    /// A container of Azure Blob Storage.
    pub azure: Option<AzureStorageSpec>,
    /// A folder on a host that `ssh` reaches.
    pub sftp: Option<SftpStorageSpec>,
    /// A repository on restic's REST server.
    pub rest: Option<RestStorageSpec>,
    /// What a service is spared; not for `local`.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// A folder that holds a repository.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalStorageSpec {
    /// Its absolute path.
    pub path: String,
    /// The path must lie on a mounted file system other than the root's, so that an unmounted disk
    /// is noticed instead of filled.
    #[serde(default)]
    pub mount_point: bool,
}

/// A place in an S3 bucket. The bucket is there already; nothing else need be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3StorageSpec {
    /// URL of the service, such as `https://s3.example.com`; Amazon's own if absent.
    pub endpoint: Option<String>,
    /// The bucket's region, `us-east-1` if absent.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Path in the bucket, such as `mainstay/prod`.
    #[serde(default)]
    pub prefix: String,
    /// How the bucket is named in requests: in the `path` (the default) or in the `host`.
    pub style: Option<BucketStyleSpec>,
    /// The access key's id; if absent, the role of the machine or pod is used.
    pub access_key: Option<SecretSpec>,
    /// The access key's secret.
    pub secret_key: Option<SecretSpec>,
    /// The token of a session.
    pub session_token: Option<SecretSpec>,
    /// Such as `STANDARD_IA`; one that is read at once.
    pub storage_class: Option<String>,
    /// Locks each object that is written; the bucket must have object lock.
    pub object_lock: Option<ObjectLockSpec>,
    /// File with certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BucketStyleSpec {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Host,
}

/// How written objects are locked. The repository's own lock files are left out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectLockSpec {
    /// How strongly `retain` holds: whoever has the permission may lift `governance`, nobody
    /// `compliance`.
    pub mode: Option<LockModeSpec>,
    /// For how long from the write on, such as `30d`.
    pub retain: Option<String>,
    /// Until somebody lifts it.
    #[serde(default)]
    pub legal_hold: bool,
}

/// How strongly an object is locked.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LockModeSpec {
    /// Whoever has the permission may lift it.
    Governance,
    /// Nobody may lift it.
    Compliance,
}

/// A place in a bucket of Google Cloud Storage. The bucket is there already.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcsStorageSpec {
    /// URL of the service; Google's own if absent.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Path in the bucket.
    #[serde(default)]
    pub prefix: String,
    /// The key of a service account, JSON; without it and `accessToken` the identity of the machine
    /// or pod is used.
    pub service_account: Option<SecretSpec>,
    /// A token of OAuth 2, in the place of a key.
    pub access_token: Option<SecretSpec>,
    /// File with certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// A place in a container of Azure Blob Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureStorageSpec {
    /// URL of the account; Azure's own for its name if absent.
    pub endpoint: Option<String>,
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// Path in the container.
    #[serde(default)]
    pub prefix: String,
    /// An access key; without it and `sas` the identity of the machine is used.
    pub key: Option<SecretSpec>,
    /// A shared access signature, in the place of a key.
    pub sas: Option<SecretSpec>,
    /// File with certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// A folder on a host that the user's own `ssh` reaches: its configuration, agent, jump hosts and
/// known hosts hold. The host's key must be known.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SftpStorageSpec {
    /// The host, or its name in ssh's configuration.
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The user there.
    pub user: Option<String>,
    /// The folder: absolute, or below the user's home.
    pub path: String,
    /// File with the private key; what ssh's configuration and agent offer if absent.
    pub identity_file: Option<String>,
    /// File with the host's key, in the place of the user's and the system's.
    pub known_hosts: Option<String>,
    /// ssh's configuration, in the place of the user's.
    pub config_file: Option<String>,
}

/// A repository on restic's REST server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestStorageSpec {
    /// Its URL, such as `https://backup.example.com:8000/prod`.
    pub url: String,
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretSpec>,
    /// File with certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// What a service is spared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Requests at once.
    #[schemars(range(min = 1, max = 256))]
    pub connections: Option<u32>,
    /// Requests a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u64>,
    /// Bytes written a second, such as `10MiB`.
    pub upload: Option<String>,
    /// Bytes read a second, such as `50MiB`.
    pub download: Option<String>,
    /// Tries of one request, the first included.
    #[schemars(range(min = 1, max = 100))]
    pub tries: Option<u32>,
}
