//! The cluster: a folder of manifests, Pods that always answer, and what happens to both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Namespace, OUTSIDE, Server, node_address, pod_address};
use model::{Family, Protocol};

use super::Mode;

/// The one node.
pub(super) const NODE: &str = "alpha";
/// Pods that answer on port 8080 as long as the soak lasts.
const PODS: usize = 6;
const CLIENT: &str = "client";
/// How many Services have an endpoint at any time and are asked without end.
const STEADY: usize = 3;
/// How many more there may be.
const CHURN: usize = 24;

/// Numbers that look random and follow from the seed (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit, which must not be 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = mixed ^ (mixed >> 31);
        usize::try_from(number % limit.max(1) as u64).unwrap_or_default()
    }

    pub(super) fn one_of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        all.get(self.below(all.len())).copied().unwrap_or_default()
    }
}

/// The cluster and its node.
pub(super) struct World {
    mode: Mode,
    lab: Lab,
    folder: PathBuf,
    dice: Dice,
    /// The Services of the folder by their numbers.
    present: BTreeMap<usize, String>,
    /// Addresses that the node has at times, by whether it has them.
    addresses: BTreeMap<IpAddr, bool>,
    pub(super) events: u32,
    _servers: Vec<Server>,
}

fn pod_ip(pod: usize) -> IpAddr {
    pod_address(1, u8::try_from(pod + 11).unwrap_or(11), Family::V4)
}

impl World {
    /// Builds the network and writes the first manifests.
    pub(super) fn create(home: &Path, mode: Mode, seed: u64) -> Result<Self> {
        let mut builder = Lab::star([NODE]).pod(CLIENT, NODE, [pod_address(1, 100, Family::V4)]);
        for pod in 0..PODS {
            builder = builder.pod(format!("pod-{pod}"), NODE, [pod_ip(pod)]);
        }
        let lab = builder.build()?;
        let mut servers = Vec::new();
        for pod in 0..PODS {
            let address = SocketAddr::new(pod_ip(pod), 8080);
            servers.push(lab.serve(&format!("pod-{pod}"), Protocol::Tcp, address)?);
        }
        let folder = home.join("manifests");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let addresses = (1..=3u8).map(|n| (IpAddr::from([10, 200, 0, n]), false)).collect();
        let (dice, present) = (Dice::new(seed), BTreeMap::new());
        let mut world =
            Self { mode, lab, folder, dice, present, addresses, events: 0, _servers: servers };
        world.write_node()?;
        for number in 0..STEADY {
            world.write_service(number)?;
        }
        Ok(world)
    }

    /// Which rules the agent writes.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn node(&self) -> Result<&Namespace> {
        Ok(self.lab.at(NODE)?)
    }

    /// How many Services there are.
    pub(super) fn services(&self) -> usize {
        self.present.len()
    }

    /// Who asks which healthy Service.
    pub(super) fn questions(&self) -> Result<Vec<(Namespace, SocketAddr)>> {
        let cluster_ip = |number| SocketAddr::new(cluster_ip(number), 80);
        let node_port = SocketAddr::new(node_address(1, Family::V4), node_port(2));
        Ok(vec![
            (self.lab.at(CLIENT)?.clone(), cluster_ip(0)),
            (self.lab.at(NODE)?.clone(), cluster_ip(1)),
            (self.lab.at(OUTSIDE)?.clone(), node_port),
        ])
    }

    /// Until the next event.
    pub(super) fn pause(&mut self) -> Duration {
        Duration::from_millis(20 + self.dice.below(230) as u64)
    }

    /// Something happens to a Service.
    pub(super) fn event(&mut self) -> Result<()> {
        self.events += 1;
        let number = match self.dice.below(4) {
            0 => self.dice.below(STEADY),
            _ => STEADY + self.dice.below(CHURN),
        };
        match self.dice.below(8) {
            0 => self.write("broken.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: [\n"),
            1 => self.remove("broken.yaml"),
            2 | 3 if number >= STEADY => {
                self.present.remove(&number);
                self.remove(&format!("service-{number}.yaml"))
            }
            _ => self.write_service(number),
        }
    }

    /// The node gets an address or loses one, and its Node object says so.
    pub(super) fn toggle_address(&mut self) -> Result<()> {
        let place = self.dice.below(self.addresses.len());
        let Some((address, has)) = self.addresses.iter_mut().nth(place) else { return Ok(()) };
        *has = !*has;
        let script = format!("ip address {} {address}/32 dev lo", if *has { "add" } else { "del" });
        self.on_node(&script)?;
        self.write_node()
    }

    /// Runs a script on the node; it must succeed.
    pub(super) fn on_node(&self, script: &str) -> Result<()> {
        let output = self.node()?.command("sh").args(["-ec", script]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{script}: {error}");
        Ok(())
    }

    fn write_node(&self) -> Result<()> {
        let mut text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\nstatus:\n  addresses:\n  \
             - {{type: InternalIP, address: {}}}\n",
            node_address(1, Family::V4)
        );
        for (address, _) in self.addresses.iter().filter(|(_, has)| **has) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  - {{type: ExternalIP, address: {address}}}");
        }
        self.write("node.yaml", &text)
    }

    /// A Service with other endpoints than before, and of another kind if nobody relies on it.
    fn write_service(&mut self, number: usize) -> Result<()> {
        let steady = number < STEADY;
        let mut endpoints: Vec<usize> = (0..PODS).filter(|_| self.dice.below(2) == 0).collect();
        if steady && endpoints.is_empty() {
            endpoints.push(self.dice.below(PODS));
        }
        let mut spec = format!("  clusterIP: {}\n", cluster_ip(number));
        let kind = if steady { usize::from(number == 2) } else { self.dice.below(5) };
        let mut port = "{port: 80, targetPort: 8080}".to_owned();
        if kind > 0 {
            spec += if kind < 3 { "  type: NodePort\n" } else { "  type: LoadBalancer\n" };
            port = format!("{{port: 80, targetPort: 8080, nodePort: {}}}", node_port(number));
        }
        if !steady && self.dice.below(3) == 0 {
            spec += "  sessionAffinity: ClientIP\n";
        }
        if kind == 2 || kind == 4 {
            spec += "  externalTrafficPolicy: Local\n";
        }
        if kind >= 3 {
            spec += "  loadBalancerSourceRanges: [192.0.2.0/24]\n";
        }
        let _ = writeln!(spec, "  ports: [{port}]");
        if kind >= 3 {
            let _ = writeln!(
                spec,
                "status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.{}}}]}}}}",
                number + 1
            );
        }
        let text = manifest(number, &spec, &endpoints);
        self.write(&format!("service-{number}.yaml"), &text)?;
        self.present.insert(number, text);
        Ok(())
    }

    /// A file appears whole: no reader sees half of it.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let (draft, place) = (self.folder.with_extension("draft"), self.folder.join(name));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &place))
            .with_context(|| format!("cannot write {}", place.display()))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn cluster_ip(number: usize) -> IpAddr {
    IpAddr::from([10, 88, 1, u8::try_from(number + 1).unwrap_or(255)])
}

fn node_port(number: usize) -> u16 {
    30_000 + u16::try_from(number).unwrap_or_default()
}

fn manifest(number: usize, spec: &str, endpoints: &[usize]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: default}}
spec:
{spec}---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{number}-a
  namespace: default
  labels: {{kubernetes.io/service-name: service-{number}}}
addressType: IPv4
ports: [{{name: '', port: 8080, protocol: TCP}}]
endpoints:
"
    );
    if endpoints.is_empty() {
        return text.replace("endpoints:\n", "endpoints: []\n");
    }
    for pod in endpoints {
        let address = pod_ip(*pod);
        let _ = writeln!(
            text,
            "- {{addresses: [{address}], nodeName: {NODE}, conditions: {{ready: true}}}}"
        );
    }
    text
}
