//! Other names for everything in a capture: the same one always by the same.
//!
//! Addresses become those that a lab gives to the same roles: node N is `10.9.0.N` and `fd09::N`, its
//! Pods are in `10.77.N.0/24` and `fd77:N::/64`, cluster IPs in `10.96.0.0/16` and `fd96::/112`. So a
//! lab can stand for any cluster, and nothing tells where a redacted file comes from. Words that the
//! API defines stay; every other one is replaced, whatever it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use model::Cidr;
use serde_json::{Map, Value};

use super::bundle::{Bundle, Verdict};
use super::roles::placed;

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing is told but shapes.
    Redact,
    /// A lab is to have the objects: addresses and Nodes alone are others.
    Relocate,
}

/// Fields whose words the API defines.
const DEFINED: [&str; 20] = [
    "apiVersion",
    "kind",
    "type",
    "protocol",
    "sessionAffinity",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipFamilies",
    "addressType",
    "ipMode",
    "trafficDistribution",
    "phase",
    "status",
    "operator",
    "restartPolicy",
    "policyTypes",
    "creationTimestamp",
    "deletionTimestamp",
    "format",
];

/// Names that every cluster has, and words that are values of their own.
const COMMON: [&str; 6] = ["", "None", "default", "kube-system", "kubernetes", "linux"];

/// Fields whose keys are labels.
const LABELS: [&str; 4] = ["labels", "matchLabels", "selector", "nodeSelector"];

/// The words of an image's name that a lab knows.
const IMAGES: [&str; 14] = [
    "echo",
    "slow",
    "refusing",
    "unready",
    "flapping",
    "crashing",
    "lingering",
    "nginx",
    "httpd",
    "redis",
    "postgres",
    "mysql",
    "mongo",
    "coredns",
];

/// Who is called what.
#[derive(Debug)]
pub(crate) struct Names {
    wish: Wish,
    pub(super) nodes: BTreeMap<String, String>,
    pub(super) addresses: BTreeMap<IpAddr, IpAddr>,
    pub(super) blocks: BTreeMap<Cidr, String>,
    words: BTreeMap<String, String>,
    chains: BTreeMap<String, String>,
    /// How many addresses and blocks have no role.
    others: u32,
    other_blocks: u32,
}

impl Names {
    /// Finds the roles of the addresses of a bundle.
    pub(crate) fn of(bundle: &Bundle, wish: Wish) -> Self {
        let mut names = Self {
            wish,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            blocks: BTreeMap::new(),
            words: BTreeMap::new(),
            chains: BTreeMap::new(),
            others: 0,
            other_blocks: 0,
        };
        for block in &bundle.routing.cluster_cidrs {
            names.block_is(block, if block.contains(':') { "fd77::/16" } else { "10.77.0.0/16" });
        }
        let placed = placed(bundle);
        let numbers = names.number_nodes(bundle, &placed);
        names.number_pods(&placed, &numbers);
        names.number_services(bundle);
        names
    }

    /// The bundle in the other names.
    pub(crate) fn apply(mut self, mut bundle: Bundle) -> Result<Bundle> {
        bundle.objects = bundle.objects.iter().map(|object| self.value("", object)).collect();
        for block in &mut bundle.routing.cluster_cidrs {
            *block = self.token(block);
        }
        for node in &mut bundle.nodes {
            node.name = self.token(&node.name);
            for line in node.kernel.rules.iter_mut().chain(&mut node.kernel.connections) {
                *line = self.line(line);
            }
            for verdict in &mut node.verdicts {
                let Verdict { service, to, from, verdict } = verdict;
                for line in [service, to, from, &mut *verdict] {
                    *line = self.line(line);
                }
                *verdict = Verdict::in_order(verdict);
            }
            node.verdicts.sort();
        }
        if self.wish == Wish::Redact {
            bundle.redacted = true;
            // What a server says may name anything.
            for line in &mut bundle.left_out {
                line.truncate(line.find(':').unwrap_or(line.len()));
            }
        }
        Ok(bundle)
    }

    fn value(&mut self, field: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => self.string(field, text).into(),
            Value::Array(all) => all.iter().map(|one| self.value(field, one)).collect(),
            Value::Object(fields) => {
                let labels = LABELS.contains(&field) && fields.values().all(Value::is_string);
                let mut new = Map::new();
                for (key, value) in fields {
                    let name = if labels { self.key(key) } else { key.clone() };
                    // The value of a label is no field that the API defines.
                    let value = self.value(if labels { "" } else { key }, value);
                    new.insert(name, value);
                }
                Value::Object(new)
            }
            other => other.clone(),
        }
    }

    fn string(&mut self, field: &str, text: &str) -> String {
        match field {
            "image" if self.wish == Wish::Redact => image(text),
            "key" | "topologyKey" => self.key(text),
            defined if DEFINED.contains(&defined) => text.to_owned(),
            _ => self.token(text),
        }
    }

    /// The key of a label.
    fn key(&mut self, key: &str) -> String {
        let defined = key.split_once('/').is_some_and(|(domain, _)| {
            ["kubernetes.io", "k8s.io"].iter().any(|known| domain.ends_with(known))
        });
        if defined { key.to_owned() } else { self.word(key) }
    }

    /// A whole word: an address, a block, a Node, or anything else.
    fn token(&mut self, token: &str) -> String {
        if let Ok(address) = token.parse::<IpAddr>() {
            return self.address(address).to_string();
        }
        if token.contains('/')
            && let Ok(block) = token.parse::<Cidr>()
        {
            return self.block(block);
        }
        match self.nodes.get(token) {
            Some(node) => node.clone(),
            None => self.word(token),
        }
    }

    fn word(&mut self, word: &str) -> String {
        if self.wish == Wish::Relocate || COMMON.contains(&word) {
            return word.to_owned();
        }
        let next = self.words.len() + 1;
        self.words.entry(word.to_owned()).or_insert_with(|| format!("w{next}")).clone()
    }

    /// A line for people: what looks like an address, a block, a Service or a chain's hash is
    /// replaced, and the words between stay. Names of ours stand nowhere else in it.
    fn line(&mut self, line: &str) -> String {
        let part = |c: char| c.is_ascii_alphanumeric() || ".:/_-[]".contains(c);
        let mut new = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(start) = rest.find(part) {
            new.push_str(&rest[..start]);
            let end = rest[start..].find(|c| !part(c)).map_or(rest.len(), |length| start + length);
            new.push_str(&self.part(&rest[start..end]));
            rest = &rest[end..];
        }
        new.push_str(rest);
        new
    }

    fn part(&mut self, part: &str) -> String {
        if let Ok(socket) = part.parse::<std::net::SocketAddr>() {
            return std::net::SocketAddr::new(self.address(socket.ip()), socket.port()).to_string();
        }
        if part.parse::<IpAddr>().is_ok() || part.parse::<Cidr>().is_ok() {
            return self.token(part);
        }
        if let Some((chain, hash)) = part.rsplit_once('-')
            && part.starts_with("KUBE-")
            && hash.len() == 16
        {
            if self.wish == Wish::Relocate {
                return part.to_owned();
            }
            let next = self.chains.len() + 1;
            let hash = self.chains.entry(hash.to_owned()).or_insert_with(|| format!("{next:016}"));
            return format!("{chain}-{hash}");
        }
        match part.split_once('/') {
            Some((namespace, name)) if !name.is_empty() => {
                let name: Vec<String> = name.split(':').map(|part| self.word(part)).collect();
                format!("{}/{}", self.word(namespace), name.join(":"))
            }
            _ => part.to_owned(),
        }
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        let outside = ["198.51.100.7", "2001:db8:ffff::7"];
        let fixed = address.is_loopback() || address.is_unspecified();
        if fixed || outside.contains(&address.to_string().as_str()) {
            return address;
        }
        let number = self.others + 1;
        if let Some(known) = self.addresses.get(&address) {
            return *known;
        }
        self.others = number;
        let text = match address {
            IpAddr::V4(_) => format!("198.18.{}.{}", number / 250 % 250, number % 250 + 1),
            IpAddr::V6(_) => format!("2001:db8:18::{number:x}"),
        };
        let new = text.parse().unwrap_or(address);
        self.addresses.insert(address, new);
        new
    }

    fn block(&mut self, block: Cidr) -> String {
        let whole = if matches!(block, Cidr::V4(_)) { 32 } else { 128 };
        let (address, length) = match block {
            Cidr::V4(block) => (IpAddr::from(block.addr()), block.prefix_len()),
            Cidr::V6(block) => (IpAddr::from(block.addr()), block.prefix_len()),
        };
        if length == 0 {
            return block.to_string();
        }
        if length == whole {
            return format!("{}/{length}", self.address(address));
        }
        if let Some(known) = self.blocks.get(&block) {
            return known.clone();
        }
        // A block of Nodes or Pods stays one.
        let within = self.addresses.iter().find(|(old, _)| block.contains(*old));
        let within = within.map(|(_, new)| match new.to_string() {
            pod if pod.starts_with("10.77.") => "10.77.0.0/16",
            node if node.starts_with("10.9.") => "10.9.0.0/24",
            pod if pod.starts_with("fd77:") => "fd77::/16",
            node if node.starts_with("fd09:") => "fd09::/64",
            _ => "",
        });
        let new = match within.filter(|known| !known.is_empty()) {
            Some(known) => known.to_owned(),
            None => {
                self.other_blocks += 1;
                match address {
                    IpAddr::V4(_) => format!("198.19.{}.0/24", self.other_blocks % 256),
                    IpAddr::V6(_) => format!("2001:db8:19:{:x}::/64", self.other_blocks),
                }
            }
        };
        self.blocks.insert(block, new.clone());
        new
    }
}

/// The words that a lab knows, for they are all that an image is there.
fn image(image: &str) -> String {
    let words = image.split(['/', ':', '-', '@']).filter(|word| IMAGES.contains(word));
    let words: Vec<&str> = words.collect();
    if words.is_empty() { "echo".to_owned() } else { words.join("-") }
}
