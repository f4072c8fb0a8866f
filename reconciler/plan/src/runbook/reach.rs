//! How restic reaches a repository: its URL, and the variables that it reads credentials from.
//! Called by the runbook for each recipe. Names of variables and forms of URLs are those of
//! restic's manual, "Preparing a new repository".

use model::agent::SecretRef;
use model::desired::{RepositorySpec, StorageSpec};
use model::remote::{Azure, BucketStyle, Remote, Service, Sftp};

use super::shell;

/// Returns where a repository lies, as restic takes it.
pub(super) fn place(spec: &RepositorySpec) -> String {
    match &spec.storage {
        StorageSpec::Local { path, .. } => path.clone(),
        StorageSpec::Remote(remote) => match &remote.service {
            Service::Sftp(sftp) if sftp.port.is_some() => sftp_url(sftp),
            _ => remote.location(),
        },
    }
}

/// Only this form of the URL has room for a port; an absolute path then begins with two slashes.
fn sftp_url(sftp: &Sftp) -> String {
    let user = sftp.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
    let port = sftp.port.map_or(String::new(), |port| format!(":{port}"));
    format!("sftp://{user}{}{port}/{}", sftp.host, sftp.path)
}

/// Returns the references to secrets that reaching it needs, the repository's password apart.
pub(super) fn secrets(spec: &RepositorySpec) -> Vec<&SecretRef> {
    match &spec.storage {
        StorageSpec::Local { .. } => Vec::new(),
        StorageSpec::Remote(remote) => remote.secrets(),
    }
}

/// Whether restic reaches it by calling ssh.
pub(super) fn over_ssh(spec: &RepositorySpec) -> bool {
    match &spec.storage {
        StorageSpec::Local { .. } => false,
        StorageSpec::Remote(remote) => matches!(remote.service, Service::Sftp(_)),
    }
}

/// Returns the commands that tell restic place, password and credentials.
pub(super) fn exports(spec: &RepositorySpec) -> Vec<String> {
    let mut lines = vec![
        format!("export RESTIC_REPOSITORY={}", shell::quoted(&place(spec))),
        format!("export RESTIC_PASSWORD_FILE=\"$SECRETS\"/{}", shell::quoted(&spec.password.0)),
    ];
    if let StorageSpec::Remote(remote) = &spec.storage {
        credentials(remote, &mut lines);
    }
    lines
}

/// The end of the host's name, which is all of an account's URL that restic lets choose.
fn suffix(azure: &Azure) -> Option<&str> {
    let own = format!("https://{}.blob.", azure.account);
    azure.endpoint.as_deref()?.strip_prefix(&own).map(|rest| rest.trim_end_matches('/'))
}

/// A variable and its value that anybody may read.
type Plain<'s> = (&'static str, Option<&'s str>);
/// A variable and the secret that it holds.
type Hidden<'s> = (&'static str, &'s Option<SecretRef>);

fn credentials(remote: &Remote, lines: &mut Vec<String>) {
    let (mut plain, mut hidden): (Vec<Plain<'_>>, Vec<Hidden<'_>>) = (Vec::new(), Vec::new());
    match &remote.service {
        Service::S3(s3) => {
            plain.push(("AWS_DEFAULT_REGION", s3.region.as_deref()));
            plain.push(("RESTIC_CACERT", s3.ca_file.as_deref()));
            hidden.push(("AWS_ACCESS_KEY_ID", &s3.access_key));
            hidden.push(("AWS_SECRET_ACCESS_KEY", &s3.secret_key));
            hidden.push(("AWS_SESSION_TOKEN", &s3.session_token));
        }
        Service::Gcs(gcs) => {
            plain.push(("STORAGE_EMULATOR_HOST", gcs.endpoint.as_deref()));
            plain.push(("RESTIC_CACERT", gcs.ca_file.as_deref()));
            hidden.push(("GOOGLE_ACCESS_TOKEN", &gcs.access_token));
        }
        Service::Azure(azure) => {
            plain.push(("AZURE_ACCOUNT_NAME", Some(&azure.account)));
            plain.push(("AZURE_ENDPOINT_SUFFIX", suffix(azure)));
            plain.push(("RESTIC_CACERT", azure.ca_file.as_deref()));
            hidden.push(("AZURE_ACCOUNT_KEY", &azure.key));
            hidden.push(("AZURE_ACCOUNT_SAS", &azure.sas));
        }
        Service::Rest(rest) => {
            plain.push(("RESTIC_REST_USERNAME", rest.user.as_deref()));
            plain.push(("RESTIC_CACERT", rest.ca_file.as_deref()));
            hidden.push(("RESTIC_REST_PASSWORD", &rest.password));
        }
        Service::Sftp(_) => {}
    }
    lines.extend(key_file(remote));
    // What a recipe for another repository left in the shell must not be taken for this one.
    let of_plain = plain.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name);
    let of_hidden = hidden.iter().filter(|(_, secret)| secret.is_none()).map(|(name, _)| *name);
    let unset: Vec<&str> = of_plain.chain(of_hidden).collect();
    if !unset.is_empty() {
        lines.push(format!("unset {}", unset.join(" ")));
    }
    for (name, value) in plain {
        lines.extend(value.map(|value| format!("export {name}={}", shell::quoted(value))));
    }
    for (name, secret) in hidden {
        if let Some(secret) = secret {
            let file = shell::quoted(&secret.0);
            lines.push(format!("{name}=\"$(cat -- \"$SECRETS\"/{file})\"; export {name}"));
        }
    }
}

/// Returns the commands for a key of Google's: restic wants the file's name, not its content.
fn key_file(remote: &Remote) -> Option<String> {
    let Service::Gcs(gcs) = &remote.service else { return None };
    Some(match &gcs.service_account {
        Some(key) => {
            format!("export GOOGLE_APPLICATION_CREDENTIALS=\"$SECRETS\"/{}", shell::quoted(&key.0))
        }
        None => "unset GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
    })
}

/// Returns what must be said to restic beside its variables, in words.
pub(super) fn notes(spec: &RepositorySpec) -> Vec<String> {
    let StorageSpec::Remote(remote) = &spec.storage else { return Vec::new() };
    match &remote.service {
        Service::S3(s3) if s3.style == BucketStyle::Host => {
            vec!["Add -o s3.bucket-lookup=dns to each restic command.".to_owned()]
        }
        Service::Azure(azure) if suffix(azure).is_none() => azure
            .endpoint
            .iter()
            .map(|endpoint| {
                format!(
                    "The account is served at {endpoint}: restic reaches only names such as \
                     https://{}.blob.SUFFIX, of which it takes the end in AZURE_ENDPOINT_SUFFIX.",
                    azure.account
                )
            })
            .collect(),
        Service::Sftp(sftp) => {
            let files = [
                ("key", "IdentityFile", &sftp.identity_file),
                ("known hosts", "UserKnownHostsFile", &sftp.known_hosts),
            ];
            let settings = sftp.config_file.iter().map(|path| {
                format!(
                    "Mainstay took ssh's settings for {} from {path}: write `Include {path}` at \
                     the beginning of ~/.ssh/config.",
                    sftp.host
                )
            });
            files
                .into_iter()
                .filter_map(|(what, word, path)| Some((what, word, path.as_ref()?)))
                .map(|(what, word, path)| {
                    format!(
                        "Mainstay took the {what} for {} from {path}: write `{word} {path}` for \
                         that host into ~/.ssh/config.",
                        sftp.host
                    )
                })
                .chain(settings)
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use model::remote::{Gcs, Rest, S3, StorageLimits};

    use super::*;

    fn spec(service: Service) -> RepositorySpec {
        let mut world = crate::testing::World::new().repository("there");
        let name = crate::testing::name("there");
        let mut spec = world.desired.repositories.remove(&name).unwrap();
        let limits = StorageLimits::default();
        spec.storage = StorageSpec::Remote(Box::new(Remote { service, limits }));
        spec
    }

    fn secret(name: &str) -> Option<SecretRef> {
        Some(SecretRef(name.to_owned()))
    }

    fn s3() -> S3 {
        S3 {
            endpoint: Some("https://s3.example/".to_owned()),
            region: Some("north".to_owned()),
            bucket: "backups".to_owned(),
            prefix: "prod".to_owned(),
            style: BucketStyle::Path,
            access_key: secret("s3-user"),
            secret_key: secret("s3 key"),
            session_token: None,
            storage_class: None,
            object_lock: None,
            ca_file: None,
        }
    }

    fn sftp() -> Sftp {
        Sftp {
            host: "nas".to_owned(),
            port: None,
            user: Some("me".to_owned()),
            path: "/srv/a".to_owned(),
            identity_file: None,
            known_hosts: None,
            config_file: None,
        }
    }

    #[track_caller]
    fn check(service: Service, expect: &[&str]) {
        let lines = exports(&spec(service));
        assert_eq!(lines[1], "export RESTIC_PASSWORD_FILE=\"$SECRETS\"/password");
        assert_eq!([&lines[..1], &lines[2..]].concat(), expect);
    }

    #[test]
    fn each_service_has_its_variables_and_no_value_of_a_secret() {
        check(
            Service::S3(s3()),
            &[
                "export RESTIC_REPOSITORY=s3:https://s3.example/backups/prod",
                "unset RESTIC_CACERT AWS_SESSION_TOKEN",
                "export AWS_DEFAULT_REGION=north",
                "AWS_ACCESS_KEY_ID=\"$(cat -- \"$SECRETS\"/s3-user)\"; export AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY=\"$(cat -- \"$SECRETS\"/'s3 key')\"; \
                 export AWS_SECRET_ACCESS_KEY",
            ],
        );
        let rest = Rest {
            url: "https://host/a".to_owned(),
            user: Some("it's me".to_owned()),
            password: secret("rest"),
            ca_file: Some("/etc/ca.pem".to_owned()),
        };
        check(
            Service::Rest(rest),
            &[
                "export RESTIC_REPOSITORY=rest:https://host/a",
                "export RESTIC_REST_USERNAME='it'\\''s me'",
                "export RESTIC_CACERT=/etc/ca.pem",
                "RESTIC_REST_PASSWORD=\"$(cat -- \"$SECRETS\"/rest)\"; \
                 export RESTIC_REST_PASSWORD",
            ],
        );
        let gcs = Gcs {
            endpoint: None,
            bucket: "backups".to_owned(),
            prefix: "a".to_owned(),
            service_account: secret("gcs key"),
            access_token: None,
            ca_file: None,
        };
        check(
            Service::Gcs(gcs),
            &[
                "export RESTIC_REPOSITORY=gs:backups:/a",
                "export GOOGLE_APPLICATION_CREDENTIALS=\"$SECRETS\"/'gcs key'",
                "unset STORAGE_EMULATOR_HOST RESTIC_CACERT GOOGLE_ACCESS_TOKEN",
            ],
        );
        let azure = Azure {
            endpoint: Some("https://acme.blob.core.example/".to_owned()),
            account: "acme".to_owned(),
            container: "backups".to_owned(),
            prefix: "a".to_owned(),
            key: None,
            sas: secret("sas"),
            ca_file: None,
        };
        check(
            Service::Azure(azure),
            &[
                "export RESTIC_REPOSITORY=azure:backups:/a",
                "unset RESTIC_CACERT AZURE_ACCOUNT_KEY",
                "export AZURE_ACCOUNT_NAME=acme",
                "export AZURE_ENDPOINT_SUFFIX=core.example",
                "AZURE_ACCOUNT_SAS=\"$(cat -- \"$SECRETS\"/sas)\"; export AZURE_ACCOUNT_SAS",
            ],
        );
        check(Service::Sftp(sftp()), &["export RESTIC_REPOSITORY=sftp:me@nas:/srv/a"]);
        let port = Sftp { port: Some(2222), ..sftp() };
        check(Service::Sftp(port), &["export RESTIC_REPOSITORY=sftp://me@nas:2222//srv/a"]);
    }

    #[test]
    fn what_variables_cannot_tell_is_said_in_words() {
        let host = S3 { style: BucketStyle::Host, ..s3() };
        assert!(notes(&spec(Service::S3(host)))[0].contains("-o s3.bucket-lookup=dns"));
        assert_eq!(notes(&spec(Service::S3(s3()))), Vec::<String>::new());
        let own = Sftp {
            identity_file: Some("/k".to_owned()),
            config_file: Some("/c".to_owned()),
            ..sftp()
        };
        let said = notes(&spec(Service::Sftp(own)));
        assert!(said[0].contains("`IdentityFile /k`") && said[1].contains("`Include /c`"));
    }
}
