//! Takes out of a bundle what must not leave the house: what the documents mark as private, and
//! secrets, should another program have printed one into an error.

use std::collections::BTreeMap;

use model::desired::Desired;
use serde_json::Value;

use super::{Bundle, BundleError};

/// A label of a resource or an application: the parameters of its type whose values stay at home,
/// separated by spaces.
pub const PRIVATE_LABEL: &str = "mainstay.dev/private";

/// Shorter values are replaced only where they are a whole text: else `a` would be replaced in
/// every word.
const PART_CHARS_MIN: usize = 4;

/// Replaces what is private or secret, everywhere. The same value gets the same word, so that what
/// belonged together still does.
pub(super) fn scrub(
    bundle: Bundle,
    secret: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Bundle, BundleError> {
    let private = private(&bundle.desired)?;
    let value = serde_json::to_value(&bundle)
        .map_err(|e| BundleError::NotWhole(format!("not written: {e}")))?;
    let mut scrub = Scrub { private, secret, replaced: 0 };
    let value = scrub.value(value);
    if scrub.replaced == 0 {
        return Ok(bundle);
    }
    let replaced = scrub.replaced;
    let mut clean: Bundle = serde_json::from_value(value).map_err(|e| {
        BundleError::Private(format!(
            "a value that is private is part of a name or an id, so the bundle would not be \
             readable without it ({e}); rename one of them, or take the mark away"
        ))
    })?;
    clean.replaced = replaced;
    Ok(clean)
}

/// Private values and the words for them.
fn private(desired: &Desired) -> Result<Vec<(String, String)>, BundleError> {
    let mut words = BTreeMap::new();
    for resource in desired.resources.values() {
        let Some(marked) = resource.labels.get(PRIVATE_LABEL) else { continue };
        for name in marked.split_whitespace() {
            let value = resource.agent.with.get(name).ok_or_else(|| {
                let address = &resource.address;
                BundleError::Private(format!(
                    "{address}: the label {PRIVATE_LABEL} names `{name}`, which is no parameter \
                     that it has"
                ))
            })?;
            let number = words.len() + 1;
            words.entry(value.clone()).or_insert(format!("private-{number}"));
        }
    }
    let mut words: Vec<(String, String)> =
        words.into_iter().filter(|(value, _)| !value.is_empty()).collect();
    // A value that holds another one is replaced first.
    words.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    Ok(words)
}

struct Scrub<'a> {
    private: Vec<(String, String)>,
    secret: &'a (dyn Fn(&str) -> Option<String> + Sync),
    replaced: u64,
}

impl Scrub<'_> {
    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => Value::Array(list.into_iter().map(|v| self.value(v)).collect()),
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(k, v)| (self.text(k), self.value(v))).collect())
            }
            other => other,
        }
    }

    fn text(&mut self, text: String) -> String {
        let mut text = text;
        if !is_id(&text) {
            for (value, word) in &self.private {
                let part = value.chars().count() >= PART_CHARS_MIN;
                if text == *value || (part && text.contains(value.as_str())) {
                    self.replaced += 1;
                    text = text.replace(value.as_str(), word);
                }
            }
        }
        match (self.secret)(&text) {
            Some(clean) => {
                self.replaced += 1;
                clean
            }
            None => text,
        }
    }
}

/// Ids and digests are no text: a word in them is chance.
fn is_id(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
