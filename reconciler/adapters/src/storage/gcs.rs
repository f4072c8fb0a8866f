//! Google Cloud Storage. object_store reads, lists, deletes and finds credentials; writing is done
//! here through the JSON API, whose uploads carry the object's digest, which the service checks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use model::error::PortError;
use model::remote::Gcs;
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt as _, PutPayload, StaticCredentialProvider};

use super::Secret;
use super::object::{ObjectStorage, Parcel, Write, md5, unchanged};
use super::refusal::fault;
use super::s3::no_retries;
use super::web::Web;

/// The service's own URL.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// Requests at once; as for S3.
const CONNECTIONS: usize = 12;

struct Writer {
    web: Web,
    store: Arc<object_store::gcp::GoogleCloudStorage>,
    /// Where uploads go.
    url: String,
    credentials: GcpCredentialProvider,
}

/// Opens a bucket.
pub fn open(gcs: &Gcs, location: String, secret: &Secret<'_>) -> Result<ObjectStorage, PortError> {
    let web = Web::new(gcs.ca_file.as_deref())?;
    let endpoint = gcs.endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/');
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&gcs.bucket)
        .with_base_url(endpoint)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    if let Some(token) = &gcs.access_token {
        let bearer = secret(token)?;
        builder = builder
            .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer })));
    } else if let Some(key) = &gcs.service_account {
        builder = builder.with_service_account_key(secret(key)?);
    }
    // What object_store says of a key that does not parse may repeat parts of it.
    let store = builder.build().map_err(|_| {
        PortError::terminal("WrongCredentials", format!("cannot open {location}")).with_hint(
            "the secret that `serviceAccount` names must be a service account's key, JSON, or, \
             without one, the machine's own credentials of Google must be valid",
        )
    })?;
    let store = Arc::new(store);
    let writer = Writer {
        web,
        credentials: store.credentials().clone(),
        store: store.clone(),
        url: format!("{endpoint}/upload/storage/v1/b/{}/o", gcs.bucket),
    };
    Ok(ObjectStorage {
        location,
        prefix: gcs.prefix.clone(),
        store,
        writer: Arc::new(writer),
        connections: CONNECTIONS,
    })
}

impl Writer {
    async fn upload(&self, parcel: Parcel) -> Result<(), PortError> {
        unchanged(&parcel)?;
        let Parcel { key, data, sha256, what, .. } = parcel;
        // The object's description and its content in one request; what parts them must occur in
        // neither, and no content holds its own digest.
        let boundary: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let object = serde_json::json!({ "name": key, "md5Hash": BASE64.encode(md5(&data)) });
        let head = format!(
            "--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{object}\r\n\
             --{boundary}\r\ncontent-type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = head.len() + data.len() + tail.len();
        let body = PutPayload::from_iter([Bytes::from(head), data, Bytes::from(tail)]);
        let bearer = self.credentials.get_credential().await;
        let bearer = bearer.map_err(|error| fault(what.clone(), &error))?;
        let request = Request::builder()
            .method(Method::POST)
            // A generation of 0 is that of no object.
            .uri(format!("{}?uploadType=multipart&ifGenerationMatch=0", self.url))
            .header("authorization", format!("Bearer {}", bearer.bearer))
            .header("content-type", format!("multipart/related; boundary={boundary}"))
            .header("content-length", length)
            .body(body.into())
            .map_err(|error| fault(what.clone(), &error))?;
        self.web.send(request).await.map(|_| ()).map_err(|error| fault(what, &error))
    }
}

impl Write for Writer {
    fn put(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move { self.upload(parcel).await })
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
