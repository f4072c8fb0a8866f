//! The one HTTP client of all storages, and what an answer that is no success says. object_store
//! sends its requests through it too, so that every refusal arrives in one shape.

use std::error::Error;
use std::fmt;
use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use model::error::PortError;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

use crate::fault;

/// Longest time for a connection to come up, its TLS included.
const CONNECT_S: u64 = 30;
/// Longest silence of a server that has something to say.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Slowest upload in bytes a second that is not taken for a dead one.
const SLOWEST_BYTES_PER_S: u64 = 16 << 10;
/// Most that is read of an answer that tells of an error.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Longest message of a server that is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// The client.
#[derive(Clone, Debug)]
pub struct Web {
    client: reqwest::Client,
}

/// An answer that is no success.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its status.
    pub status: StatusCode,
    /// The service's word for it; empty where it said none.
    pub code: String,
    /// The service's sentence about it; may be empty.
    pub message: String,
    /// How long to leave the service alone.
    pub retry_after: Option<Duration>,
    /// The server's clock.
    pub date: Option<Timestamp>,
    /// The region that the service says to be right.
    pub region: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status.as_u16())?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Error for Refused {}

/// The server said nothing for too long.
#[derive(Debug)]
pub struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server said nothing for too long")
    }
}

impl Error for Silent {}

impl Web {
    /// Makes a client that trusts the system's certificates and, if named, those of a file.
    pub fn new(ca_file: Option<&str>) -> Result<Self, PortError> {
        let mut builder = reqwest::Client::builder()
            // A redirect would send credentials and data to whom the documents do not name.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(CONNECT_S))
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(SILENCE)
            // One connection a request at once: with HTTP/2 all would share one TCP window.
            .http1_only()
            .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca_file {
            let path = std::path::Path::new(file);
            let pem = fs::read(path).map_err(|e| fault::path("read", path, e))?;
            let bad = |e| {
                PortError::terminal("BadCertificate", format!("{file} holds no certificates"))
                    .with_hint("the file must be PEM, with one or more CERTIFICATE blocks")
                    .with_source(e)
            };
            let all = reqwest::Certificate::from_pem_bundle(&pem).map_err(bad)?;
            if all.is_empty() {
                return Err(PortError::terminal(
                    "BadCertificate",
                    format!("{file} holds no certificates"),
                ));
            }
            for certificate in all {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|e| {
            PortError::terminal("NoTls", "the TLS client could not be set up").with_source(e)
        })?;
        Ok(Self { client })
    }

    /// Sends a request; an answer that is no success is an error that holds a [`Refused`].
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let bytes = request.body().content_length() as u64;
        let limit = SILENCE + Duration::from_secs(bytes / SLOWEST_BYTES_PER_S);
        let call = HttpService::call(&self.client, request);
        let silent = |_| HttpError::new(HttpErrorKind::Timeout, Silent);
        let response = tokio::time::timeout(limit, call).await.map_err(silent)??;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(HttpError::new(HttpErrorKind::Unknown, refused(response).await))
    }
}

/// Reads the beginning of an answer's body; what breaks off is as good as its end.
async fn text(response: HttpResponse) -> String {
    let mut stream = response.into_body().bytes_stream();
    let mut bytes = Vec::new();
    while let Ok(Some(Ok(part))) = tokio::time::timeout(SILENCE, stream.next()).await {
        bytes.extend_from_slice(&part);
        if bytes.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn refused(response: HttpResponse) -> Refused {
    let status = response.status();
    let headers = response.headers().clone();
    let body = text(response).await;
    Refused::new(status, &headers, &body)
}

impl Refused {
    /// Reads an answer that is no success: XML of S3 and Azure, JSON of Google, or plain text.
    pub fn new(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let json = google(body);
        let mut code = element(body, "Code").or(json.0).unwrap_or_default();
        if code.is_empty() {
            code = header("x-ms-error-code").unwrap_or_default().to_owned();
        }
        let message =
            element(body, "Message").or(json.1).unwrap_or_else(|| match body.trim_start() {
                // A page of a proxy says nothing to whoever reads a log.
                page if page.starts_with('<') => String::new(),
                text => text.to_owned(),
            });
        let now = Timestamp::now();
        Self {
            status,
            code: clean(&code),
            message: clean(&message),
            retry_after: header("retry-after").and_then(|text| retry_after(text, now)),
            date: header("date").and_then(http_date),
            region: element(body, "Region")
                .or_else(|| header("x-amz-bucket-region").map(str::to_owned)),
        }
    }

    /// Returns by how much the server's clock differs from ours, in seconds.
    pub fn skew_s(&self, now: Timestamp) -> i64 {
        self.date.map_or(0, |date| date.as_second() - now.as_second())
    }
}

/// Returns the word and the sentence of an error in Google's JSON.
fn google(body: &str) -> (Option<String>, Option<String>) {
    let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else { return (None, None) };
    let text = |pointer| body.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
    (text("/error/errors/0/reason"), text("/error/message"))
}

/// Returns the text of an XML element, with the five entities of XML resolved.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let rest = &xml[xml.find(&format!("<{name}>"))? + name.len() + 2..];
    let text = &rest[..rest.find(&format!("</{name}>"))?];
    let plain = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    Some(plain)
}

/// Returns a server's text as one line of bounded length without control characters.
fn clean(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > MESSAGE_CHARS_MAX {
        line = line.chars().take(MESSAGE_CHARS_MAX).chain(['…']).collect();
    }
    line
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(zoned.timestamp())
}

/// Reads `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let seconds = http_date(text)?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[async_trait]
impl HttpService for Web {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.send(request).await
    }
}

impl HttpConnector for Web {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Reads a body to its end, or a little beyond `size_bytes_max`, never silent for too long.
pub async fn body(response: HttpResponse, size_bytes_max: u64) -> Result<Vec<u8>, HttpError> {
    let mut stream = response.into_body().bytes_stream();
    let mut bytes = Vec::new();
    loop {
        let part = tokio::time::timeout(SILENCE, stream.next()).await;
        match part.map_err(|_| HttpError::new(HttpErrorKind::Timeout, Silent))? {
            None => return Ok(bytes),
            Some(part) => bytes.extend_from_slice(&part?),
        }
        if bytes.len() as u64 > size_bytes_max {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Refused {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Refused::new(StatusCode::from_u16(status).unwrap(), &map, body)
    }

    #[test]
    fn answers_of_each_service_are_read() {
        let s3 = "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code>\
                  <Message>Reduce your\n &quot;rate&quot;</Message></Error>";
        let s3 = answer(503, &[("retry-after", "7")], s3);
        assert_eq!(s3.to_string(), "the server answered 503 SlowDown: Reduce your \"rate\"");
        assert_eq!(s3.retry_after, Some(Duration::from_secs(7)));
        let azure = answer(404, &[("x-ms-error-code", "ContainerNotFound")], "");
        assert_eq!(azure.to_string(), "the server answered 404 ContainerNotFound");
        let google = r#"{"error":{"code":412,"message":"At least one.","errors":[
            {"message":"At least one.","reason":"conditionNotMet"}]}}"#;
        let google = answer(412, &[], google);
        assert_eq!(google.to_string(), "the server answered 412 conditionNotMet: At least one.");
        let plain = answer(403, &[], "no\n");
        assert_eq!(plain.to_string(), "the server answered 403: no");
        let proxy = answer(502, &[], "<html><body>Bad Gateway</body></html>");
        assert_eq!(proxy.to_string(), "the server answered 502");
        let long = answer(500, &[], &"x".repeat(5000));
        assert!(long.message.chars().count() <= MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn a_date_to_come_back_at_is_read() {
        let now: Timestamp = "2026-11-21T15:00:00Z".parse().unwrap();
        let at = "Sat, 21 Nov 2026 15:01:30 GMT";
        assert_eq!(retry_after(at, now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 14:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        let skewed = answer(403, &[("date", at)], "");
        assert_eq!(skewed.skew_s(now), 90);
    }
}
