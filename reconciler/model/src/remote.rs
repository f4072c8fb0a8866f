//! Where a repository lies that is not a folder of this machine. Credentials are references; values
//! exist inside the adapter that opens the storage.

use serde::{Deserialize, Serialize};

use crate::agent::SecretRef;

/// A storage service, and what it is spared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// Which, and where on it.
    pub service: Service,
    /// What it is spared.
    pub limits: StorageLimits,
}

/// A storage service and the place on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// Amazon S3, or whatever speaks its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azure(Azure),
    /// A folder behind SSH.
    Sftp(Sftp),
    /// restic's REST server.
    Rest(Rest),
}

/// What a storage is spared. `None` is the adapter's own bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageLimits {
    /// Requests at once.
    pub connections: Option<u32>,
    /// Requests a second.
    pub requests_per_s: Option<u64>,
    /// Bytes written a second.
    pub upload_bytes_per_s: Option<u64>,
    /// Bytes read a second.
    pub download_bytes_per_s: Option<u64>,
    /// Tries of one request, the first included.
    pub tries: Option<u32>,
}

/// How a bucket is named in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BucketStyle {
    /// In the path: `https://host/bucket/key`.
    #[default]
    Path,
    /// In the host's name: `https://bucket.host/key`.
    Host,
}

/// How strongly a locked object is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LockMode {
    /// Whoever has the permission may lift it.
    Governance,
    /// Nobody may lift it.
    Compliance,
}

/// What is asked of a bucket with object lock for each object that is written; lock files of the
/// repository, which must go again, are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectLock {
    /// How strongly, and for how many seconds from the write on.
    pub retain: Option<(LockMode, u64)>,
    /// Until somebody lifts it.
    pub legal_hold: bool,
}

/// A place in an S3 bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// URL of the service; `None` is Amazon's own for the region.
    pub endpoint: Option<String>,
    /// The bucket's region; `None` is `us-east-1`, which most other services take as theirs.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Path in the bucket, without slashes at its ends; may be empty.
    pub prefix: String,
    /// How the bucket is named in requests.
    pub style: BucketStyle,
    /// The access key's id; `None` is the role of the machine.
    pub access_key: Option<SecretRef>,
    /// The access key's secret.
    pub secret_key: Option<SecretRef>,
    /// The token of a session that ends by itself.
    pub session_token: Option<SecretRef>,
    /// Such as `STANDARD_IA`. Classes that must be thawed before reading cannot be used.
    pub storage_class: Option<String>,
    /// How written objects are locked.
    pub object_lock: Option<ObjectLock>,
    /// File with the certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// A place in a bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gcs {
    /// URL of the service; `None` is Google's own.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Path in the bucket, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The key of a service account, JSON; with no key and no token the identity of the machine is
    /// used.
    pub service_account: Option<SecretRef>,
    /// A token of OAuth 2 that ends by itself.
    pub access_token: Option<SecretRef>,
    /// File with the certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// A place in a container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Azure {
    /// URL of the account; `None` is Azure's own for its name.
    pub endpoint: Option<String>,
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// Path in the container, without slashes at its ends; may be empty.
    pub prefix: String,
    /// An access key, base64; with no key and no signature the identity of the machine is used.
    pub key: Option<SecretRef>,
    /// A shared access signature: the query part of its URL.
    pub sas: Option<SecretRef>,
    /// File with the certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

/// A folder on a host that is reached with the user's own `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sftp {
    /// The host, or its name in ssh's configuration.
    pub host: String,
    /// Its port; `None` is what ssh's configuration says.
    pub port: Option<u16>,
    /// The user there; `None` is what ssh's configuration says.
    pub user: Option<String>,
    /// The folder: absolute, or below the user's home.
    pub path: String,
    /// File with the private key; `None` is what ssh's configuration and agent offer.
    pub identity_file: Option<String>,
    /// File with the host's key; `None` is what ssh's configuration says.
    pub known_hosts: Option<String>,
    /// ssh's configuration; `None` is the user's own.
    pub config_file: Option<String>,
}

/// A repository on restic's REST server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// Its URL, without user and password.
    pub url: String,
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretRef>,
    /// File with the certificates, PEM, that are trusted beside the system's.
    pub ca_file: Option<String>,
}

impl Remote {
    /// Returns where this is, for people and without secrets, as restic would name it.
    pub fn location(&self) -> String {
        let join = |head: String, prefix: &str| {
            if prefix.is_empty() { head } else { format!("{head}/{prefix}") }
        };
        match &self.service {
            Service::S3(s3) => {
                let endpoint = s3.endpoint.as_deref().unwrap_or("s3.amazonaws.com");
                join(format!("s3:{}/{}", endpoint.trim_end_matches('/'), s3.bucket), &s3.prefix)
            }
            Service::Gcs(gcs) => format!("gs:{}:/{}", gcs.bucket, gcs.prefix),
            Service::Azure(azure) => format!("azure:{}:/{}", azure.container, azure.prefix),
            Service::Sftp(sftp) => {
                let user = sftp.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
                format!("sftp:{user}{}:{}", sftp.host, sftp.path)
            }
            Service::Rest(rest) => format!("rest:{}", rest.url),
        }
    }

    /// Returns the references to secrets that opening it needs.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let all = match &self.service {
            Service::S3(s3) => vec![&s3.access_key, &s3.secret_key, &s3.session_token],
            Service::Gcs(gcs) => vec![&gcs.service_account, &gcs.access_token],
            Service::Azure(azure) => vec![&azure.key, &azure.sas],
            Service::Sftp(_) => Vec::new(),
            Service::Rest(rest) => vec![&rest.password],
        };
        all.into_iter().flatten().collect()
    }
}
