//! Azure Blob Storage. object_store reads, lists, deletes, finds credentials and signs; writing is
//! done here, with the digest that the service checks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use model::error::PortError;
use model::remote::Azure;
use object_store::azure::{
    AzureAuthorizer, AzureCredentialProvider, MicrosoftAzureBuilder, split_sas,
};
use object_store::client::HttpRequest;

use super::Secret;
use super::object::{ObjectStorage, Parcel, Write, md5, unchanged};
use super::refusal::fault;
use super::s3::no_retries;
use super::web::Web;

/// Requests at once; as for S3.
const CONNECTIONS: usize = 12;

struct Writer {
    web: Web,
    /// URL of the container, without a slash at its end.
    url: String,
    account: String,
    credentials: AzureCredentialProvider,
}

/// Opens a container.
pub fn open(
    azure: &Azure,
    location: String,
    secret: &Secret<'_>,
) -> Result<ObjectStorage, PortError> {
    let web = Web::new(azure.ca_file.as_deref())?;
    let endpoint = match &azure.endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None => format!("https://{}.blob.core.windows.net", azure.account),
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&azure.account)
        .with_container_name(&azure.container)
        .with_endpoint(endpoint.clone())
        .with_allow_http(true)
        .with_retry(no_retries())
        .with_http_connector(web.clone());
    // What object_store says of credentials that do not parse may repeat parts of them.
    let wrong = |field: &str, shape: &str| {
        PortError::terminal("WrongCredentials", format!("cannot open {location}"))
            .with_hint(format!("the secret that `{field}` names must be {shape}"))
    };
    if let Some(key) = &azure.key {
        builder = builder.with_access_key(secret(key)?);
    } else if let Some(sas) = &azure.sas {
        let text = secret(sas)?;
        let pairs = split_sas(text.trim_start_matches('?'));
        let pairs = pairs.map_err(|_| wrong("sas", "the query part of a signed URL"))?;
        builder = builder.with_sas_authorization(pairs);
    }
    let store = builder.build().map_err(|_| wrong("key", "an access key in base64"))?;
    let store = Arc::new(store);
    let writer = Writer {
        web,
        url: format!("{endpoint}/{}", azure.container),
        account: azure.account.clone(),
        credentials: store.credentials().clone(),
    };
    Ok(ObjectStorage {
        location,
        prefix: azure.prefix.clone(),
        store,
        writer: Arc::new(writer),
        connections: CONNECTIONS,
    })
}

impl Writer {
    async fn send(
        &self,
        request: http::request::Builder,
        data: Bytes,
        what: String,
    ) -> Result<(), PortError> {
        let mut request: HttpRequest =
            request.body(data.into()).map_err(|error| fault(what.clone(), &error))?;
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| fault(what.clone(), &error))?;
        AzureAuthorizer::new(&credential, &self.account)
            .try_authorize(&mut request)
            .map_err(|error| fault(what.clone(), &error))?;
        self.web.send(request).await.map(|_| ()).map_err(|error| fault(what, &error))
    }
}

impl Write for Writer {
    fn put(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move {
            unchanged(&parcel)?;
            let request = Request::builder()
                .method(Method::PUT)
                .uri(format!("{}/{}", self.url, parcel.key))
                .header("content-type", "application/octet-stream")
                .header("content-length", parcel.data.len())
                .header("content-md5", BASE64.encode(md5(&parcel.data)))
                .header("if-none-match", "*")
                .header("x-ms-blob-type", "BlockBlob");
            self.send(request, parcel.data, parcel.what).await
        })
    }

    fn delete(
        self: Arc<Self>,
        key: String,
        what: String,
    ) -> BoxFuture<'static, Result<(), PortError>> {
        let request = Request::builder().method(Method::DELETE);
        let request = request.uri(format!("{}/{key}", self.url));
        Box::pin(async move { self.send(request, Bytes::new(), what).await })
    }
}
