//! Labels, and the selectors that match them.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The labels of an object, sorted by key; equal sets may share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let index = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        self.0.get(index).map(|(_, value)| value)
    }

    /// All labels, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// These labels and one more, which takes the place of one with its key.
    #[must_use]
    pub fn with(&self, key: Arc<str>, value: Arc<str>) -> Self {
        let others = self.0.iter().filter(|(known, _)| *known != key).cloned();
        others.chain([(key.clone(), value)]).collect()
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Labels {
    /// Of two labels with one key, the last counts.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(labels: I) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
        Self(sorted.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// What a requirement demands of the value of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Demand {
    /// The label is there, with one of these values.
    In(Arc<[Arc<str>]>),
    /// The label has none of these values; one that is not there has none.
    NotIn(Arc<[Arc<str>]>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// One condition of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What is demanded of its value.
    pub demand: Demand,
}

impl Requirement {
    /// Whether labels meet the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.demand {
            Demand::In(values) => value.is_some_and(|value| values.contains(value)),
            Demand::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Demand::Exists => value.is_some(),
            Demand::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.demand {
            Demand::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Demand::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Demand::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
            Demand::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Demand::Exists => write!(f, "{key}"),
            Demand::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// A label selector in canonical form: requirements and their values are sorted, each once, and
/// `matchLabels` are requirements too. Two selectors that say the same in other words are equal.
///
/// Without a requirement it matches everything; "not set" is the holder's affair.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LabelSelector(Arc<[Requirement]>);

impl LabelSelector {
    /// A selector of requirements, all of which must be met.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut list: Vec<Requirement> = requirements
            .into_iter()
            .map(|Requirement { key, demand }| Requirement {
                key,
                demand: match demand {
                    Demand::In(values) => Demand::In(sorted(&values)),
                    Demand::NotIn(values) => Demand::NotIn(sorted(&values)),
                    other => other,
                },
            })
            .collect();
        list.sort();
        list.dedup();
        Self(list.into())
    }

    /// The requirements, in canonical order.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether labels meet all requirements.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

fn sorted(values: &[Arc<str>]) -> Arc<[Arc<str>]> {
    let set: std::collections::BTreeSet<_> = values.iter().cloned().collect();
    set.into_iter().collect()
}

impl fmt::Display for LabelSelector {
    /// As kubectl's `--selector` takes it; `{}` where everything matches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("{}");
        }
        for (index, requirement) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}
