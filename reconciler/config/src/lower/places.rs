//! Lowers `Host` and `Repository`.

use model::agent::SecretRef;
use model::desired::{Connection, FailureDomain, Host, RepositorySpec};
use model::id::RepositoryId;

use crate::diagnostics as d;
use crate::documents::{ConnectionSpec, FailureDomainSpec, Kind, SecretSpec, Spec};
use crate::lower::{At, Lowering, text};

impl Lowering<'_> {
    pub(super) fn host(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Host(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let connection = match spec.connection {
            ConnectionSpec::Local => Connection::Local,
        };
        let failure_domain = failure_domain(&spec.failure_domain);
        let host = Host { name: name.clone(), connection, failure_domain };
        self.lowered.desired.hosts.insert(name, host);
    }

    pub(super) fn repository(&mut self, number: usize) {
        let document = &self.documents[number];
        let Some(Spec::Repository(spec)) = &document.spec else { return };
        let Some(name) = self.claim(document) else { return };
        let at = At::spec(document);
        let storage = self.storage(&at.at("storage"), &spec.storage);
        if let Some(id) = spec.id.as_deref().filter(|id| !text::is_id(id)) {
            self.found.push(d::repository_id_malformed(at.at("id").place(), id));
        }
        let password = self.secret(&at.at("password"), &spec.password);
        let Some(storage) = storage else {
            self.lowered.broken.documents.insert((Kind::Repository, name.to_string()));
            return;
        };
        let repository = RepositorySpec {
            name: name.clone(),
            storage,
            password,
            id: spec.id.clone().map(RepositoryId::from),
            failure_domain: failure_domain(&spec.failure_domain),
            medium: spec.medium.clone(),
            append_only: spec.append_only,
            immutable: spec.immutable,
            offline: spec.offline,
        };
        self.lowered.desired.repositories.insert(name, repository);
    }

    pub(super) fn secret(&mut self, at: &At<'_>, secret: &SecretSpec) -> SecretRef {
        if !text::is_secret_name(&secret.secret) {
            self.found.push(d::secret_name(at.at("secret").place(), &secret.secret));
        }
        SecretRef(secret.secret.clone())
    }
}

fn failure_domain(spec: &FailureDomainSpec) -> FailureDomain {
    FailureDomain {
        site: spec.site.clone(),
        host: spec.host.clone(),
        account: spec.account.clone(),
        credentials: spec.credentials.clone(),
    }
}
