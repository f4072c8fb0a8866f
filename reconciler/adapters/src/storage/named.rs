//! Storage by restic's own names for it (`s3:https://host/bucket/prefix`, …), for hand tools
//! that know no documents. Credentials come from the variables that restic reads.

use model::agent::SecretRef;
use model::desired::StorageSpec;
use model::error::PortError;
use model::ports::secrets::{SecretValue, Secrets};
use model::remote::{Azure, BucketStyle, Gcs, Remote, Rest, S3, Service, Sftp, StorageLimits};

/// What the environment says of a variable.
pub type Variables<'v> = dyn Fn(&str) -> Option<String> + Send + Sync + 'v;

/// Resolves references that are names of environment variables, as [`parse`] makes them.
pub struct FromEnvironment<F>(pub F);

impl<F: Fn(&str) -> Option<String> + Send + Sync> Secrets for FromEnvironment<F> {
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError> {
        if secret.0 == GOOGLE_KEY_FILE {
            return key_file((self.0)(&secret.0));
        }
        match (self.0)(&secret.0) {
            Some(value) => Ok(SecretValue::new(value.into_bytes())),
            None => Err(PortError::terminal(
                "SecretMissing",
                format!("the environment variable {} is not set", secret.0),
            )),
        }
    }
}

/// The variable of restic's that names certificates to trust.
const CA_FILE: &str = "RESTIC_CACERT";
/// The variable of restic's that names a file with a key, where others hold the key itself.
const GOOGLE_KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

fn key_file(path: Option<String>) -> Result<SecretValue, PortError> {
    let read = |path: &str| std::fs::read(path).map(SecretValue::new);
    let path = path.unwrap_or_default();
    read(&path).map_err(|error| {
        PortError::terminal("SecretMissing", format!("{GOOGLE_KEY_FILE} names {path:?}"))
            .with_source(error)
    })
}

fn bad(shape: &str) -> PortError {
    PortError::terminal("BadLocation", "this names no storage".to_owned())
        .with_hint(format!("write it as restic does: {shape}"))
}

/// Whether a name with a colon can mean nothing but a folder.
fn is_path(name: &str) -> bool {
    ["/", "./", "../"].iter().any(|begin| name.starts_with(begin))
}

/// Refuses what names no service that is known. Only the word before the colon is repeated: there
/// may be a password behind it.
fn unknown(scheme: &str) -> PortError {
    let hint = match scheme {
        "http" | "https" => {
            "for a bucket write s3:https://host/bucket/prefix, for restic's REST server \
             rest:https://host/path"
        }
        _ => {
            "supported are s3:, gs:, azure:, sftp:, rest: and folders; a folder with a colon in \
             its name is meant by local:PATH"
        }
    };
    PortError::terminal("BadLocation", format!("`{scheme}:` names no storage")).with_hint(hint)
}

/// Reads a name; one without a colon is a path, which `absolute` makes absolute.
pub fn parse(
    name: &str,
    variables: &Variables<'_>,
    absolute: impl FnOnce(&str) -> Result<String, PortError>,
) -> Result<StorageSpec, PortError> {
    let service = match name.split_once(':') {
        Some(("s3", rest)) => Service::S3(s3(rest, variables)?),
        Some(("gs", rest)) => Service::Gcs(gcs(rest, variables)?),
        Some(("azure", rest)) => Service::Azure(azure(rest, variables)?),
        Some(("sftp", rest)) => Service::Sftp(sftp(rest)?),
        Some(("rest", rest)) => Service::Rest(rest_server(rest, variables)?),
        Some(("local", rest)) => return local(rest, absolute),
        // Else such a name would make a folder here, and nobody would see that nothing went there.
        Some((scheme @ ("b2" | "swift" | "rclone"), _)) => {
            return Err(PortError::terminal(
                "NotSupported",
                format!("restic's `{scheme}:` storage is not supported"),
            )
            .with_hint(
                "supported are s3:, gs:, azure:, sftp:, rest: and folders; a folder of such a name \
                 is meant by local:PATH",
            ));
        }
        // restic's own rule, and for the same reason.
        Some((scheme, _)) if !is_path(name) => return Err(unknown(scheme)),
        _ => return local(name, absolute),
    };
    let limits = StorageLimits::default();
    Ok(StorageSpec::Remote(Box::new(Remote { service, limits })))
}

fn local(
    path: &str,
    absolute: impl FnOnce(&str) -> Result<String, PortError>,
) -> Result<StorageSpec, PortError> {
    Ok(StorageSpec::Local { path: absolute(path)?, mount_point: false })
}

/// Returns a reference to a variable that is set.
fn set(name: &str, variables: &Variables<'_>) -> Option<SecretRef> {
    variables(name).map(|_| SecretRef(name.to_owned()))
}

/// Returns a path in a bucket without slashes at its ends; `None` for what no URL says as it is.
fn prefix(text: &str) -> Option<String> {
    let text = text.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let nowhere = |part: &str| matches!(part, "" | "." | "..");
    let fits = text.is_empty() || (text.bytes().all(plain) && !text.split('/').any(nowhere));
    fits.then(|| text.to_owned())
}

/// Whether a text can name a bucket or a container.
fn is_name(text: &str) -> bool {
    !text.contains('/') && prefix(text).is_some_and(|name| !name.is_empty())
}

fn s3(rest: &str, variables: &Variables<'_>) -> Result<S3, PortError> {
    const SHAPE: &str = "s3:https://host/bucket/prefix";
    let (scheme, rest) = match rest.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(bad(SHAPE)),
        None => ("https", rest.trim_start_matches('/')),
    };
    let (host, path) = rest.split_once('/').ok_or_else(|| bad(SHAPE))?;
    let (bucket, below) = path.split_once('/').unwrap_or((path, ""));
    if host.is_empty() || host.contains('@') || !is_name(bucket) {
        return Err(bad(SHAPE));
    }
    let amazon = host == "s3.amazonaws.com";
    Ok(S3 {
        endpoint: (!amazon).then(|| format!("{scheme}://{host}")),
        region: variables("AWS_DEFAULT_REGION").or_else(|| variables("AWS_REGION")),
        bucket: bucket.to_owned(),
        prefix: prefix(below).ok_or_else(|| bad(SHAPE))?,
        style: BucketStyle::Path,
        access_key: set("AWS_ACCESS_KEY_ID", variables),
        secret_key: set("AWS_SECRET_ACCESS_KEY", variables),
        session_token: set("AWS_SESSION_TOKEN", variables),
        storage_class: None,
        object_lock: None,
        ca_file: variables(CA_FILE),
    })
}

/// Splits `bucket:/prefix`.
fn bucket(rest: &str, shape: &str) -> Result<(String, String), PortError> {
    let (bucket, below) = rest.split_once(':').ok_or_else(|| bad(shape))?;
    match prefix(below) {
        Some(prefix) if is_name(bucket) => Ok((bucket.to_owned(), prefix)),
        _ => Err(bad(shape)),
    }
}

fn gcs(rest: &str, variables: &Variables<'_>) -> Result<Gcs, PortError> {
    let (bucket, prefix) = bucket(rest, "gs:bucket:/prefix")?;
    // Google's own libraries, restic's among them, take this for another address of the service.
    let host = variables("STORAGE_EMULATOR_HOST");
    let endpoint =
        host.map(|host| if host.contains("://") { host } else { format!("http://{host}") });
    Ok(Gcs {
        endpoint,
        bucket,
        prefix,
        service_account: set(GOOGLE_KEY_FILE, variables),
        access_token: set("GOOGLE_ACCESS_TOKEN", variables),
        ca_file: variables(CA_FILE),
    })
}

fn azure(rest: &str, variables: &Variables<'_>) -> Result<Azure, PortError> {
    let (container, prefix) = bucket(rest, "azure:container:/prefix")?;
    let account = variables("AZURE_ACCOUNT_NAME").ok_or_else(|| {
        PortError::terminal("BadLocation", "the environment names no account of Azure")
            .with_hint("set AZURE_ACCOUNT_NAME, and AZURE_ACCOUNT_KEY or AZURE_ACCOUNT_SAS")
    })?;
    let suffix = variables("AZURE_ENDPOINT_SUFFIX");
    Ok(Azure {
        endpoint: suffix.map(|suffix| format!("https://{account}.blob.{suffix}")),
        account,
        container,
        prefix,
        key: set("AZURE_ACCOUNT_KEY", variables),
        sas: set("AZURE_ACCOUNT_SAS", variables),
        ca_file: variables(CA_FILE),
    })
}

fn sftp(rest: &str) -> Result<Sftp, PortError> {
    const SHAPE: &str = "sftp:user@host:/path or sftp://user@host:port/path";
    let (user, host, port, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (place, path) = rest.split_once('/').ok_or_else(|| bad(SHAPE))?;
            let (user, place) = user_of(place);
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().map_err(|_| bad(SHAPE))?)),
                None => (place, None),
            };
            (user, host, port, path)
        }
        None => {
            let (place, path) = rest.split_once(':').ok_or_else(|| bad(SHAPE))?;
            let (user, host) = user_of(place);
            (user, host, None, path)
        }
    };
    if host.is_empty() || host.starts_with('-') || path.is_empty() {
        return Err(bad(SHAPE));
    }
    Ok(Sftp {
        host: host.to_owned(),
        port,
        user: user.map(str::to_owned),
        path: path.to_owned(),
        identity_file: None,
        known_hosts: None,
        config_file: None,
    })
}

fn user_of(place: &str) -> (Option<&str>, &str) {
    match place.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, place),
    }
}

fn rest_server(rest: &str, variables: &Variables<'_>) -> Result<Rest, PortError> {
    const SHAPE: &str = "rest:https://host:8000/path, with RESTIC_REST_USERNAME and \
                         RESTIC_REST_PASSWORD in the environment";
    let (scheme, place) = rest.split_once("://").ok_or_else(|| bad(SHAPE))?;
    let authority = place.split('/').next().unwrap_or_default();
    let strange = |c: char| !c.is_ascii_graphic() || "?#\\".contains(c);
    if !matches!(scheme, "http" | "https")
        || authority.is_empty()
        || authority.contains('@')
        || place.contains(strange)
    {
        return Err(bad(SHAPE));
    }
    Ok(Rest {
        url: rest.to_owned(),
        user: variables("RESTIC_REST_USERNAME"),
        password: set("RESTIC_REST_PASSWORD", variables),
        ca_file: variables(CA_FILE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "AWS_ACCESS_KEY_ID" | "AZURE_ACCOUNT_KEY" => Some("x".to_owned()),
            "AZURE_ACCOUNT_NAME" => Some("acme".to_owned()),
            _ => None,
        }
    }

    fn read(name: &str) -> Result<StorageSpec, PortError> {
        parse(name, &variables, |path| Ok(format!("/abs/{path}")))
    }

    #[test]
    fn restics_names_are_read_and_said_again() {
        for name in [
            "s3:http://localhost:9000/backups/a/b",
            "gs:backups:/a/b",
            "azure:backups:/a",
            "sftp:me@nas:/srv/a",
            "sftp:nas:a/b",
            "rest:https://host:8000/a/",
        ] {
            assert_eq!(read(name).unwrap().location(), name);
        }
        let amazon = read("s3:s3.amazonaws.com/backups").unwrap();
        assert_eq!(amazon.location(), "s3:s3.amazonaws.com/backups");
        let local = StorageSpec::Local { path: "/abs/srv".to_owned(), mount_point: false };
        assert_eq!(read("srv").unwrap(), local);
        assert_eq!(read("local:srv").unwrap(), local);
        let StorageSpec::Remote(nas) = read("sftp://me@nas:2222//srv/a").unwrap() else { panic!() };
        let Service::Sftp(nas) = nas.service else { panic!() };
        assert_eq!((nas.port, nas.path.as_str()), (Some(2222), "/srv/a"));
    }

    #[test]
    fn restics_other_services_are_refused_and_no_folder_is_made() {
        for name in ["b2:backups:a", "swift:backups:/a", "rclone:there:a"] {
            assert_eq!(read(name).unwrap_err().reason, "NotSupported", "{name}");
        }
        assert_eq!(read("local:gs:a").unwrap().location(), "/abs/gs:a");
    }

    #[test]
    fn a_slip_of_the_pen_makes_no_folder() {
        let hint = |name: &str| {
            let error = read(name).unwrap_err();
            assert_eq!(error.reason, "BadLocation", "{name}");
            let said = format!("{} {}", error.chain(), error.hint.unwrap_or_default());
            assert!(!said.contains("hunter2"), "{said}");
            said
        };
        assert!(hint("https://me:hunter2@host/backups").contains("rest:https://host/path"));
        for name in ["S3:https://host/b", "gcs:backups:/a", "s3//host:9000/hunter2", "me@nas:/srv"]
        {
            assert!(hint(name).contains("supported are s3:"), "{name}");
        }
        for name in ["/srv/a:b", "./a:b", "../a:b"] {
            assert_eq!(read(name).unwrap().location(), format!("/abs/{name}"));
        }
    }

    #[test]
    fn what_names_nothing_is_refused_and_not_repeated() {
        for name in [
            "s3:host",
            "s3:ftp://host/b",
            "s3:https://host/b/a b",
            "s3:https://host/b/../c",
            "s3:https://host/b?acl",
            "gs:backups",
            "azure::/a",
            "azure:a/b:/a",
            "sftp:nas",
            "sftp:-oProxyCommand=x:/a",
            "rest:host/a",
            "rest:https://host/a?b",
            "rest:https://me:hunter2@host/a",
        ] {
            let error = read(name).unwrap_err();
            assert_eq!(error.reason, "BadLocation", "{name}");
            let said = format!("{} {}", error.chain(), error.hint.unwrap_or_default());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
