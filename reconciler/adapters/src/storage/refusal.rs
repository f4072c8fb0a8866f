//! Turns what a storage service said, or how a connection broke, into an error of the port: class,
//! reason, and how to mend it. No credential and no signed URL gets into one.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use model::error::PortError;
use model::ports::storage::{ALREADY_EXISTS, CHECKSUM_MISMATCH, NOT_FOUND, SHORT_READ};
use object_store::client::HttpError;

use super::web::{Refused, Silent};

/// Difference of clocks in seconds from which on services refuse signatures.
const SKEW_S_MAX: i64 = 5 * 60;

/// Returns the error for a failed request: `what` says which, such as `cannot save data/ab in …`.
pub fn fault(what: String, error: &(dyn Error + 'static)) -> PortError {
    let mut cause = Some(error);
    let mut deepest = error;
    while let Some(at) = cause {
        if let Some(refused) = at.downcast_ref::<Refused>() {
            return refusal(what, refused);
        }
        deepest = at;
        cause = at.source();
    }
    broken(what, error, deepest)
}

/// Returns the error of a connection that did not come up or broke.
fn broken(
    what: String,
    error: &(dyn Error + 'static),
    deepest: &(dyn Error + 'static),
) -> PortError {
    let text = deepest.to_string();
    let tls = ["certificate", "InvalidCertificate", "UnknownIssuer", "TLS", "HandshakeFailure"];
    if tls.iter().any(|word| text.contains(word)) {
        return PortError::terminal("TlsFailed", what)
            .with_hint(
                "the server's certificate must name this host, be valid today and be signed by \
                 an authority that this machine trusts; name a private authority with `caFile`",
            )
            .with_source(text);
    }
    if text.contains("invalid HTTP version") || text.contains("received corrupt message") {
        return PortError::terminal("NotHttp", what)
            .with_hint("another service answers on that port, or http:// and https:// are mixed up")
            .with_source(text);
    }
    if text.contains("dns error") || text.contains("failed to lookup address") {
        return PortError::transient("HostUnknown", what)
            .with_hint("the host's name does not resolve: check its spelling and the network")
            .with_source(text);
    }
    if deepest.is::<Silent>() {
        return PortError::transient("Timeout", what).with_source(Silent);
    }
    let kind = deepest.downcast_ref::<io::Error>().map(io::Error::kind);
    if kind == Some(io::ErrorKind::ConnectionRefused) {
        return PortError::transient("Unreachable", what)
            .with_hint("no service listens there: check the address and that it runs")
            .with_source(text);
    }
    if http_error(error) {
        return PortError::transient("ConnectionLost", what).with_source(text);
    }
    PortError::transient("StorageFailed", what).with_source(text)
}

fn http_error(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(at) = cause {
        if at.is::<HttpError>() || at.is::<reqwest::Error>() {
            return true;
        }
        cause = at.source();
    }
    false
}

/// What a refusal means.
enum Meaning {
    NotFound,
    NoBucket,
    Exists,
    ShortRead,
    Skew,
    Credentials,
    Permission,
    Region,
    Checksum,
    Archived,
    Full,
    Busy,
    Unsupported,
    Failed,
    Refused,
}

/// Returns what the service's own word means; `Refused` for one that is not known.
fn told(refused: &Refused) -> Meaning {
    match refused.code.as_str() {
        "NoSuchKey" | "BlobNotFound" => Meaning::NotFound,
        "NoSuchBucket" | "ContainerNotFound" => Meaning::NoBucket,
        "PreconditionFailed" | "ConditionNotMet" | "BlobAlreadyExists" => Meaning::Exists,
        "InvalidRange" => Meaning::ShortRead,
        "RequestTimeTooSkewed" | "RequestExpired" => Meaning::Skew,
        "InvalidAccessKeyId"
        // versitygw's word for a key that nobody has; it comes with 404.
        | "XAdminUserNotFound"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo" => Meaning::Credentials,
        // Of a wrong signature, where the word alone would be a matter of rights.
        "AuthorizationFailure" if refused.message.contains("failed to authenticate") => {
            Meaning::Credentials
        }
        "AccessDenied" | "AuthorizationPermissionMismatch" | "AuthorizationFailure" => {
            Meaning::Permission
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => Meaning::Region,
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "Md5Mismatch"
        | "InvalidDigest"
        | "IncompleteBody"
        | "XAmzContentChecksumMismatch" => Meaning::Checksum,
        "InvalidObjectState" | "BlobArchived" => Meaning::Archived,
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage" => Meaning::Full,
        "SlowDown"
        | "ServerBusy"
        | "ServiceUnavailable"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequests" => Meaning::Busy,
        "RequestTimeout"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "InternalError"
        | "OperationTimedOut" => Meaning::Failed,
        "NotImplemented" => Meaning::Unsupported,
        _ => Meaning::Refused,
    }
}

fn meaning(refused: &Refused) -> Meaning {
    let told = told(refused);
    if !matches!(told, Meaning::Refused) {
        return told;
    }
    let bucket = refused.message.contains("bucket does not exist");
    let digest = refused.message.to_ascii_lowercase().contains("md5 hash");
    match refused.status.as_u16() {
        404 if bucket => Meaning::NoBucket,
        // Google says `invalid` of this too.
        400 if digest => Meaning::Checksum,
        404 if refused.code == "notFound" => Meaning::NotFound,
        // Another word than the known ones may mean anything but that a file is not there, and what
        // is taken for an empty place is written to.
        404 if refused.code.is_empty() => Meaning::NotFound,
        412 => Meaning::Exists,
        416 => Meaning::ShortRead,
        301 | 307 | 308 => Meaning::Region,
        401 => Meaning::Credentials,
        403 => Meaning::Permission,
        408 | 409 | 425 => Meaning::Failed,
        413 | 507 => Meaning::Full,
        429 | 503 => Meaning::Busy,
        501 => Meaning::Unsupported,
        500..=599 => Meaning::Failed,
        _ => Meaning::Refused,
    }
}

/// Returns the error of an answer that is no success.
pub fn refusal(what: String, refused: &Refused) -> PortError {
    let now = Timestamp::now();
    let skewed = refused.skew_s(now).abs() > SKEW_S_MAX;
    let error = match meaning(refused) {
        Meaning::NotFound => PortError::terminal(NOT_FOUND, what),
        Meaning::Exists => PortError::terminal(ALREADY_EXISTS, what),
        Meaning::ShortRead => PortError::terminal(SHORT_READ, what),
        Meaning::NoBucket => PortError::terminal("NoSuchBucket", what)
            .with_hint("make the bucket (or container) first, or mend its name in the document"),
        Meaning::Skew | Meaning::Credentials | Meaning::Permission if skewed => {
            clock(what, refused)
        }
        Meaning::Skew => clock(what, refused),
        Meaning::Credentials => PortError::terminal("WrongCredentials", what).with_hint(
            "check the credentials: the secrets that the repository's document names, or the \
                 variables where there is no document",
        ),
        // The answer to a look at one file has no body, and so no word that would tell them apart.
        Meaning::Permission if refused.code.is_empty() => {
            PortError::terminal("PermissionDenied", what).with_hint(
                "these credentials are wrong, or they are known and may not do this there",
            )
        }
        Meaning::Permission => PortError::terminal("PermissionDenied", what)
            .with_hint("these credentials are known, and may not do this there"),
        Meaning::Region => region(what, refused),
        Meaning::Checksum => PortError::transient(CHECKSUM_MISMATCH, what)
            .with_hint("bytes changed on their way: a faulty network, proxy or memory"),
        Meaning::Archived => PortError::terminal("Archived", what)
            .with_hint("the object must be thawed; use a storage class that is read at once"),
        Meaning::Full => {
            PortError::transient("DiskFull", what).with_hint("free space there, or raise the quota")
        }
        Meaning::Busy => PortError::transient("SlowDown", what),
        Meaning::Unsupported => PortError::terminal("NotSupported", what),
        Meaning::Failed => PortError::transient("ServerError", what),
        Meaning::Refused => PortError::terminal("Refused", what),
    };
    let error = match refused.retry_after {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    error.with_source(refused.clone())
}

fn clock(what: String, refused: &Refused) -> PortError {
    let server = refused.date.map_or_else(|| "another time".to_owned(), |date| date.to_string());
    PortError::terminal("ClockSkew", what).with_hint(format!(
        "the server's clock says {server}, this machine's {}: set the one that is wrong",
        Timestamp::now().round(jiff::Unit::Second).unwrap_or_default()
    ))
}

fn region(what: String, refused: &Refused) -> PortError {
    let hint = match &refused.region {
        Some(region) => format!("write `region: {region}` into the document"),
        None => "write the bucket's own region and endpoint into the document".to_owned(),
    };
    PortError::terminal("WrongRegion", what).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use model::error::ErrorClass::{self, Terminal, Transient};

    use super::*;

    fn of(status: u16, code: &str) -> PortError {
        let body = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        let status = StatusCode::from_u16(status).unwrap();
        refusal("cannot do".to_owned(), &Refused::new(status, &HeaderMap::new(), &body))
    }

    #[test]
    fn each_refusal_has_its_reason_and_class() {
        let table: &[(u16, &str, &str, ErrorClass)] = &[
            (404, "NoSuchKey", NOT_FOUND, Terminal),
            (404, "", NOT_FOUND, Terminal),
            (404, "NoSuchBucket", "NoSuchBucket", Terminal),
            (412, "PreconditionFailed", ALREADY_EXISTS, Terminal),
            (409, "BlobAlreadyExists", ALREADY_EXISTS, Terminal),
            (409, "ConditionalRequestConflict", "ServerError", Transient),
            (416, "InvalidRange", SHORT_READ, Terminal),
            (403, "RequestTimeTooSkewed", "ClockSkew", Terminal),
            (403, "SignatureDoesNotMatch", "WrongCredentials", Terminal),
            (403, "AccessDenied", "PermissionDenied", Terminal),
            (401, "", "WrongCredentials", Terminal),
            (404, "XAdminUserNotFound", "WrongCredentials", Terminal),
            (404, "SomethingElse", "Refused", Terminal),
            (301, "PermanentRedirect", "WrongRegion", Terminal),
            (400, "BadDigest", CHECKSUM_MISMATCH, Transient),
            (507, "", "DiskFull", Transient),
            (503, "SlowDown", "SlowDown", Transient),
            (429, "", "SlowDown", Transient),
            (500, "InternalError", "ServerError", Transient),
            (502, "", "ServerError", Transient),
            (501, "NotImplemented", "NotSupported", Terminal),
            (400, "MalformedXML", "Refused", Terminal),
        ];
        for (status, code, reason, class) in table {
            let error = of(*status, code);
            assert_eq!((error.reason, error.class), (*reason, *class), "{status} {code}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_from_wrong_keys() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sat, 21 Nov 2020 15:01:30 GMT".parse().unwrap());
        let refused = Refused::new(StatusCode::FORBIDDEN, &headers, "");
        let error = refusal("cannot do".to_owned(), &refused);
        assert_eq!(error.reason, "ClockSkew");
        assert!(error.hint.unwrap().contains("2020-11-21T15:01:30Z"));
    }
}
