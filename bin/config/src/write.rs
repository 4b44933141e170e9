//! A configuration as text: the file of `--write-config-to`, and the answer of `/configz`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::defaults;
use crate::error::Warning;
use crate::meant::Meant;
use crate::policy::NetworkPolicy;
use crate::v1alpha1::KubeProxyConfiguration;

/// An effective configuration as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenConfig {
    /// YAML, the fields in alphabetical order: the same bytes for the same configuration.
    pub yaml: String,
    /// What was said by flags and cannot be said in a file.
    pub lost: Vec<Warning>,
}

/// Writes the effective configuration as `kubeproxy.config.k8s.io/v1alpha1`.
///
/// # Errors
/// What the serializer refuses; a checked configuration holds nothing of that kind.
pub fn write_config(meant: &Meant) -> Result<WrittenConfig, serde_saphyr::ser::Error> {
    Ok(WrittenConfig { yaml: serde_saphyr::to_string(&meant.effective)?, lost: lost(meant) })
}

fn lost(meant: &Meant) -> Vec<Warning> {
    let mut lost = Vec::new();
    let mut tell = |place: &str, text: &str| {
        lost.push(Warning { place: place.into(), text: text.into() });
    };
    if meant.source.master.is_some() {
        tell("--master", "has no field; give the flag beside --config");
    }
    if meant.source.manifests.is_some() {
        tell("--manifests", "has no field; give the flag beside --config");
    }
    if meant.network_policy != NetworkPolicy::default() {
        tell("--network-policy and --policy-…", "have no fields; give the flags beside --config");
    }
    if meant.routing.on_no_local_endpoints == plan::OnNoLocalEndpoints::Reject {
        tell("--no-local-endpoints", "has no field; give the flag beside --config");
    }
    // What a zero would be read as.
    let mut read_back = meant.effective.clone();
    defaults::fill(&mut read_back);
    let (written, read) = (leaves(&meant.effective), leaves(&read_back));
    for (path, value) in read.iter().filter(|(path, value)| written.get(*path) != Some(value)) {
        tell(path, &format!("is read back as its default, {value}: a file cannot switch it off"));
    }
    lost
}

/// The configuration as `/configz` answers: under the name of its group.
///
/// # Errors
/// What the serializer refuses; a checked configuration holds nothing of that kind.
pub fn configz(meant: &Meant) -> Result<String, serde_json::Error> {
    let config = serde_json::to_value(&meant.effective)?;
    serde_json::to_string(&json!({ "kubeproxy.config.k8s.io": config }))
}

/// The fields of a configuration that hold no fields themselves, by path, in JSON.
///
/// Fields that are left out when empty (`featureGates`, `logging.vmodule`) are missing then.
pub(crate) fn leaves(config: &KubeProxyConfiguration) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    // Every map of the type has text for keys, so the conversion cannot fail.
    let whole = serde_json::to_value(config).unwrap_or_default();
    collect(&whole, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if path != "featureGates" => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                collect(value, &format!("{path}{dot}{name}"), found);
            }
        }
        leaf => {
            found.insert(path.into(), leaf.clone());
        }
    }
}
