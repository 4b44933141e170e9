//! Feature gates: which are known here, and what they change.

use std::collections::BTreeMap;

use crate::notes::Notes;

/// The gates that change something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// AllowServiceExternalIPs: whether `spec.externalIPs` count.
    pub external_ips: bool,
    /// ComponentFlagz: whether `/flagz` is served.
    pub flagz: bool,
    /// ComponentStatusz: whether `/statusz` is served.
    pub statusz: bool,
    /// LoggingAlphaOptions: whether alpha options of logging may be set at all.
    pub logging_alpha_options: bool,
}

/// A gate that is known, and whether it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// How far the feature has come, as `kubernetes_feature_enabled` writes it: `ALPHA`, `BETA`, or
    /// nothing for general availability.
    pub stage: &'static str,
    /// Whether it is on.
    pub enabled: bool,
}

/// Every gate that is known, with what `featureGates` says of it.
pub fn gates(said: &BTreeMap<String, bool>) -> impl Iterator<Item = Gate> + '_ {
    KNOWN.iter().map(|&(name, stage, _)| {
        let stage = match stage {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            Stage::Stable | Stage::Locked => "",
        };
        Gate { name, stage, enabled: value(said, name) }
    })
}

/// How far a feature has come, which the gates AllAlpha and AllBeta go by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
    Stable,
    /// It cannot be switched any more.
    Locked,
}

/// Name, stage, default: those of Kubernetes 1.36 that reach a proxy on Linux.
const KNOWN: [(&str, Stage, bool); 8] = [
    ("AllowServiceExternalIPs", Stage::Stable, true),
    ("ComponentFlagz", Stage::Beta, true),
    ("ComponentStatusz", Stage::Beta, true),
    ("LoggingAlphaOptions", Stage::Alpha, false),
    ("LoggingBetaOptions", Stage::Beta, true),
    ("MultiCIDRServiceAllocator", Stage::Locked, true),
    ("NFTablesProxyMode", Stage::Locked, true),
    ("PreferSameTrafficDistribution", Stage::Locked, true),
];

/// Reads the gates. One that is not known changes nothing: it may be one of the hundreds that
/// kube-proxy knows and does not use.
pub(crate) fn read(said: &BTreeMap<String, bool>, notes: &mut Notes) -> FeatureGates {
    for (name, on) in said {
        match KNOWN.iter().find(|(known, ..)| known == name) {
            Some((_, Stage::Locked, default)) if on != default => notes
                .fault("featureGates", format!("{name}={on}, but the gate is locked to {default}")),
            Some(_) => {}
            None if name == "AllAlpha" || name == "AllBeta" => {}
            None => notes.warn("featureGates", format!("{name} changes nothing here")),
        }
    }
    FeatureGates {
        external_ips: value(said, "AllowServiceExternalIPs"),
        flagz: value(said, "ComponentFlagz"),
        statusz: value(said, "ComponentStatusz"),
        logging_alpha_options: value(said, "LoggingAlphaOptions"),
    }
}

/// A gate by its own name, else by its stage, else by default.
fn value(said: &BTreeMap<String, bool>, name: &str) -> bool {
    let known = KNOWN.iter().find(|(known, ..)| *known == name);
    let by_stage = known.and_then(|(_, stage, _)| match stage {
        Stage::Alpha => said.get("AllAlpha"),
        Stage::Beta => said.get("AllBeta"),
        Stage::Stable | Stage::Locked => None,
    });
    let default = known.is_some_and(|(.., default)| *default);
    said.get(name).or(by_stage).copied().unwrap_or(default)
}
