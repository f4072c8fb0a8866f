//! Storage services behind the storage port: S3, Google Cloud Storage, Azure Blob, SFTP, restic's
//! REST server. Called by `engine` when it opens a repository; the files lie as restic lays them,
//! so that either program works on what the other wrote.
//!
//! In reading order: `layout` says where files lie; `web` is the one HTTP client, `refusal` what an
//! answer or a broken connection means; `object` is a bucket, `s3`, `gcs` and `azure` open and
//! write one; `rest` is restic's server; `ssh` makes connections and `sftp` uses them; `wait` is
//! how the engine's threads block on all that; `named` reads restic's names of places.
//!
//! What was weighed. For the clouds: object_store (one HTTP client that can be replaced, aws-lc-rs,
//! credentials of instances and pods) against opendal (more services and its own layers for retry
//! and limits, twice the crates) and the vendors' own (three HTTP stacks). object_store sends no
//! object lock and no digest of the caller's; its signers are public, so that the writing requests
//! are made here and the rest is its. TLS is rustls on aws-lc-rs, which the engine has anyway.

mod azure;
mod gcs;
mod layout;
pub mod named;
mod object;
mod refusal;
mod rest;
mod s3;
mod sftp;
mod ssh;
mod wait;
mod web;

use std::sync::Arc;

use model::agent::SecretRef;
use model::desired::StorageSpec;
use model::error::PortError;
use model::ports::secrets::Secrets;
use model::ports::storage::Storage;
use model::remote::{Remote, Service, StorageLimits};
use repository::storage::LocalStorage;
use repository::storage::decorators::{
    Guard, Guarded, Limited, Limits, Pacing, RetryPolicy, Retrying, Traced,
};

pub use wait::Machine;

/// How a reference becomes a text.
type Secret<'s> = dyn Fn(&SecretRef) -> Result<String, PortError> + 's;

fn bad_url(url: &str) -> PortError {
    PortError::terminal("BadUrl", format!("{url} is no URL of a storage service"))
        .with_hint("write http:// or https://, a host, and no user or password")
}

/// Opens the storage of a repository. Nothing is asked of the service yet.
pub fn open(
    spec: &StorageSpec,
    append_only: bool,
    secrets: &dyn Secrets,
) -> Result<Arc<dyn Storage>, PortError> {
    let storage: Arc<dyn Storage> = match spec {
        StorageSpec::Local { path, .. } => Arc::new(LocalStorage::new(path)),
        StorageSpec::Remote(remote) => {
            decorated(service(remote, secrets)?, &remote.limits, Arc::new(Machine::default()))
        }
    };
    if append_only {
        return Ok(Arc::new(Guarded::new(storage, Guard::AppendOnly)));
    }
    Ok(storage)
}

/// Opens a service without anything around it.
pub fn service(remote: &Remote, secrets: &dyn Secrets) -> Result<Arc<dyn Storage>, PortError> {
    let secret = |reference: &SecretRef| text(reference, secrets);
    let location = remote.location();
    Ok(match &remote.service {
        Service::S3(s3) => Arc::new(s3::open(s3, location, &secret)?),
        Service::Gcs(gcs) => Arc::new(gcs::open(gcs, location, &secret)?),
        Service::Azure(azure) => Arc::new(azure::open(azure, location, &secret)?),
        Service::Sftp(sftp) => Arc::new(sftp::SftpStorage::new(sftp.clone(), location)),
        Service::Rest(rest) => Arc::new(rest::open(rest, location, &secret)?),
    })
}

/// Puts around a service what all of them pass through.
pub fn decorated(
    service: Arc<dyn Storage>,
    limits: &StorageLimits,
    pacing: Arc<dyn Pacing>,
) -> Arc<dyn Storage> {
    let limit = Limits {
        connections: limits.connections.map(|count| count as usize),
        requests_per_s: limits.requests_per_s,
        upload_bytes_per_s: limits.upload_bytes_per_s,
        download_bytes_per_s: limits.download_bytes_per_s,
    };
    let mut policy = RetryPolicy::default();
    policy.tries_max = limits.tries.unwrap_or(policy.tries_max).max(1);
    let traced = Arc::new(Traced::new(service, pacing.clone()));
    let limited = Arc::new(Limited::new(traced, limit, pacing.clone()));
    Arc::new(Retrying::new(limited, policy, pacing))
}

/// Returns a secret as a text without the line break that an editor leaves at its end.
fn text(reference: &SecretRef, secrets: &dyn Secrets) -> Result<String, PortError> {
    let value = secrets.resolve(reference)?;
    let text = std::str::from_utf8(value.expose()).map_err(|_| {
        PortError::terminal("BadSecret", format!("the secret `{}` is no text", reference.0))
            .with_hint("a storage service's credentials are UTF-8")
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
