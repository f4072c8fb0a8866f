//! Amazon S3 and what speaks its protocol.
//!
//! object_store reads, lists, deletes, finds credentials and signs. The writing requests are made
//! here, because they carry what it cannot send: the digest that the engine made of the bytes in
//! memory (it is signed, and sent as `x-amz-checksum-sha256`, so that the server refuses a changed
//! byte), the object lock, and one condition for whole and multipart uploads alike.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp, Unit};
use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, NOT_FOUND};
use model::remote::{BucketStyle, LockMode, ObjectLock, S3};
use object_store::ObjectStoreExt as _;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpRequest, HttpResponse};
use object_store::path::Path;

use super::object::{ObjectStorage, Parcel, Write, sha256, unchanged};
use super::refusal::fault;
use super::web::{Web, element};
use super::{Secret, bad_url};

/// The region that is meant when none is named.
const REGION: &str = "us-east-1";
/// Objects above this size in bytes go in parts, so that a broken connection costs a part only.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Size in bytes of a part; the protocol wants at least 5 MiB.
const PART_BYTES: usize = 32 << 20;
/// Largest answer in bytes to a request that writes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Requests at once: with 20 ms to the service and 16 MiB packs a 1 Gbit/s line is full with fewer;
/// the rest is for the many small reads of a restore.
const CONNECTIONS: usize = 12;

/// The writing half of a bucket.
struct Writer {
    web: Web,
    store: Arc<AmazonS3>,
    /// URL of the bucket, without a slash at its end.
    url: String,
    region: String,
    storage_class: Option<String>,
    object_lock: Option<ObjectLock>,
    /// Whether the service knows `If-None-Match` for writes, as far as is known.
    conditional: AtomicBool,
}

/// Returns never an attempt more than the caller makes: the retry decorator decides about those.
pub fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Returns the URL of the bucket.
fn bucket_url(s3: &S3, region: &str) -> Result<String, PortError> {
    let endpoint = match &s3.endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    match s3.style {
        BucketStyle::Path => Ok(format!("{endpoint}/{}", s3.bucket)),
        BucketStyle::Host => {
            let (scheme, host) = endpoint.split_once("://").ok_or_else(|| bad_url(&endpoint))?;
            Ok(format!("{scheme}://{}.{host}", s3.bucket))
        }
    }
}

/// Opens a bucket.
pub fn open(s3: &S3, location: String, secret: &Secret<'_>) -> Result<ObjectStorage, PortError> {
    let region = s3.region.clone().unwrap_or_else(|| REGION.to_owned());
    let url = bucket_url(s3, &region)?;
    let web = Web::new(s3.ca_file.as_deref())?;
    let endpoint = match s3.style {
        // object_store takes the endpoint with the bucket in it for this style.
        BucketStyle::Host => url.as_str(),
        BucketStyle::Path => url.strip_suffix(&format!("/{}", s3.bucket)).unwrap_or(&url),
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&region)
        .with_endpoint(endpoint)
        .with_virtual_hosted_style_request(s3.style == BucketStyle::Host)
        .with_allow_http(true)
        .with_disable_bulk_delete(true)
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    match (&s3.access_key, &s3.secret_key) {
        (Some(id), Some(key)) => {
            builder = builder.with_access_key_id(secret(id)?).with_secret_access_key(secret(key)?);
            if let Some(token) = &s3.session_token {
                builder = builder.with_token(secret(token)?);
            }
        }
        // The machine's own identity: of its pod, its task or its instance, in this order.
        _ => builder = machine_identity(builder),
    }
    let store = builder.build().map_err(|e| fault(format!("cannot open {location}"), &e))?;
    let store = Arc::new(store);
    let writer = Writer {
        web,
        store: store.clone(),
        url,
        region,
        storage_class: s3.storage_class.clone(),
        object_lock: s3.object_lock,
        conditional: AtomicBool::new(true),
    };
    Ok(ObjectStorage {
        location,
        prefix: s3.prefix.clone(),
        store,
        writer: Arc::new(writer),
        connections: CONNECTIONS,
    })
}

/// Names to the builder what a pod or task is told of its identity by its environment.
fn machine_identity(mut builder: AmazonS3Builder) -> AmazonS3Builder {
    let told = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        ),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
        ),
    ];
    for (variable, key) in told {
        if let Ok(value) = std::env::var(variable) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

impl Write for Writer {
    fn put(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move {
            let conditional = self.conditional.load(Ordering::Relaxed);
            let error = match self.write(&parcel, conditional).await {
                Err(error) if conditional && error.reason == "NotSupported" => error,
                done => return done,
            };
            tracing::debug!("no conditional writes here, looking first: {}", error.chain());
            self.conditional.store(false, Ordering::Relaxed);
            self.write(&parcel, false).await
        })
    }

    fn delete(
        self: Arc<Self>,
        key: String,
        what: String,
    ) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move {
            let path = Path::from(key.as_str());
            self.store.delete(&path).await.map_err(|error| fault(what, &error))
        })
    }
}

impl Writer {
    async fn write(&self, parcel: &Parcel, conditional: bool) -> Result<(), PortError> {
        if !conditional {
            // Two writers of one name write the same bytes, but for the config, which the engine
            // looks for itself before it makes one.
            match self.store.head(&Path::from(parcel.key.as_str())).await {
                Ok(_) => return Err(PortError::terminal(ALREADY_EXISTS, parcel.what.clone())),
                Err(error) => {
                    let error = fault(parcel.what.clone(), &error);
                    if error.reason != NOT_FOUND {
                        return Err(error);
                    }
                }
            }
        }
        if parcel.data.len() > WHOLE_BYTES_MAX {
            return self.in_parts(parcel, conditional).await;
        }
        let sum = parcel.sha256;
        let mut request = self.with_object_headers(self.request(Method::PUT, parcel, ""), parcel);
        request = request.header("x-amz-checksum-sha256", BASE64.encode(sum));
        if conditional {
            request = request.header("if-none-match", "*");
        }
        self.send(request, parcel.data.clone(), &sum, parcel).await.map(|_| ())
    }

    fn request(&self, method: Method, parcel: &Parcel, query: &str) -> http::request::Builder {
        let url = format!("{}/{}{query}", self.url, parcel.key);
        Request::builder().method(method).uri(url)
    }

    /// Adds what belongs to the object: its class and its lock.
    fn with_object_headers(
        &self,
        mut request: http::request::Builder,
        parcel: &Parcel,
    ) -> http::request::Builder {
        request = request.header("content-type", "application/octet-stream");
        if let Some(class) = &self.storage_class {
            request = request.header("x-amz-storage-class", class);
        }
        let Some(lock) = self.object_lock.filter(|_| !parcel.fleeting) else { return request };
        if let Some((mode, seconds)) = lock.retain {
            let word = match mode {
                LockMode::Governance => "GOVERNANCE",
                LockMode::Compliance => "COMPLIANCE",
            };
            let until = Timestamp::now()
                .saturating_add(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0)))
                .unwrap_or(Timestamp::MAX);
            let until = until.round(Unit::Second).unwrap_or(until);
            request = request
                .header("x-amz-object-lock-mode", word)
                .header("x-amz-object-lock-retain-until-date", until.to_string());
        }
        if lock.legal_hold {
            request = request.header("x-amz-object-lock-legal-hold", "ON");
        }
        request
    }

    async fn send(
        &self,
        request: http::request::Builder,
        data: Bytes,
        sum: &[u8; 32],
        parcel: &Parcel,
    ) -> Result<HttpResponse, PortError> {
        let what = || parcel.what.clone();
        let mut request: HttpRequest =
            request.body(data.into()).map_err(|error| fault(what(), &error))?;
        let credential = self.store.credentials().get_credential().await;
        let credential = credential.map_err(|error| fault(what(), &error))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, Some(sum))
            .map_err(|error| fault(what(), &error))?;
        self.web.send(request).await.map_err(|error| fault(what(), &error))
    }

    /// Writes a large object in parts; what was begun and failed is taken away again, as far as the
    /// service still answers. A rule for unfinished uploads on the bucket does the rest.
    async fn in_parts(&self, parcel: &Parcel, conditional: bool) -> Result<(), PortError> {
        let request =
            self.with_object_headers(self.request(Method::POST, parcel, "?uploads"), parcel);
        let request = request.header("x-amz-checksum-algorithm", "SHA256");
        let response = self.send(request, Bytes::new(), &sha256(b""), parcel).await?;
        let answer = answer(response, parcel).await?;
        let Some(id) = element(&answer, "UploadId").filter(|id| !id.is_empty()) else {
            let message = format!("{}: the answer names no upload", parcel.what);
            return Err(PortError::transient("ServerError", message));
        };
        let id = escaped(&id);
        let done = self.parts(parcel, conditional, &id).await;
        if done.is_err() {
            let abort = self.request(Method::DELETE, parcel, &format!("?uploadId={id}"));
            if let Err(error) = self.send(abort, Bytes::new(), &sha256(b""), parcel).await {
                tracing::debug!("an unfinished upload stays: {}", error.chain());
            }
        }
        done
    }

    async fn parts(&self, parcel: &Parcel, conditional: bool, id: &str) -> Result<(), PortError> {
        let mut list = String::from("<CompleteMultipartUpload>");
        for (index, start) in (0..parcel.data.len()).step_by(PART_BYTES).enumerate() {
            let end = (start + PART_BYTES).min(parcel.data.len());
            let data = parcel.data.slice(start..end);
            let (number, sum) = (index + 1, sha256(&data));
            let sent = BASE64.encode(sum);
            let query = format!("?partNumber={number}&uploadId={id}");
            let request = self.request(Method::PUT, parcel, &query);
            let request = request.header("x-amz-checksum-sha256", &sent);
            let response = self.send(request, data, &sum, parcel).await?;
            let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
            let tag = tag.unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;");
            let _ = write!(
                list,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>\
                 <ChecksumSHA256>{sent}</ChecksumSHA256></Part>"
            );
        }
        // What was sent in parts is what was meant as a whole: the engine's digest covers it all.
        unchanged(parcel)?;
        list.push_str("</CompleteMultipartUpload>");
        let mut request = self.request(Method::POST, parcel, &format!("?uploadId={id}"));
        if conditional {
            request = request.header("if-none-match", "*");
        }
        let sum = sha256(list.as_bytes());
        let response = self.send(request, Bytes::from(list), &sum, parcel).await?;
        // This request may fail after the service has answered 200.
        let answer = answer(response, parcel).await?;
        match element(&answer, "Error") {
            None => Ok(()),
            Some(error) => {
                let code = element(&error, "Code").unwrap_or_default();
                let message = format!("{}: the service gave up: {code}", parcel.what);
                Err(PortError::transient("ServerError", message))
            }
        }
    }
}

async fn answer(response: HttpResponse, parcel: &Parcel) -> Result<String, PortError> {
    let bytes = super::web::body(response, ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| fault(parcel.what.clone(), &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns a text as it may stand in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(endpoint: Option<&str>, style: BucketStyle) -> S3 {
        S3 {
            endpoint: endpoint.map(str::to_owned),
            region: None,
            bucket: "backups".to_owned(),
            prefix: String::new(),
            style,
            access_key: None,
            secret_key: None,
            session_token: None,
            storage_class: None,
            object_lock: None,
            ca_file: None,
        }
    }

    #[test]
    fn buckets_are_in_the_path_or_in_the_host() {
        let url = |endpoint, style| bucket_url(&s3(endpoint, style), "eu-west-1").unwrap();
        assert_eq!(url(None, BucketStyle::Path), "https://s3.eu-west-1.amazonaws.com/backups");
        assert_eq!(url(None, BucketStyle::Host), "https://backups.s3.eu-west-1.amazonaws.com");
        let own = Some("http://localhost:9000/");
        assert_eq!(url(own, BucketStyle::Path), "http://localhost:9000/backups");
        assert_eq!(url(own, BucketStyle::Host), "http://backups.localhost:9000");
    }

    #[test]
    fn upload_ids_are_escaped() {
        assert_eq!(escaped("aZ0-_.~"), "aZ0-_.~");
        assert_eq!(escaped("a/b+c=&"), "a%2Fb%2Bc%3D%26");
    }
}
