//! Takes secrets out of texts that leave the machine, and says where secrets lie without telling
//! them. Values stay in here.

use model::agent::SecretRef;
use model::ports::secrets::Secrets;

use super::Chain;

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// Shorter values are only replaced where they are the whole text: else every text would suffer.
const PART_BYTES_MIN: usize = 4;

/// Knows some secrets' values.
pub struct Scrubber {
    /// The longest first: one value may be the begin of another.
    values: Vec<String>,
}

impl Scrubber {
    /// Takes the values of secrets, by name. One that cannot be found is no danger here; one that
    /// is no text cannot stand in a text.
    pub fn new<'n>(chain: &Chain, names: impl IntoIterator<Item = &'n str>) -> Self {
        let value = |name: &str| {
            let value = chain.resolve(&SecretRef(name.to_owned())).ok()?;
            std::str::from_utf8(value.expose()).ok().map(str::to_owned)
        };
        let mut values: Vec<String> =
            names.into_iter().filter_map(value).filter(|value| !value.is_empty()).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Returns the text without secrets; `None` when there was none in it.
    pub fn scrub(&self, text: &str) -> Option<String> {
        let hit = |value: &&String| {
            text == value.as_str()
                || (value.len() >= PART_BYTES_MIN && text.contains(value.as_str()))
        };
        let mut hits = self.values.iter().filter(hit).peekable();
        hits.peek()?;
        Some(hits.fold(text.to_owned(), |text, value| text.replace(value.as_str(), REDACTED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_and_short_ones_only_as_a_whole() {
        let variables = [("MAINSTAY_SECRET_A", "hunter22"), ("MAINSTAY_SECRET_B", "abc")];
        let chain = Chain::new().with_environment(variables.map(|(k, v)| (k.into(), v.into())));
        let scrubber = Scrubber::new(&chain, ["a", "b", "none"]);
        assert_eq!(scrubber.scrub("the hunter22 is hunter22").unwrap(), "the *** is ***");
        assert_eq!(scrubber.scrub("abc").unwrap(), "***");
        assert_eq!(scrubber.scrub("abcd"), None);
        assert_eq!(scrubber.scrub("nothing"), None);
    }
}
