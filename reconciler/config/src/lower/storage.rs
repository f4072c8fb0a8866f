//! Lowers where a repository lies: one place, whole, and with credentials that belong together.

use model::agent::SecretRef;
use model::desired::StorageSpec;
use model::remote::{
    Azure, BucketStyle, Gcs, LockMode, ObjectLock, Remote, Rest, S3, Service, Sftp, StorageLimits,
};

use crate::diagnostics as d;
use crate::documents::{
    AzureStorageSpec, BucketStyleSpec, GcsStorageSpec, LimitsSpec, LockModeSpec, ObjectLockSpec,
    RestStorageSpec, S3StorageSpec, SecretSpec, SftpStorageSpec,
};
use crate::lower::{At, Lowering, text};
use crate::units;

/// Longest name of a bucket, container, host or user.
const NAME_BYTES_MAX: usize = 253;
/// Longest prefix: services take keys of 1024 bytes, and a file's name is below 80.
const PREFIX_BYTES_MAX: usize = 900;
/// Classes whose objects must be thawed before they are read.
const CLASSES_FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Why a name of a bucket, container, account, host, user or class cannot be one.
fn name_flaw(name: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match name {
        "" => Some("is empty"),
        _ if name.len() > NAME_BYTES_MAX => Some("is too long"),
        _ if name.starts_with(['-', '.']) => Some("begins with a `-` or a `.`"),
        _ if name.contains("..") => Some("has two dots in a row"),
        _ if !name.bytes().all(plain) => Some("has other characters than a-z, 0-9, `-`, `_`, `.`"),
        _ => None,
    }
}

fn host_flaw(host: &str) -> Option<&'static str> {
    // An address of IPv6 has colons, and its zone a `%`.
    let plain: String = host.chars().map(|c| if ":%".contains(c) { 'x' } else { c }).collect();
    name_flaw(&plain)
}

fn prefix_flaw(prefix: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    match prefix {
        "" => None,
        _ if prefix.len() > PREFIX_BYTES_MAX => Some("is too long"),
        _ if prefix.starts_with('/') || prefix.ends_with('/') => Some("begins or ends with `/`"),
        _ if !prefix.bytes().all(plain) => {
            Some("has other characters than a-z, 0-9, `-`, `_`, `.` and `/`")
        }
        _ if prefix.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            Some("has a part that is empty or goes nowhere or back")
        }
        _ => None,
    }
}

fn url_flaw(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else { return Some("begins with no http:// or https://") };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    match authority {
        "" => Some("names no host"),
        _ if authority.contains('@') => Some("holds a user or a password"),
        _ if url.contains(['?', '#']) => Some("has a query or a fragment"),
        _ if !url.bytes().all(plain) => Some("has characters that no URL has"),
        _ if path.split('/').any(|part| matches!(part, "." | "..")) => {
            Some("has a part that goes nowhere or back")
        }
        _ => None,
    }
}

/// Whether what is sent to a URL may be read on its way.
fn is_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let local = ["localhost", "127.", "[::1]"];
    !local.iter().any(|name| host.starts_with(name))
}

const HELP_NAME: &str = "write the name as the service shows it";
const HELP_PREFIX: &str = "write a path such as `mainstay/prod`, or leave it away";
const HELP_URL: &str = "write a URL such as `https://host:port`, without user and password";

impl Lowering<'_> {
    /// Lowers the place of a repository; `None` when there is none or are several.
    pub(super) fn storage(
        &mut self,
        at: &At<'_>,
        spec: &crate::documents::StorageSpec,
    ) -> Option<StorageSpec> {
        let services = [
            spec.s3.as_ref().map(|s3| self.s3(&at.at("s3"), s3)),
            spec.gcs.as_ref().map(|gcs| self.gcs(&at.at("gcs"), gcs)),
            spec.azure.as_ref().map(|azure| self.azure(&at.at("azure"), azure)),
            spec.sftp.as_ref().map(|sftp| self.sftp(&at.at("sftp"), sftp)),
            spec.rest.as_ref().map(|rest| self.rest(&at.at("rest"), rest)),
        ];
        let mut services: Vec<Service> = services.into_iter().flatten().collect();
        let count = services.len() + usize::from(spec.local.is_some());
        if count != 1 {
            self.found.push(d::storage_choice(at.place_key(), count));
            return None;
        }
        let limits = self.limits(&at.at("limits"), &spec.limits);
        if let Some(service) = services.pop() {
            return Some(StorageSpec::Remote(Box::new(Remote { service, limits })));
        }
        let local = spec.local.as_ref()?;
        if limits != StorageLimits::default() {
            let at = at.at("limits");
            let found = d::storage_limits(at.place_key(), &at.name(), "limits no folder");
            self.found.push(found);
        }
        if let Err(why) = text::check_path(&local.path) {
            let at = at.at("local").at("path");
            self.found.push(d::path_invalid(at.place(), &at.name(), &local.path, why));
        }
        Some(StorageSpec::Local { path: local.path.clone(), mount_point: local.mount_point })
    }

    fn s3(&mut self, at: &At<'_>, spec: &S3StorageSpec) -> Service {
        self.url(&at.at("endpoint"), spec.endpoint.as_deref(), spec.access_key.is_some());
        self.flaw(&at.at("bucket"), Some(&spec.bucket), name_flaw, HELP_NAME);
        self.flaw(&at.at("region"), spec.region.as_deref(), name_flaw, HELP_NAME);
        self.flaw(&at.at("prefix"), Some(&spec.prefix), prefix_flaw, HELP_PREFIX);
        let class = at.at("storageClass");
        self.flaw(&class, spec.storage_class.as_deref(), name_flaw, HELP_NAME);
        if let Some(frozen) =
            spec.storage_class.as_deref().filter(|class| CLASSES_FROZEN.contains(class))
        {
            let why = "must be thawed before it is read";
            let help = "use a class that is read at once, such as `GLACIER_IR`";
            let found = d::storage_invalid(class.place(), &class.name(), frozen, why, help);
            self.found.push(found);
        }
        if spec.access_key.is_some() != spec.secret_key.is_some() {
            let why = "has one of `accessKey` and `secretKey` without the other";
            self.found.push(d::storage_credentials(at.place_key(), &at.name(), why));
        }
        if spec.session_token.is_some() && spec.access_key.is_none() {
            let why = "has a `sessionToken` without its keys";
            self.found.push(d::storage_credentials(at.place_key(), &at.name(), why));
        }
        let lock = spec.object_lock.as_ref();
        Service::S3(S3 {
            endpoint: spec.endpoint.clone(),
            region: spec.region.clone(),
            bucket: spec.bucket.clone(),
            prefix: spec.prefix.clone(),
            style: match spec.style {
                Some(BucketStyleSpec::Host) => BucketStyle::Host,
                Some(BucketStyleSpec::Path) | None => BucketStyle::Path,
            },
            access_key: self.credential(&at.at("accessKey"), spec.access_key.as_ref()),
            secret_key: self.credential(&at.at("secretKey"), spec.secret_key.as_ref()),
            session_token: self.credential(&at.at("sessionToken"), spec.session_token.as_ref()),
            storage_class: spec.storage_class.clone(),
            object_lock: lock.map(|lock| self.object_lock(&at.at("objectLock"), lock)),
            ca_file: self.file(&at.at("caFile"), spec.ca_file.as_ref()),
        })
    }

    fn object_lock(&mut self, at: &At<'_>, spec: &ObjectLockSpec) -> ObjectLock {
        let mode = spec.mode.map(|mode| match mode {
            LockModeSpec::Governance => LockMode::Governance,
            LockModeSpec::Compliance => LockMode::Compliance,
        });
        let seconds = spec.retain.as_ref().and_then(|text| {
            let at = at.at("retain");
            text::duration_some(at.place(), &at.name(), text, &mut self.found)
        });
        let flaw = match (spec.mode, &spec.retain) {
            (Some(_), None) => Some("has a `mode` and no `retain`"),
            (None, Some(_)) => Some("has `retain` and no `mode`"),
            (None, None) if !spec.legal_hold => Some("locks nothing"),
            _ => None,
        };
        if let Some(why) = flaw {
            self.found.push(d::storage_object_lock(at.place_key(), why));
        }
        ObjectLock { retain: mode.zip(seconds), legal_hold: spec.legal_hold }
    }

    fn gcs(&mut self, at: &At<'_>, spec: &GcsStorageSpec) -> Service {
        // A machine's identity is sent as a token too.
        self.url(&at.at("endpoint"), spec.endpoint.as_deref(), true);
        self.flaw(&at.at("bucket"), Some(&spec.bucket), name_flaw, HELP_NAME);
        self.flaw(&at.at("prefix"), Some(&spec.prefix), prefix_flaw, HELP_PREFIX);
        if spec.service_account.is_some() && spec.access_token.is_some() {
            let why = "has both a `serviceAccount` and an `accessToken`";
            self.found.push(d::storage_credentials(at.place_key(), &at.name(), why));
        }
        Service::Gcs(Gcs {
            endpoint: spec.endpoint.clone(),
            bucket: spec.bucket.clone(),
            prefix: spec.prefix.clone(),
            service_account: self
                .credential(&at.at("serviceAccount"), spec.service_account.as_ref()),
            access_token: self.credential(&at.at("accessToken"), spec.access_token.as_ref()),
            ca_file: self.file(&at.at("caFile"), spec.ca_file.as_ref()),
        })
    }

    fn azure(&mut self, at: &At<'_>, spec: &AzureStorageSpec) -> Service {
        // A signature is a credential in itself; a key only signs.
        self.url(&at.at("endpoint"), spec.endpoint.as_deref(), spec.sas.is_some());
        self.flaw(&at.at("account"), Some(&spec.account), name_flaw, HELP_NAME);
        self.flaw(&at.at("container"), Some(&spec.container), name_flaw, HELP_NAME);
        self.flaw(&at.at("prefix"), Some(&spec.prefix), prefix_flaw, HELP_PREFIX);
        if spec.key.is_some() && spec.sas.is_some() {
            let why = "has both a `key` and a `sas`";
            self.found.push(d::storage_credentials(at.place_key(), &at.name(), why));
        }
        Service::Azure(Azure {
            endpoint: spec.endpoint.clone(),
            account: spec.account.clone(),
            container: spec.container.clone(),
            prefix: spec.prefix.clone(),
            key: self.credential(&at.at("key"), spec.key.as_ref()),
            sas: self.credential(&at.at("sas"), spec.sas.as_ref()),
            ca_file: self.file(&at.at("caFile"), spec.ca_file.as_ref()),
        })
    }

    fn sftp(&mut self, at: &At<'_>, spec: &SftpStorageSpec) -> Service {
        self.flaw(&at.at("host"), Some(&spec.host), host_flaw, HELP_NAME);
        self.flaw(&at.at("user"), spec.user.as_deref(), name_flaw, HELP_NAME);
        // Below the user's home, or absolute: either way without steps back.
        let absolute =
            if spec.path.starts_with('/') { spec.path.clone() } else { format!("/{}", spec.path) };
        if let Err(why) = text::check_path(&absolute) {
            let at = at.at("path");
            let help = "write a path such as `/srv/backups` or `backups`, without `..` or `~`";
            self.found.push(d::storage_invalid(at.place(), &at.name(), &spec.path, why, help));
        }
        Service::Sftp(Sftp {
            host: spec.host.clone(),
            port: spec.port,
            user: spec.user.clone(),
            path: spec.path.clone(),
            identity_file: self.file(&at.at("identityFile"), spec.identity_file.as_ref()),
            known_hosts: self.file(&at.at("knownHosts"), spec.known_hosts.as_ref()),
            config_file: self.file(&at.at("configFile"), spec.config_file.as_ref()),
        })
    }

    fn rest(&mut self, at: &At<'_>, spec: &RestStorageSpec) -> Service {
        self.url(&at.at("url"), Some(&spec.url), spec.password.is_some());
        if spec.user.is_some() != spec.password.is_some() {
            let why = "has one of `user` and `password` without the other";
            self.found.push(d::storage_credentials(at.place_key(), &at.name(), why));
        }
        Service::Rest(Rest {
            url: spec.url.clone(),
            user: spec.user.clone(),
            password: self.credential(&at.at("password"), spec.password.as_ref()),
            ca_file: self.file(&at.at("caFile"), spec.ca_file.as_ref()),
        })
    }

    fn limits(&mut self, at: &At<'_>, spec: &LimitsSpec) -> StorageLimits {
        let mut size = |key: &str, text: Option<&String>| {
            let text = text?;
            let at = at.at(key);
            let bytes = units::size_bytes(text);
            match bytes {
                None => self.found.push(d::size_malformed(at.place(), &at.name(), text)),
                Some(0) => {
                    let why = "lets nothing through";
                    self.found.push(d::storage_limits(at.place(), &at.name(), why));
                }
                Some(_) => {}
            }
            bytes
        };
        StorageLimits {
            connections: spec.connections,
            requests_per_s: spec.requests_per_second,
            upload_bytes_per_s: size("upload", spec.upload.as_ref()),
            download_bytes_per_s: size("download", spec.download.as_ref()),
            tries: spec.tries,
        }
    }

    /// Says what is wrong with a text, if there is one and something is.
    fn flaw(
        &mut self,
        at: &At<'_>,
        text: Option<&str>,
        flaw: fn(&str) -> Option<&'static str>,
        help: &str,
    ) {
        let Some(text) = text else { return };
        if let Some(why) = flaw(text) {
            self.found.push(d::storage_invalid(at.place(), &at.name(), text, why, help));
        }
    }

    fn url(&mut self, at: &At<'_>, url: Option<&str>, has_credentials: bool) {
        let Some(url) = url else { return };
        match url_flaw(url) {
            // Who stands in a URL mostly stands there with a password.
            Some(_) if url.contains('@') => {
                self.found.push(d::secret_in_clear(at.place(), &at.name()));
            }
            Some(_) => self.flaw(at, Some(url), url_flaw, HELP_URL),
            None if has_credentials && is_open(url) => {
                self.found.push(d::storage_unencrypted(at.place(), &at.name()));
            }
            None => {}
        }
    }

    fn credential(&mut self, at: &At<'_>, spec: Option<&SecretSpec>) -> Option<SecretRef> {
        spec.map(|spec| self.secret(at, spec))
    }

    fn file(&mut self, at: &At<'_>, path: Option<&String>) -> Option<String> {
        let path = path?;
        if let Err(why) = text::check_path(path) {
            self.found.push(d::path_invalid(at.place(), &at.name(), path, why));
        }
        Some(path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["https://a", "http://a:9000", "https://a/b/c/", "http://[::1]:80"] {
            assert_eq!(url_flaw(good), None, "{good}");
        }
        for bad in
            ["", "a", "ftp://a", "https://", "https://u:p@a", "https://a?b", "https://a/../b"]
        {
            assert!(url_flaw(bad).is_some(), "{bad}");
        }
        assert!(
            is_open("http://nas/x") && !is_open("https://nas") && !is_open("http://localhost:1")
        );
    }

    #[test]
    fn names_and_prefixes() {
        for bad in ["", "-oProxyCommand=x", "a b", "a/b", ".a", "a..b"] {
            assert!(name_flaw(bad).is_some(), "{bad}");
        }
        assert_eq!(name_flaw("my-bucket.eu_1"), None);
        assert_eq!(host_flaw("fe80::1%eth0"), None);
        for bad in ["/a", "a/", "a//b", "a/../b", "a b"] {
            assert!(prefix_flaw(bad).is_some(), "{bad}");
        }
        assert_eq!(prefix_flaw("a/b.c"), None);
    }
}
