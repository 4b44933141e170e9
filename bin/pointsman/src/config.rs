//! What was said (flags) → what is meant (checked).

use anyhow::{Context, Result, bail, ensure};
use model::{Cidr, Family, parse_cidr};
use plan::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints};

use crate::cli::{DetectLocalMode, NoLocalEndpoints, RoutingArguments, SourceArguments};

/// This node's name: as said, or the host's, as Node objects write it (without blanks, lower case).
pub(crate) fn node_name(source: &SourceArguments) -> Result<String> {
    let said = match &source.node {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()
            .context("the host's name cannot be read; name the node by --node")?
            .to_string_lossy()
            .into_owned(),
    };
    let name = said.trim().to_lowercase();
    ensure!(!name.is_empty(), "the node's name is empty; give its Node object's name by --node");
    Ok(name)
}

/// The decisions that routing depends on.
pub(crate) fn routing(node_name: &str, said: &RoutingArguments) -> Result<Config> {
    let mut config = Config::new(node_name);
    config.detect_local = detect_local(said)?;
    config.masquerade_all = said.masquerade_all;
    config.node_port_addresses = node_port_addresses(&said.nodeport_addresses)?;
    config.localhost_node_ports = said.iptables_localhost_nodeports;
    config.allow_external_ips = feature_gates(&said.feature_gates)?;
    config.on_no_local_endpoints = match said.no_local_endpoints {
        NoLocalEndpoints::Drop => OnNoLocalEndpoints::Drop,
        NoLocalEndpoints::Reject => OnNoLocalEndpoints::Reject,
    };
    Ok(config)
}

fn detect_local(said: &RoutingArguments) -> Result<DetectLocal> {
    Ok(match said.detect_local_mode {
        DetectLocalMode::ClusterCidr if said.cluster_cidr.is_empty() => DetectLocal::Nothing,
        DetectLocalMode::ClusterCidr => {
            DetectLocal::ClusterCidr(cluster_cidrs(&said.cluster_cidr)?)
        }
        DetectLocalMode::NodeCidr => DetectLocal::NodeCidr,
        DetectLocalMode::BridgeInterface => DetectLocal::BridgeInterface(interface(
            said.pod_bridge_interface.as_deref(),
            "--pod-bridge-interface",
        )?),
        DetectLocalMode::InterfaceNamePrefix => DetectLocal::InterfaceNamePrefix(interface(
            said.pod_interface_name_prefix.as_deref(),
            "--pod-interface-name-prefix",
        )?),
    })
}

fn cluster_cidrs(said: &[String]) -> Result<Vec<Cidr>> {
    let cidrs = cidrs(said, "--cluster-cidr")?;
    for family in Family::ALL {
        let of_family = cidrs.iter().filter(|cidr| Family::of_cidr(cidr) == family).count();
        ensure!(
            of_family <= 1,
            "--cluster-cidr: {of_family} {family} blocks, expected at most one"
        );
    }
    Ok(cidrs)
}

/// The kernel's IFNAMSIZ leaves 15 bytes for a name.
fn interface(said: Option<&str>, flag: &str) -> Result<String> {
    let name = said.unwrap_or_default();
    ensure!(!name.is_empty(), "{flag} is needed with this --detect-local-mode");
    ensure!(
        name.len() <= 15 && !name.contains(['/', '+']) && !name.contains(char::is_whitespace),
        "{flag}: {name:?} is no interface name (at most 15 bytes, without '/', '+' or blanks)"
    );
    Ok(name.to_owned())
}

fn node_port_addresses(said: &[String]) -> Result<NodePortAddresses> {
    match said {
        [] => Ok(NodePortAddresses::All),
        [word] if word == "primary" => Ok(NodePortAddresses::Primary),
        several if several.iter().any(|word| word == "primary") => {
            bail!("--nodeport-addresses: \"primary\" stands alone or not at all")
        }
        blocks => Ok(NodePortAddresses::Cidrs(cidrs(blocks, "--nodeport-addresses")?)),
    }
}

fn cidrs(said: &[String], flag: &str) -> Result<Vec<Cidr>> {
    said.iter()
        .map(|text| {
            // Flags are the operator's own words: no leniency towards leading zeros here, which the
            // standard library refuses.
            let address = text.split('/').next().unwrap_or_default();
            let strict = address.parse::<std::net::IpAddr>().is_ok();
            let cidr = parse_cidr(text).ok().filter(|_| strict);
            cidr.with_context(|| {
                format!("{flag}: {text:?} is not an address block such as 10.244.0.0/16")
            })
        })
        .collect()
}

/// Reads the gates that matter here; kube-proxy's other gates are accepted and change nothing.
fn feature_gates(said: &[String]) -> Result<bool> {
    let mut allow_external_ips = true;
    for gate in said {
        let (name, value) = gate.split_once('=').with_context(|| {
            format!("--feature-gates: {gate:?}, expected NAME=true or NAME=false")
        })?;
        let on = match value {
            "true" => true,
            "false" => false,
            _ => bail!("--feature-gates: {gate:?}, expected NAME=true or NAME=false"),
        };
        match name {
            "AllowServiceExternalIPs" => allow_external_ips = on,
            other => tracing::warn!(gate = other, "this feature gate changes nothing here"),
        }
    }
    Ok(allow_external_ips)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn said(flags: &[&str]) -> RoutingArguments {
        let words = ["pointsman", "run"].iter().chain(flags);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(arguments) => arguments.routing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_kube_proxy() {
        assert_eq!(routing("alpha", &said(&[])).unwrap(), Config::new("alpha"));
    }

    #[test]
    fn flags_reach_the_config() {
        let config = routing(
            "alpha",
            &said(&[
                "--cluster-cidr=10.244.0.0/16,fd00:10::/48",
                "--nodeport-addresses=primary",
                "--masquerade-all",
                "--iptables-localhost-nodeports=false",
                "--feature-gates=AllowServiceExternalIPs=false",
                "--no-local-endpoints=reject",
            ]),
        )
        .unwrap();
        let cidrs = ["10.244.0.0/16", "fd00:10::/48"].map(|text| text.parse().unwrap());
        assert_eq!(config.detect_local, DetectLocal::ClusterCidr(cidrs.to_vec()));
        assert_eq!(config.node_port_addresses, NodePortAddresses::Primary);
        assert!(config.masquerade_all && !config.localhost_node_ports);
        assert!(!config.allow_external_ips);
        assert_eq!(config.on_no_local_endpoints, OnNoLocalEndpoints::Reject);
    }

    #[test]
    fn a_wrong_word_is_named_with_its_flag() {
        for (flags, part) in [
            (&["--cluster-cidr=10.244.0.0"][..], "--cluster-cidr: \"10.244.0.0\""),
            (&["--cluster-cidr=10.0.0.0/8,11.0.0.0/8"], "2 IPv4 blocks"),
            (&["--nodeport-addresses=primary,10.0.0.0/8"], "stands alone"),
            (&["--nodeport-addresses=010.0.0.0/8"], "--nodeport-addresses"),
            (&["--detect-local-mode=BridgeInterface"], "--pod-bridge-interface is needed"),
            (
                &["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=a/b"],
                "no interface name",
            ),
            (&["--feature-gates=AllowServiceExternalIPs"], "NAME=true"),
        ] {
            let error = routing("alpha", &said(flags)).unwrap_err().to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
    }
}
