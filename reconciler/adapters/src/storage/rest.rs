//! restic's REST server. The protocol is restic's own, small and of no crate; it goes through the
//! HTTP client that the other services use. The server compares what it gets with the name, which
//! is its digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderValue, Method, Request};
use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, FileKind, Listed, SHORT_READ, Storage, TOO_LARGE};
use model::remote::Rest;
use object_store::client::{HttpError, HttpRequest, HttpResponse};
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};

use super::layout;
use super::refusal::fault;
use super::wait::wait;
use super::web::{SILENCE, Silent, Web, body};
use super::{Secret, bad_url};

/// The second version of listings: names with sizes.
const LIST_V2: &str = "application/vnd.x.restic.rest.v2";
/// Largest config file in bytes; restic's have less than 200, and the conformance suite's 400 KB.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Requests at once; as for S3.
const CONNECTIONS: usize = 12;

/// A repository on a server.
pub struct RestStorage {
    web: Web,
    location: String,
    /// The repository's URL, with a slash at its end.
    url: String,
    authorization: Option<HeaderValue>,
}

/// Opens a repository's place on a server.
pub fn open(spec: &Rest, location: String, secret: &Secret<'_>) -> Result<RestStorage, PortError> {
    let url = format!("{}/", spec.url.trim_end_matches('/'));
    let parsed: http::Uri = url.parse().map_err(|_| bad_url(&spec.url))?;
    if parsed.host().is_none() || parsed.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(bad_url("the REST server's"));
    }
    let authorization = match (&spec.user, &spec.password) {
        (Some(user), Some(password)) => {
            let pair = BASE64.encode(format!("{user}:{}", secret(password)?));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
                .map_err(|_| PortError::terminal("WrongCredentials", "the user is no text"))?;
            value.set_sensitive(true);
            Some(value)
        }
        _ => None,
    };
    Ok(RestStorage { web: Web::new(spec.ca_file.as_deref())?, location, url, authorization })
}

impl RestStorage {
    fn what(&self, doing: &str, kind: FileKind, name: &str) -> String {
        layout::what(doing, kind, name, &self.location)
    }

    fn file(&self, kind: FileKind, name: &str) -> Result<String, PortError> {
        let name = layout::checked(kind, name)?;
        Ok(match kind {
            FileKind::Config => format!("{}config", self.url),
            _ => format!("{}{}/{name}", self.url, kind.folder()),
        })
    }

    fn request(&self, method: Method, url: String) -> http::request::Builder {
        let request = Request::builder().method(method).uri(url);
        match &self.authorization {
            Some(value) => request.header("authorization", value.clone()),
            None => request,
        }
    }

    fn send(
        &self,
        request: http::request::Builder,
        data: Bytes,
        what: String,
    ) -> Result<HttpResponse, PortError> {
        let request: HttpRequest =
            request.body(data.into()).map_err(|error| fault(what.clone(), &error))?;
        let web = self.web.clone();
        wait(async move { web.send(request).await.map_err(|error| fault(what, &error)) })
    }

    fn get(&self, request: http::request::Builder, what: String, max: u64) -> Got {
        let request: HttpRequest =
            request.body(Bytes::new().into()).map_err(|error| fault(what.clone(), &error))?;
        let web = self.web.clone();
        wait(async move {
            let response = web.send(request).await.map_err(|error| fault(what.clone(), &error))?;
            let length = length(&response);
            if length.is_some_and(|length| length > max) {
                let length = length.unwrap_or(0);
                let message = format!("{what}: it has {length} bytes, more than {max}");
                return Err(PortError::terminal(TOO_LARGE, message));
            }
            let status = response.status().as_u16();
            let bytes = body(response, max).await.map_err(|error| fault(what.clone(), &error))?;
            Ok((status, bytes))
        })
    }
}

type Got = Result<(u16, Vec<u8>), PortError>;

fn length(response: &HttpResponse) -> Option<u64> {
    response.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

impl Storage for RestStorage {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn connections(&self) -> usize {
        CONNECTIONS
    }

    fn create(&self) -> Result<(), PortError> {
        let request = self.request(Method::POST, format!("{}?create=true", self.url));
        self.send(request, Bytes::new(), format!("cannot make {}", self.location)).map(|_| ())
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
        let request = self.request(Method::GET, format!("{}{}/", self.url, kind.folder()));
        let request = request.header("accept", LIST_V2);
        let response = self.send(request, Bytes::new(), what.clone())?;
        let version = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        if version != Some(LIST_V2) {
            return Err(PortError::terminal("NotSupported", what).with_hint(
                "a REST server that lists names with sizes is needed: rest-server 0.9.8",
            ));
        }
        listing(response, what, &mut |file| {
            if layout::checked(kind, &file.name).is_ok() { each(file) } else { Ok(()) }
        })
    }

    fn stat(&self, kind: FileKind, name: &str) -> Result<u64, PortError> {
        let what = self.what("look at", kind, name);
        let request = self.request(Method::HEAD, self.file(kind, name)?);
        let response = self.send(request, Bytes::new(), what.clone())?;
        length(&response)
            .ok_or_else(|| PortError::transient("ServerError", format!("{what}: no size is told")))
    }

    fn load(&self, kind: FileKind, name: &str, size_bytes_max: u64) -> Result<Vec<u8>, PortError> {
        let what = self.what("load", kind, name);
        let request = self.request(Method::GET, self.file(kind, name)?);
        let (_, bytes) = self.get(request, what.clone(), size_bytes_max)?;
        if bytes.len() as u64 > size_bytes_max {
            return Err(PortError::terminal(TOO_LARGE, what));
        }
        Ok(bytes)
    }

    fn load_range(
        &self,
        kind: FileKind,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), PortError> {
        let url = self.file(kind, name)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let what = self.what("read", kind, name);
        if kind == FileKind::Config {
            // The server sends this one whole only.
            let whole = self.load(kind, name, CONFIG_BYTES_MAX)?;
            let begin = usize::try_from(offset).ok();
            let part = begin.and_then(|at| whole.get(at..at.checked_add(buffer.len())?));
            let short = || PortError::terminal(SHORT_READ, format!("{what}: it ends too early"));
            buffer.copy_from_slice(part.ok_or_else(short)?);
            return Ok(());
        }
        let last = offset.saturating_add(buffer.len() as u64 - 1);
        let request =
            self.request(Method::GET, url).header("range", format!("bytes={offset}-{last}"));
        let (status, bytes) = self.get(request, what.clone(), buffer.len() as u64)?;
        if status != 206 {
            let message = format!("{what}: the server sent no part but the whole");
            return Err(PortError::terminal("NotSupported", message));
        }
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
        _sha256: &[u8; 32],
    ) -> Result<(), PortError> {
        let request = self.request(Method::POST, self.file(kind, name)?);
        let request = request.header("content-type", "application/octet-stream");
        let what = self.what("save", kind, name);
        match self.send(request, Bytes::copy_from_slice(data), what.clone()) {
            // The server says the same of a file that exists and of one that may not be made.
            Err(error) if error.reason == "PermissionDenied" => match self.stat(kind, name) {
                Ok(_) => Err(PortError::terminal(ALREADY_EXISTS, what)),
                Err(_) => Err(error),
            },
            done => done.map(|_| ()),
        }
    }

    fn delete(&self, kind: FileKind, name: &str) -> Result<(), PortError> {
        let request = self.request(Method::DELETE, self.file(kind, name)?);
        let done = self.send(request, Bytes::new(), self.what("delete", kind, name));
        done.map(|_| ()).map_err(|error| match error.reason {
            "PermissionDenied" => PortError::terminal("AppendOnly", error.message.clone())
                .with_hint("the server runs with --append-only, or this user may not delete")
                .with_source(error),
            _ => error,
        })
    }
}

/// A listing's bytes as they come, for a reader on this thread.
struct Coming {
    stream: Option<BoxStream<'static, Result<Bytes, HttpError>>>,
    part: Bytes,
    what: String,
    broken: Option<PortError>,
}

impl std::io::Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.part.is_empty() {
            let Some(mut stream) = self.stream.take() else { return Ok(0) };
            let what = self.what.clone();
            let next = wait(async move {
                match tokio::time::timeout(SILENCE, stream.next()).await {
                    Err(_) => Err(fault(what, &Silent)),
                    Ok(None) => Ok(None),
                    Ok(Some(Ok(part))) => Ok(Some((part, stream))),
                    Ok(Some(Err(error))) => Err(fault(what, &error)),
                }
            });
            match next {
                Ok(None) => return Ok(0),
                Ok(Some((part, stream))) => {
                    self.part = part;
                    self.stream = Some(stream);
                }
                Err(error) => {
                    self.broken = Some(error);
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        let count = buffer.len().min(self.part.len());
        buffer[..count].copy_from_slice(&self.part.split_to(count));
        Ok(count)
    }
}

/// One entry of a listing.
#[derive(Deserialize)]
struct Entry {
    name: String,
    size: u64,
}

/// Hands over entries while they are read: a listing of a million is never held whole.
struct Entries<'e> {
    each: &'e mut dyn FnMut(Listed) -> Result<(), PortError>,
    stopped: &'e mut Option<PortError>,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of files")
    }

    // An empty folder is `null` to some servers.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            let file = Listed { name: entry.name, size_bytes: entry.size };
            if let Err(error) = (self.each)(file) {
                *self.stopped = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

fn listing(
    response: HttpResponse,
    what: String,
    each: &mut dyn FnMut(Listed) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let stream = response.into_body().bytes_stream();
    let mut coming =
        Coming { stream: Some(stream), part: Bytes::new(), what: what.clone(), broken: None };
    let mut stopped = None;
    let reader = std::io::BufReader::new(&mut coming);
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = json.deserialize_any(Entries { each, stopped: &mut stopped });
    drop(json);
    match (stopped, coming.broken, read) {
        (Some(error), ..) | (None, Some(error), _) => Err(error),
        (None, None, Ok(())) => Ok(()),
        (None, None, Err(error)) => {
            Err(PortError::transient("ServerError", format!("{what}: the listing is no JSON"))
                .with_source(error))
        }
    }
}
