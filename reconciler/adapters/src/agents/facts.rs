//! Reads the JSON facts that probes, sessions and verifications print. Called by command agents.

use std::collections::BTreeMap;

use model::Timestamp;
use model::error::PortError;
use model::few::Numbers;
use model::observed::Observation;
use model::receipt::Marker;
use model::text::Text;
use serde::Deserialize;

/// How much of an answer is quoted when it cannot be read, in characters.
const QUOTED_MAX: usize = 200;

/// Whether the resource is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Presence {
    #[default]
    Present,
    Absent,
    Damaged,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape {
    state: Presence,
    detail: Option<String>,
    identity: Option<Text>,
    counters: Numbers,
    digest: Option<Text>,
    counts: Numbers,
    bytes: Option<u64>,
    entries: Option<u64>,
}

/// The facts of one answer.
#[derive(Debug)]
pub(super) struct Facts {
    shape: Shape,
    /// Simple values by name, for holes.
    pub(super) values: BTreeMap<String, String>,
}

impl Facts {
    /// Reads the last line that is not empty.
    pub(super) fn read(answer: &[u8]) -> Result<Self, PortError> {
        let text = String::from_utf8_lossy(answer);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let bad = |error: serde_json::Error| {
            let quoted: String = line.chars().take(QUOTED_MAX).collect();
            PortError::terminal("BadFacts", format!("`{quoted}` is not the JSON of facts"))
                .with_hint("the last line of the command's output must be one JSON object")
                .with_source(error)
        };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(bad)?;
        let shape: Shape = serde_json::from_str(line).map_err(bad)?;
        let values = object.into_iter().filter_map(|(name, value)| match value {
            serde_json::Value::String(text) => Some((name, text)),
            serde_json::Value::Number(number) => Some((name, number.to_string())),
            serde_json::Value::Bool(yes) => Some((name, yes.to_string())),
            _ => None,
        });
        Ok(Self { shape, values: values.collect() })
    }

    /// Returns them as a marker; an absent or damaged resource has none.
    pub(super) fn marker(&self) -> Result<Marker, PortError> {
        let detail = self.shape.detail.clone().unwrap_or_default();
        match self.shape.state {
            Presence::Present => Ok(Marker {
                identity: self.shape.identity.clone(),
                counters: self.shape.counters.clone(),
                digest: self.shape.digest.clone(),
                counts: self.shape.counts.clone(),
            }),
            Presence::Absent => {
                Err(PortError::terminal("SourceAbsent", format!("it is not there: {detail}")))
            }
            Presence::Damaged => {
                Err(PortError::terminal("SourceDamaged", format!("it is damaged: {detail}")))
            }
        }
    }

    /// Returns them as an observation.
    pub(super) fn observation(self, at: Timestamp) -> Observation {
        let shape = self.shape;
        let detail = shape.detail.unwrap_or_default();
        if shape.state == Presence::Absent {
            return Observation::Absent { detail, at };
        }
        Observation::Known {
            marker: Marker {
                identity: shape.identity,
                counters: shape.counters,
                digest: shape.digest,
                counts: shape.counts,
            },
            bytes: shape.bytes,
            entries: shape.entries,
            damaged: (shape.state == Presence::Damaged).then_some(detail),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_simple_values_become_holes() {
        let answer = b"noise\n{\"identity\":\"a\",\"snapshot\":\"0-1\",\"bytes\":5,\"x\":[1]}\n\n";
        let facts = Facts::read(answer).unwrap();
        assert_eq!(facts.values["snapshot"], "0-1");
        assert_eq!(facts.values["bytes"], "5");
        assert!(!facts.values.contains_key("x"));
        assert_eq!(facts.marker().unwrap().identity.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_object_is_no_fact() {
        for answer in ["", "[]", "null", "{\"state\":\"maybe\"}", "{\"counters\":{\"a\":-1}}"] {
            assert_eq!(Facts::read(answer.as_bytes()).unwrap_err().reason, "BadFacts", "{answer}");
        }
    }

    #[test]
    fn absent_and_damaged_are_told_apart() {
        let read = |text: &str| Facts::read(text.as_bytes()).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let absent = read("{\"state\":\"absent\",\"detail\":\"no file\"}");
        assert_eq!(absent.marker().unwrap_err().reason, "SourceAbsent");
        assert!(matches!(absent.observation(at), Observation::Absent { .. }));
        let damaged = read("{\"state\":\"damaged\",\"detail\":\"torn\"}").observation(at);
        assert!(matches!(damaged, Observation::Known { damaged: Some(why), .. } if why == "torn"));
    }
}
