//! The condition of every resource that a plan speaks of, most of which are healthy. Made by
//! `plan`, read by whoever shows a plan. A fleet's names are shared from plan to plan, so that the
//! next plan costs what is not healthy, and not the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Address;
use crate::plan::Condition;

/// Conditions by resource. Written as a map of all of them.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    resources: Arc<BTreeSet<Address>>,
    /// What is not healthy; each of it is among the resources.
    unwell: BTreeMap<Address, Condition>,
}

impl Conditions {
    /// Returns the conditions of these resources, all of them healthy.
    pub fn healthy(resources: Arc<BTreeSet<Address>>) -> Self {
        Self { resources, unwell: BTreeMap::new() }
    }

    /// Notes the condition of a resource; what is not among the resources is left out.
    pub fn set(&mut self, address: &Address, condition: Condition) {
        if condition == Condition::Healthy {
            self.unwell.remove(address);
        } else if self.resources.contains(address) {
            self.unwell.insert(address.clone(), condition);
        }
    }

    /// Returns the condition of a resource; `None` when the plan does not speak of it.
    pub fn get(&self, address: &Address) -> Option<&Condition> {
        self.unwell
            .get(address)
            .or_else(|| self.resources.contains(address).then_some(&Condition::Healthy))
    }

    /// Returns every condition but `Healthy`.
    pub fn unwell(&self) -> &BTreeMap<Address, Condition> {
        &self.unwell
    }

    /// Returns the resources, sorted.
    pub fn resources(&self) -> &Arc<BTreeSet<Address>> {
        &self.resources
    }

    /// Returns every resource with its condition, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Condition)> {
        let healthy = &Condition::Healthy;
        self.resources.iter().map(move |a| (a, self.unwell.get(a).unwrap_or(healthy)))
    }

    /// Returns how many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Returns whether there is no resource.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

impl FromIterator<(Address, Condition)> for Conditions {
    fn from_iter<I: IntoIterator<Item = (Address, Condition)>>(all: I) -> Self {
        let all: BTreeMap<Address, Condition> = all.into_iter().collect();
        let resources = Arc::new(all.keys().cloned().collect());
        let unwell = all.into_iter().filter(|(_, c)| *c != Condition::Healthy).collect();
        Self { resources, unwell }
    }
}

impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.resources, &other.resources);
        (same || self.resources == other.resources) && self.unwell == other.unwell
    }
}

impl Eq for Conditions {}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn are_written_and_read_as_a_map_of_all() {
        let all = ["a/one", "a/two"].map(address);
        let mut made = Conditions::healthy(Arc::new(all.into()));
        made.set(&address("a/two"), Condition::NeverSeen);
        made.set(&address("b/other"), Condition::NeverSeen);
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(text, r#"{"a/one":"healthy","a/two":"neverSeen"}"#);
        assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), made);
        assert_eq!(made.get(&address("b/other")), None);
        made.set(&address("a/two"), Condition::Healthy);
        assert!(made.unwell().is_empty());
    }
}
