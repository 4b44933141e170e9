//! A configuration that has changed: what can follow it in place, and what cannot.

use crate::meant::{Meant, Source};

/// What a changed configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// These parts can be changed while the process runs; empty if nothing changed.
    InPlace(Vec<Part>),
    /// These parts are fixed when the process starts.
    Restart(Vec<Fixed>),
}

/// What can be changed while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `Meant::routing` but for the node's name: every rule is planned anew.
    Routing,
    /// `Meant::route_localnet`: a sysctl.
    RouteLocalnet,
    /// `Meant::pace`.
    Pace,
    /// `Meant::healthz`: the listener moves.
    Healthz,
    /// `Meant::metrics`: the listener moves.
    Metrics,
    /// `Meant::bind_address_hard_fail`, for the next time a listener moves.
    HardFail,
    /// `Meant::profiling`.
    Profiling,
    /// `Meant::conntrack`: sysctls.
    Conntrack,
    /// `Meant::oom_score_adj`.
    OomScore,
    /// `Meant::logging.verbosity`.
    Verbosity,
    /// `Meant::features` that routing does not depend on: what the metrics server serves.
    Features,
    /// Only `Meant::effective`: nothing is done otherwise, `/configz` tells.
    Words,
}

/// What is fixed when the process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fixed {
    /// Another mode's rules take over when a process starts.
    #[error("mode: the rules of one mode are taken over by the other at a start")]
    Mode,
    /// The bit stands in rules of every Service and in the marks of packets on their way.
    #[error("masqueradeBit: packets on their way carry the mark of the old bit")]
    MasqueradeBit,
    /// Every watch is for this node.
    #[error("hostnameOverride: every watch is for the node of the old name")]
    NodeName,
    /// The client of the API is made once.
    #[error("clientConnection: the client of the API is made at a start")]
    Source,
    /// The form of the log is chosen once.
    #[error("logging.format: the log is opened at a start")]
    LogFormat,
    /// Another task is another process.
    #[error("another task was asked for")]
    Task,
}

/// Compares the configuration in force with the one to be.
pub fn reload(old: &Meant, new: &Meant) -> Reload {
    let fixed = changed([
        (Fixed::Mode, old.mode != new.mode),
        (Fixed::MasqueradeBit, old.masquerade_bit != new.masquerade_bit),
        (Fixed::NodeName, old.routing.node_name != new.routing.node_name),
        (Fixed::Source, other_source(&old.source, &new.source)),
        (Fixed::LogFormat, old.logging.format != new.logging.format),
        (Fixed::Task, old.task != new.task || old.config_file != new.config_file),
    ]);
    if !fixed.is_empty() {
        return Reload::Restart(fixed);
    }
    let mut parts = changed([
        (Part::Routing, old.routing != new.routing),
        (Part::RouteLocalnet, old.route_localnet != new.route_localnet),
        (Part::Pace, old.pace != new.pace),
        (Part::Healthz, old.healthz != new.healthz),
        (Part::Metrics, old.metrics != new.metrics),
        (Part::HardFail, old.bind_address_hard_fail != new.bind_address_hard_fail),
        (Part::Profiling, old.profiling != new.profiling),
        (Part::Conntrack, old.conntrack != new.conntrack),
        (Part::OomScore, old.oom_score_adj != new.oom_score_adj),
        (Part::Verbosity, old.logging.verbosity != new.logging.verbosity),
        (Part::Features, old.features != new.features),
    ]);
    if parts.is_empty() && old.effective != new.effective {
        parts.push(Part::Words);
    }
    Reload::InPlace(parts)
}

/// How often and how fast the API is asked has no effect, and so asks for nothing.
fn other_source(old: &Source, new: &Source) -> bool {
    (&old.manifests, &old.kubeconfig, &old.master) != (&new.manifests, &new.kubeconfig, &new.master)
}

fn changed<T, const N: usize>(all: [(T, bool); N]) -> Vec<T> {
    all.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}
