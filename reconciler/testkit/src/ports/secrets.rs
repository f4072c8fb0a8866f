//! Secrets by name, in memory.

use std::collections::BTreeMap;

use model::agent::SecretRef;
use model::error::PortError;
use model::ports::secrets::{SecretValue, Secrets};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct SimulatedSecrets(pub BTreeMap<String, Vec<u8>>);

impl Secrets for SimulatedSecrets {
    fn resolve(&self, secret: &SecretRef) -> Result<SecretValue, PortError> {
        self.0.get(&secret.0).map(|value| SecretValue::new(value.clone())).ok_or_else(|| {
            PortError::terminal(
                "SecretMissing",
                format!("the secret `{}` is not in the simulated memory", secret.0),
            )
        })
    }
}
