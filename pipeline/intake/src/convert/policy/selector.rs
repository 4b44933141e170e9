//! Label selectors.

use std::sync::Arc;

use model::{Demand, LabelSelector, Requirement};
use serde_json::Value;

use super::read::{At, Read};
use crate::convert::Names;

/// Reads a selector; an empty one matches everything.
pub(super) fn selector(at: &At<'_>, names: &mut Names) -> Read<LabelSelector> {
    let object = at.object(&["matchLabels", "matchExpressions"])?;
    let mut requirements = Vec::new();
    if let Some(labels) = object.get("matchLabels") {
        for (key, value) in labels.entries()? {
            let demand = Demand::In(Arc::new([names.intern(value.text()?)]));
            requirements.push(Requirement { key: names.intern(key), demand });
        }
    }
    for expression in object.list("matchExpressions")? {
        requirements.push(requirement(&expression, names)?);
    }
    Ok(LabelSelector::new(requirements))
}

fn requirement(at: &At<'_>, names: &mut Names) -> Read<Requirement> {
    let object = at.object(&["key", "operator", "values"])?;
    let key = object.need("key")?;
    if key.text()?.is_empty() {
        return Err(key.fault("a label's key"));
    }
    let operator = object.need("operator")?;
    let mut values: Vec<Arc<str>> = Vec::new();
    for value in object.list("values")? {
        values.push(names.intern(value.text()?));
    }
    let demand = match (operator.text()?, values.is_empty()) {
        ("In", false) => Demand::In(values.into()),
        ("NotIn", false) => Demand::NotIn(values.into()),
        ("Exists", true) => Demand::Exists,
        ("DoesNotExist", true) => Demand::DoesNotExist,
        _ => {
            let expected = "In or NotIn with values, or Exists or DoesNotExist without";
            return Err(operator.fault(expected));
        }
    };
    Ok(Requirement { key: names.intern(key.text()?), demand })
}

impl<'v> At<'v> {
    /// The fields of an object whose keys are not the API's.
    fn entries(&self) -> Read<Vec<(&'v str, At<'v>)>> {
        let Value::Object(map) = self.value() else { return Err(self.fault("an object")) };
        Ok(map.iter().map(|(key, value)| (key.as_str(), self.below(key, value))).collect())
    }
}
