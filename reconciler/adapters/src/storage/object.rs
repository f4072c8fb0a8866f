//! Storage in a bucket, whoever runs it: the layout, and reading and listing through object_store.
//! Writing is each service's own ([`Write`]), as object_store sends neither the digest that the
//! engine has made already nor a lock for the object, and deletes in batches where it can, which
//! tell less of what went wrong.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use md5::{Digest as _, Md5};
use model::error::PortError;
use model::ports::storage::{
    CHECKSUM_MISMATCH, FileKind, Listed, NOT_FOUND, SHORT_READ, Storage, TOO_LARGE,
};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::layout;
use super::refusal::fault;
use super::wait::wait;
use super::web::{SILENCE, Silent};

/// Files handed over at once while a listing goes on; services send a thousand a page.
const LIST_BATCH: usize = 1000;

/// One file to write.
pub struct Parcel {
    /// The whole key of the object.
    pub key: String,
    /// Its content.
    pub data: Bytes,
    /// The content's digest.
    pub sha256: [u8; 32],
    /// A repository's lock file: it must go again, so it is never locked itself.
    pub fleeting: bool,
    /// For messages: what is done.
    pub what: String,
}

/// Returns the digest of bytes that the engine names content by.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    sum
}

/// Returns the digest of bytes that some services know alone.
pub fn md5(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

/// Checks that what is sent is what was meant, where a service takes another digest than the
/// engine's: that one is then made of the same bytes.
pub fn unchanged(parcel: &Parcel) -> Result<(), PortError> {
    if sha256(&parcel.data) == parcel.sha256 {
        return Ok(());
    }
    let message = format!("{}: its bytes changed in memory", parcel.what);
    Err(PortError::transient(CHECKSUM_MISMATCH, message))
}

/// How a service takes an object: whole, checked against a digest, and not over another.
pub trait Write: Send + Sync + 'static {
    /// Writes one object.
    fn put(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), PortError>>;

    /// Removes one object.
    fn delete(
        self: Arc<Self>,
        key: String,
        what: String,
    ) -> BoxFuture<'static, Result<(), PortError>>;
}

/// A bucket.
pub struct ObjectStorage {
    /// Where this is, for people.
    pub location: String,
    /// Path in the bucket, without slashes at its ends; may be empty.
    pub prefix: String,
    /// What reads.
    pub store: Arc<dyn ObjectStore>,
    /// What writes.
    pub writer: Arc<dyn Write>,
    /// How many requests at once.
    pub connections: usize,
}

impl ObjectStorage {
    fn what(&self, doing: &str, kind: FileKind, name: &str) -> String {
        layout::what(doing, kind, name, &self.location)
    }

    fn key(&self, kind: FileKind, name: &str) -> Result<(String, Path), PortError> {
        let key = layout::in_prefix(&self.prefix, &layout::path(kind, name)?);
        let path = Path::parse(&key).map_err(|error| {
            PortError::terminal("BadPrefix", format!("{key:?} cannot name an object"))
                .with_source(error)
        })?;
        Ok((key, path))
    }
}

/// A listing under way, handed to and fro between this thread and the client's.
type Stream = futures_util::stream::BoxStream<'static, object_store::Result<ObjectMeta>>;

/// Returns the error of a listing. What holds nothing is an empty listing: whoever answers that it
/// is not there speaks of the bucket, or is no such service.
fn of_listing(error: PortError) -> PortError {
    if error.reason != NOT_FOUND {
        return error;
    }
    PortError::terminal("NoSuchBucket", error.message.clone())
        .with_hint("make the bucket (or container) first, or mend its name and the endpoint")
        .with_source(error)
}

/// Returns some files, and the rest of the listing unless that was its end.
async fn batch(
    mut stream: Stream,
    what: String,
) -> Result<(Vec<ObjectMeta>, Option<Stream>), PortError> {
    let mut batch = Vec::new();
    while batch.len() < LIST_BATCH {
        match stream.next().await {
            Some(Ok(meta)) => batch.push(meta),
            Some(Err(error)) => return Err(of_listing(fault(what, &error))),
            None => return Ok((batch, None)),
        }
    }
    Ok((batch, Some(stream)))
}

async fn read(
    store: Arc<dyn ObjectStore>,
    path: Path,
    range: Option<std::ops::Range<u64>>,
    size_bytes_max: u64,
    what: String,
) -> Result<Vec<u8>, PortError> {
    let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
    let result = store.get_opts(&path, options).await.map_err(|e| fault(what.clone(), &e))?;
    let size = result.range.end.saturating_sub(result.range.start);
    if size > size_bytes_max {
        let message = format!("{what}: it has {size} bytes, more than {size_bytes_max}");
        return Err(PortError::terminal(TOO_LARGE, message));
    }
    let mut stream = result.into_stream();
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    loop {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Err(_) => return Err(fault(what, &Silent)),
            Ok(None) => break,
            Ok(Some(Ok(part))) => bytes.extend_from_slice(&part),
            Ok(Some(Err(error))) => return Err(fault(what, &error)),
        }
        if bytes.len() as u64 > size {
            break;
        }
    }
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    let message = format!("{what}: {} of {size} bytes came", bytes.len());
    Err(PortError::transient("ConnectionLost", message))
}

impl Storage for ObjectStorage {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn create(&self) -> Result<(), PortError> {
        // Buckets have no folders, and one is not made here: who pays and who may read is decided
        // where it is made. That it is there is looked at by a listing.
        self.list(FileKind::Key, &mut |_| Ok(()))
    }

    fn list(
        &self,
        kind: FileKind,
        each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        if kind == FileKind::Config {
            return layout::list_config(self, each);
        }
        let what = self.what("list", kind, "");
        let folder = layout::in_prefix(&self.prefix, kind.folder());
        let path = Path::parse(&folder).map_err(|error| fault(what.clone(), &error))?;
        let mut next = Some(self.store.list(Some(&path)));
        while let Some(stream) = next {
            let (metas, rest) = wait(batch(stream, what.clone()))?;
            for meta in metas {
                if let Some(name) = layout::name(kind, &folder, meta.location.as_ref()) {
                    each(Listed { name: name.to_owned(), size_bytes: meta.size })?;
                }
            }
            next = rest;
        }
        Ok(())
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        let (_, path) = self.key(kind, name)?;
        let (store, what) = (self.store.clone(), self.what("look at", kind, name));
        let looked = wait({
            let (store, path, what) = (store.clone(), path.clone(), what.clone());
            async move { store.head(&path).await.map(|m| m.size).map_err(|e| fault(what, &e)) }
        });
        match looked {
            // The answer to this request has no body, and a missing bucket or key that nobody has
            // looks like a missing file. A place that is taken for empty is written to: the words
            // of an answer to a reading request decide.
            Err(error) if error.reason == NOT_FOUND => wait(async move {
                let range = Some(GetRange::Bounded(0..1));
                let options = GetOptions { range, ..GetOptions::default() };
                let read = store.get_opts(&path, options).await;
                read.map(|result| result.meta.size).map_err(|e| fault(what, &e))
            }),
            done => done,
        }
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        let (_, path) = self.key(kind, name)?;
        let what = self.what("load", kind, name);
        wait(read(self.store.clone(), path, None, size_bytes_max, what))
    }

    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        let (_, path) = self.key(kind, name)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let what = self.what("read", kind, name);
        let size = buffer.len() as u64;
        let range = offset..offset.saturating_add(size);
        let bytes = wait(read(self.store.clone(), path, Some(range), size, what.clone()))?;
        if bytes.len() != buffer.len() {
            return Err(PortError::terminal(SHORT_READ, format!("{what}: it ends too early")));
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    fn save(
        &self,
        kind: FileKind,
        name: &str,
        data: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        let (key, _) = self.key(kind, name)?;
        let parcel = Parcel {
            key,
            data: Bytes::copy_from_slice(data),
            sha256: *sha256,
            fleeting: kind == FileKind::Lock,
            what: self.what("save", kind, name),
        };
        wait(self.writer.clone().put(parcel))
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        let (key, _) = self.key(kind, name)?;
        wait(self.writer.clone().delete(key, self.what("delete", kind, name)))
    }
}
