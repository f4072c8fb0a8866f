//! `bundle`: everything that planning needs, in one file that can be taken along: what the
//! documents ask for, what was observed, what was done lately. It holds references to secrets,
//! never secrets; what the documents mark as private is replaced. A plan made from it is the plan
//! that was made there, byte for byte, unless something had to be replaced.
//!
//! The file is zstd; in it one line of JSON (format, version, digest, length) and then the content.

mod scrub;
#[cfg(test)]
mod tests;

use std::io::{Read as _, Write as _};

use model::Timestamp;
use model::desired::Desired;
use model::digest::Digest;
use model::error::PortError;
use model::journal::{Body, Outcome, Record};
use model::observed::Observed;
use model::plan::{Action, Plan};
use plan::whatif::Measured;
use runtime::World;
use runtime::pass::Pass;
use serde::{Deserialize, Serialize};

pub use self::scrub::PRIVATE_LABEL;

/// Version of the content's shape. A bundle of a newer version is not read.
pub const BUNDLE_VERSION: u32 = 1;
/// What the first line says.
const FORMAT: &str = "mainstay.dev/bundle";
/// Longest first line.
const HEAD_BYTES_MAX: usize = 4096;
/// Largest content: two million points with receipts are about as much.
pub const BUNDLE_BYTES_MAX: u64 = 4 << 30;
/// Records of the journal that are taken along, newest ones.
pub const HISTORY_MAX: usize = 5000;
/// zstd's own default; a receipt-heavy bundle shrinks twentyfold with it.
const LEVEL: i32 = 3;

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The version of Mainstay that made it.
    pub mainstay: String,
    /// The instant of its observation.
    pub at: Timestamp,
    /// Where the commit came from.
    pub reference: String,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// How many values were replaced because they are private or secret. If there is any, digests
    /// and so plan ids differ from those at home.
    pub replaced: u64,
    /// What the documents ask for.
    pub desired: Desired,
    /// What was seen.
    pub observed: Observed,
    /// What was done lately, newest first.
    pub history: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    format: String,
    version: u32,
    digest: Digest,
    bytes: u64,
}

/// Why a bundle cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The journal could not be read.
    #[error("the journal could not be read")]
    History(#[source] PortError),
    /// It is no bundle, or not whole.
    #[error("{0}")]
    NotWhole(String),
    /// It was made by a newer version.
    #[error("the bundle has version {0}; this program reads up to {BUNDLE_VERSION}")]
    Newer(u32),
    /// What is marked as private cannot be replaced.
    #[error("{0}")]
    Private(String),
}

/// Makes a bundle of a pass. `secret` replaces secrets in a text, and returns `None` where there is
/// none: nothing of ours should hold one, but an error of another program may have.
pub async fn make(
    world: &World,
    pass: &Pass,
    secret: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Bundle, BundleError> {
    let history = crate::history::history(world, None, HISTORY_MAX).await;
    let bundle = Bundle {
        mainstay: model::VERSION.to_owned(),
        at: pass.plan.at,
        reference: pass.reference.clone(),
        notes: pass.notes.clone(),
        replaced: 0,
        desired: (*pass.desired).clone(),
        observed: (*pass.observed).clone(),
        history: history.map_err(BundleError::History)?,
    };
    scrub::scrub(bundle, secret)
}

impl Bundle {
    /// Makes the plan that was made there.
    pub fn plan(&self) -> Plan {
        plan::plan(&self.desired, &self.observed, self.at)
    }

    /// Returns the file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let lift = |e: &dyn std::fmt::Display| BundleError::NotWhole(format!("not written: {e}"));
        let body = serde_json::to_vec(self).map_err(|e| lift(&e))?;
        let head = Head {
            format: FORMAT.to_owned(),
            version: BUNDLE_VERSION,
            digest: Digest::of_bytes("bundle", &body),
            bytes: body.len() as u64,
        };
        let head = serde_json::to_vec(&head).map_err(|e| lift(&e))?;
        let mut out = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|e| lift(&e))?;
        for part in [head.as_slice(), b"\n", body.as_slice()] {
            out.write_all(part).map_err(|e| lift(&e))?;
        }
        out.finish().map_err(|e| lift(&e))
    }

    /// Reads a file's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let bad = |what: String| BundleError::NotWhole(what);
        let no_bundle =
            || bad("this is no bundle of Mainstay, or it was cut or changed".to_owned());
        let decoder = zstd::Decoder::new(bytes).map_err(|_| no_bundle())?;
        let mut limited = decoder.take(BUNDLE_BYTES_MAX + HEAD_BYTES_MAX as u64);
        let mut head = Vec::new();
        let mut byte = [0];
        while head.len() < HEAD_BYTES_MAX {
            limited.read_exact(&mut byte).map_err(|_| no_bundle())?;
            if byte[0] == b'\n' {
                break;
            }
            head.push(byte[0]);
        }
        let head: Head = serde_json::from_slice(&head).map_err(|_| no_bundle())?;
        if head.format != FORMAT {
            return Err(no_bundle());
        }
        if head.version > BUNDLE_VERSION {
            return Err(BundleError::Newer(head.version));
        }
        if head.bytes > BUNDLE_BYTES_MAX {
            return Err(bad(format!("the bundle has more than {BUNDLE_BYTES_MAX} bytes")));
        }
        let mut body = Vec::new();
        let read = limited.read_to_end(&mut body);
        let cut = || bad("the bundle is not whole: it was cut or changed".to_owned());
        read.map_err(|_| cut())?;
        if body.len() as u64 != head.bytes || Digest::of_bytes("bundle", &body) != head.digest {
            return Err(cut());
        }
        serde_json::from_slice(&body).map_err(|e| {
            bad(format!("the bundle was made by a version that this one does not understand: {e}"))
        })
    }

    /// What its journal measured.
    pub fn measured(&self) -> Measured {
        measured(&self.history)
    }
}

/// Returns how fast restores and verifications were, from the journal.
pub fn measured(history: &[Record]) -> Measured {
    let mut begun = std::collections::BTreeMap::new();
    let mut all = Measured::default();
    // The journal comes newest first; a step begins before it ends.
    for record in history.iter().rev() {
        match &record.body {
            Body::StepBegun { plan, step, action } => {
                begun.insert((plan.clone(), step.clone()), action.clone());
            }
            Body::StepEnded { plan, step, outcome } => {
                let Outcome::Done { counts, duration_ms, .. } = outcome else { continue };
                let bytes = counts.bytes_done;
                let to = match begun.remove(&(plan.clone(), step.clone())) {
                    Some(Action::Restore { repository, .. }) => {
                        all.restores.entry(repository).or_default()
                    }
                    Some(Action::Verify { repository, .. }) => {
                        all.verifications.entry(repository).or_default()
                    }
                    _ => continue,
                };
                if bytes > 0 {
                    to.add(bytes, *duration_ms);
                }
            }
            _ => {}
        }
    }
    all.restores.retain(|_, rate| rate.runs > 0);
    all.verifications.retain(|_, rate| rate.runs > 0);
    all
}
