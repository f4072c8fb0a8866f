//! Google Cloud Storage. object_store reads, lists, deletes and finds credentials; writing is done
//! here through the XML interface, with the digest that the service checks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use md5::{Digest as _, Md5};
use model::error::PortError;
use model::remote::Gcs;
use object_store::client::HttpRequest;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};

use super::Secret;
use super::object::{ObjectStorage, Parcel, Upload};
use super::refusal::fault;
use super::s3::no_retries;
use super::web::Web;

/// Google's own service.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// Requests at once; as for S3.
const CONNECTIONS: usize = 12;

struct Writer {
    web: Web,
    /// URL of the bucket, without a slash at its end.
    url: String,
    /// `None` where the service asks for none.
    credentials: Option<GcpCredentialProvider>,
}

/// Opens a bucket.
pub fn open(gcs: &Gcs, location: String, secret: &Secret<'_>) -> Result<ObjectStorage, PortError> {
    let web = Web::new(gcs.ca_file.as_deref())?;
    let endpoint = gcs.endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/');
    let nobody = gcs.endpoint.is_some() && gcs.service_account.is_none();
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&gcs.bucket)
        .with_base_url(endpoint)
        .with_skip_signature(nobody)
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    if let Some(account) = &gcs.service_account {
        builder = builder.with_service_account_key(secret(account)?);
    }
    // What object_store says of a key that does not parse may repeat parts of it.
    let store = builder.build().map_err(|_| {
        PortError::terminal("WrongCredentials", format!("cannot open {location}"))
            .with_hint("`serviceAccount` must name a service account's key, JSON, as downloaded")
    })?;
    let store = Arc::new(store);
    let writer = Writer {
        web,
        url: format!("{endpoint}/{}", gcs.bucket),
        credentials: (!nobody).then(|| store.credentials().clone()),
    };
    Ok(ObjectStorage {
        location,
        prefix: gcs.prefix.clone(),
        store,
        upload: Arc::new(writer),
        connections: CONNECTIONS,
    })
}

impl Upload for Writer {
    fn put(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move {
            let what = || parcel.what.clone();
            let sum = BASE64.encode(Md5::digest(&parcel.data));
            let mut request = Request::builder()
                .method(Method::PUT)
                .uri(format!("{}/{}", self.url, parcel.key))
                .header("content-type", "application/octet-stream")
                .header("content-md5", sum)
                // Generation 0 is that of an object that is not there.
                .header("x-goog-if-generation-match", "0");
            if let Some(credentials) = &self.credentials {
                let credential = credentials.get_credential().await;
                let credential = credential.map_err(|error| fault(what(), &error))?;
                request = request.header("authorization", format!("Bearer {}", credential.bearer));
            }
            let request: HttpRequest =
                request.body(parcel.data.clone().into()).map_err(|error| fault(what(), &error))?;
            self.web.send(request).await.map_err(|error| fault(what(), &error))?;
            Ok(())
        })
    }
}
