//! The pages of the metrics server that describe the process.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::answer::Answer;
use crate::moment::Moment;

/// What the pages tell; replaced when a configuration is loaded in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Pages {
    /// `/proxyMode`: `iptables` or `nftables`.
    pub mode: String,
    /// `/configz`: the effective configuration as `KubeProxyConfiguration` v1alpha1, with
    /// `apiVersion` and `kind`.
    pub configz: Value,
    /// `/flagz`: every flag with its value. Secrets have no place here.
    pub flags: BTreeMap<String, String>,
    /// `/statusz`: the version.
    pub version: String,
    /// Whether `/flagz` is there (feature gate ComponentFlagz).
    pub flagz: bool,
    /// Whether `/statusz` is there (feature gate ComponentStatusz).
    pub statusz: bool,
}

/// The key of the configuration in `/configz`.
const CONFIG_GROUP: &str = "kubeproxy.config.k8s.io";

/// What the two beta pages of Kubernetes' components begin with, in substance: their form is for
/// people.
const FOR_PEOPLE: &str =
    "This page is for people: its form may change at any time, so do not parse it.";

impl Pages {
    pub(crate) fn proxy_mode(&self) -> Answer {
        Answer::text(200, self.mode.clone())
    }

    pub(crate) fn configz(&self) -> Answer {
        Answer::json_of(200, &BTreeMap::from([(CONFIG_GROUP, &self.configz)]))
    }

    pub(crate) fn flagz(&self) -> Option<Answer> {
        if !self.flagz {
            return None;
        }
        let mut page = format!("pointsman flagz\n{FOR_PEOPLE}\n\n");
        for (name, value) in &self.flags {
            let _ = writeln!(page, "{name}={value}");
        }
        Some(Answer::text(200, page))
    }

    pub(crate) fn statusz(&self, started: Moment, now: Moment, paths: &[&str]) -> Option<Answer> {
        if !self.statusz {
            return None;
        }
        let up = now.since(started).as_secs();
        let (days, hours, minutes, seconds) = (up / 86_400, up / 3_600 % 24, up / 60 % 60, up % 60);
        let page = format!(
            "pointsman statusz\n{FOR_PEOPLE}\n\nStarted: {}\nUp: {days}d {hours:02}h {minutes:02}m \
             {seconds:02}s\nVersion: {}\nMode: {}\nPaths: {}\n",
            started.rfc3339(),
            self.version,
            self.mode,
            paths.join(" "),
        );
        Some(Answer::text(200, page))
    }
}
