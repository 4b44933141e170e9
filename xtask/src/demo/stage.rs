//! The acts of the demo. Each says what is being seen, and fails if it is not so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Lab, OUTSIDE, Outcome, Server, node_address, pod_address, pod_cidr, probe};
use model::{Family, Protocol};

use super::agents::Agent;
use super::folder::{self, Folder};
use super::requests::{Shares, Table};

const NODES: [&str; 2] = ["node-1", "node-2"];
const PODS: [&str; 4] = ["my-app-1", "my-app-2", "my-app-3", "my-app-4"];
const CLIENT: &str = "client";

const CLUSTER_IP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 80)), 80);
const NODE_PORT: u16 = 30080;

/// How many requests make one row. With four Pods, one of them gets none by chance once in ten
/// million rows.
const REQUESTS: u32 = 60;

/// "At once": a rejected client learns it in one round trip, and need not wait for a timeout.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The network, the folder and everything that runs.
pub(super) struct Stage {
    lab: Lab,
    folder: Folder,
    servers: BTreeMap<&'static str, Server>,
    agents: Vec<Agent>,
}

/// The node that a Pod runs on, by its place in [`NODES`].
fn node_of(pod: usize) -> usize {
    pod / 2
}

fn pod_ip(pod: usize) -> IpAddr {
    let number = u8::try_from(node_of(pod) + 1).unwrap_or(1);
    pod_address(number, u8::try_from(pod + 11).unwrap_or(11), Family::V4)
}

fn node_ip(node: usize) -> IpAddr {
    node_address(u8::try_from(node + 1).unwrap_or(1), Family::V4)
}

fn client_ip() -> IpAddr {
    pod_address(1, 100, Family::V4)
}

fn title(text: &str) {
    println!("\n=== {text}");
}

impl Stage {
    /// Builds the network, starts the Pods' servers, writes the folder and starts one agent a node.
    pub(super) fn set(program: &Path, home: &Path) -> Result<Self> {
        title("Two nodes, four Pods, a client and a host outside");
        println!(
            "Each is a network namespace of its own, connected by virtual Ethernet cables. There\n\
             is no container runtime and no API server: a folder of manifests is the cluster."
        );
        let start = Instant::now();
        let mut builder = Lab::full(NODES).gateway(NODES[0]).pod(CLIENT, NODES[0], [client_ip()]);
        for (index, pod) in PODS.into_iter().enumerate() {
            builder = builder.pod(pod, NODES[node_of(index)], [pod_ip(index)]);
        }
        let lab = builder.build()?;
        for (index, node) in NODES.into_iter().enumerate() {
            let local = (0..PODS.len()).filter(|pod| node_of(*pod) == index);
            let pods: Vec<_> = local.map(|pod| format!("{} {}", PODS[pod], pod_ip(pod))).collect();
            println!("  {node:<9}{}   Pods: {}", node_ip(index), pods.join(", "));
        }
        println!("  {CLIENT:<9}{}   a Pod on {} that asks", client_ip(), NODES[0]);
        let outside = lab::outside_address(Family::V4);
        println!("  {OUTSIDE:<9}{outside}   sends what is not a node's address to {}", NODES[0]);
        println!("(built in {} ms)", start.elapsed().as_millis());

        let folder = Folder::create(home.join("manifests"))?;
        let mut stage = Self { lab, folder, servers: BTreeMap::new(), agents: Vec::new() };
        for pod in 0..PODS.len() {
            stage.serve(pod)?;
        }
        stage.write_folder()?;
        stage.start_agents(program, home)?;
        Ok(stage)
    }

    fn serve(&mut self, pod: usize) -> Result<()> {
        let (name, address) = (PODS[pod], SocketAddr::new(pod_ip(pod), 8080));
        self.servers.insert(name, lab::serve_http(self.lab.at(name)?, name, address)?);
        Ok(())
    }

    fn write_folder(&self) -> Result<()> {
        title("The manifests");
        self.folder.write("my-service.yaml", folder::MY_SERVICE)?;
        self.folder.write("my-app-nodeport.yaml", folder::MY_APP_NODEPORT)?;
        for (index, node) in NODES.into_iter().enumerate() {
            let number = self.lab.node_number(node)?;
            let cidr = pod_cidr(number, Family::V4).to_string();
            let text = folder::node(node, node_ip(index), &cidr);
            self.folder.write(&format!("{node}.yaml"), &text)?;
        }
        for pod in 0..PODS.len() {
            self.write_pod(pod)?;
        }
        println!("my-service.yaml:");
        folder::MY_SERVICE.lines().for_each(|line| println!("  {line}"));
        println!(
            "Beside it: a second Service of type NodePort on port {NODE_PORT} (as `kubectl expose\n\
             --type=NodePort` would add), the two Nodes and the four Pods, labelled app: my-app."
        );
        Ok(())
    }

    fn write_pod(&self, pod: usize) -> Result<()> {
        let text = folder::pod(PODS[pod], NODES[node_of(pod)], pod_ip(pod));
        self.folder.write(&format!("{}.yaml", PODS[pod]), &text)
    }

    fn start_agents(&mut self, program: &Path, home: &Path) -> Result<()> {
        title("One pointsman per node");
        let start = Instant::now();
        for node in NODES {
            let log = home.join(format!("{node}.log"));
            let at = self.lab.at(node)?;
            self.agents.push(Agent::start(program, node, at, self.folder.path(), log)?);
        }
        self.wait("nat", "rules lead to all four Pods", |rules| {
            (0..PODS.len()).all(|pod| lead_to(rules, pod))
        })?;
        println!(
            "The kernels of both nodes have the rules after {} ms.",
            start.elapsed().as_millis()
        );
        Ok(())
    }

    /// Waits until a table is as it should be on every node.
    fn wait(&mut self, table: &str, what: &str, so: impl Fn(&str) -> bool) -> Result<()> {
        self.agents.iter_mut().try_for_each(|agent| agent.wait_for(table, what, &so))
    }

    /// The rules, as everybody lists them.
    pub(super) fn show_rules(&self) -> Result<()> {
        title("The rules, as iptables lists them");
        println!(
            "No iptables program was called to write them, but it reads them as its own. Each Pod\n\
             has a chain KUBE-SEP-… with its address, each Service port a chain KUBE-SVC-… that\n\
             picks one: the first Pod of four with probability 1/4, then 1/3, then 1/2, then the\n\
             last, which makes equal shares. KUBE-MARK-MASQ marks packets that shall leave under\n\
             the node's own address."
        );
        self.show("nat", "my-service")?;
        println!("The table filter accepts what was translated, and rejects where no Pod is left:");
        self.show("filter", "KUBE-")
    }

    /// Prints the rules of the first node that contain a word.
    fn show(&self, table: &str, word: &str) -> Result<()> {
        let Some(agent) = self.agents.first() else { return Ok(()) };
        println!("\n  {}# iptables -t {table} -L -n -v | grep '{word}'", agent.node());
        let listing = agent.iptables(&format!("-t {table} -L -n -v"))?;
        let lines: Vec<_> = listing.lines().filter(|line| line.contains(word)).collect();
        ensure!(!lines.is_empty(), "iptables lists nothing about {word} in table {table}");
        lines.iter().for_each(|line| println!("  {}", line.trim_end()));
        println!();
        Ok(())
    }

    /// Requests from everywhere to the cluster IP and to a NodePort.
    pub(super) fn send_requests(&self) -> Result<()> {
        title("Requests from a Pod, a node and outside");
        let page = self.curl()?;
        println!("  {CLIENT}$ curl http://{CLUSTER_IP}/");
        page.lines().for_each(|line| println!("  {line}"));
        println!("\nWho answers {REQUESTS} requests, each over a new connection:");
        let node_port = SocketAddr::new(node_ip(1), NODE_PORT);
        let table = Table::start(&PODS);
        let outside = lab::outside_address(Family::V4);
        // A Pod is seen as itself at a cluster IP. Everybody else is masqueraded as the node that
        // translated, so that the answer comes back the same way.
        for (from, seen) in [(CLIENT, client_ip()), (NODES[0], node_ip(0)), (OUTSIDE, node_ip(0))] {
            self.row(&table, from, "cluster IP", CLUSTER_IP, seen)?;
        }
        for from in [CLIENT, NODES[0], OUTSIDE] {
            self.row(&table, from, "NodePort", node_port, node_ip(1))?;
        }
        println!(
            "\nEvery request was answered and every Pod had its share. The Pods saw the client Pod\n\
             as itself at the cluster IP; where {outside} or a node asked, and at the NodePort,\n\
             they saw the node that translated (masquerading), so that answers come back its way."
        );
        Ok(())
    }

    fn row(
        &self,
        table: &Table<'_>,
        from: &str,
        what: &str,
        to: SocketAddr,
        seen: IpAddr,
    ) -> Result<()> {
        let shares = Shares::of(self.lab.at(from)?, to, REQUESTS)?;
        table.row(from, &format!("{to} ({what})"), &shares);
        let lost = shares.unanswered();
        ensure!(
            lost.is_empty(),
            "not every request from {from} to the {what} was answered: {lost}"
        );
        for pod in self.servers.keys() {
            ensure!(shares.answered_by(pod) > 0, "{pod} answered no request to the {what}");
        }
        for pod in PODS.iter().filter(|pod| !self.servers.contains_key(*pod)) {
            ensure!(shares.answered_by(pod) == 0, "{pod} is gone and has answered");
        }
        ensure!(
            shares.seen_as().iter().eq([&seen]),
            "requests from {from} to the {what} should have been seen as {seen}, but were seen as \
             {:?}",
            shares.seen_as()
        );
        Ok(())
    }

    fn curl(&self) -> Result<String> {
        let arguments = ["-sS", "--max-time", "5", &format!("http://{CLUSTER_IP}/")];
        let output = self.lab.at(CLIENT)?.command("curl").args(arguments).output()?;
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(page.starts_with("Hostname: my-app-"), "curl had no answer: {error}{page}");
        Ok(page)
    }

    /// One Pod less.
    pub(super) fn scale_down(&mut self) -> Result<()> {
        title("One Pod is removed from the folder");
        let gone = PODS.len() - 1;
        self.remove(gone)?;
        let start = Instant::now();
        self.wait("nat", "no rule leads to the removed Pod", |rules| {
            translations(rules, gone) == 0
        })?;
        println!(
            "{}.yaml is deleted. {} ms later no rule of either node leads to it:",
            PODS[gone],
            start.elapsed().as_millis()
        );
        let table = Table::start(&PODS);
        self.row(&table, CLIENT, "cluster IP", CLUSTER_IP, client_ip())?;
        println!("\nThe other three have a third each, and no request was lost.");
        Ok(())
    }

    fn remove(&mut self, pod: usize) -> Result<()> {
        self.servers.remove(PODS[pod]);
        self.folder.remove(&format!("{}.yaml", PODS[pod]))
    }

    /// No Pod at all.
    pub(super) fn scale_to_nothing(&mut self) -> Result<()> {
        title("All Pods are removed");
        for pod in 0..PODS.len() - 1 {
            self.remove(pod)?;
        }
        self.wait("filter", "both Services are rejected", |rules| {
            is_rejected(rules, "-d 10.96.0.80/32") && is_rejected(rules, "--dport 30080")
        })?;
        self.show("filter", "has no endpoints")?;
        let node_port = SocketAddr::new(node_ip(1), NODE_PORT);
        for (from, what, to) in [
            (CLIENT, "cluster IP", CLUSTER_IP),
            (NODES[0], "cluster IP", CLUSTER_IP),
            (OUTSIDE, "cluster IP", CLUSTER_IP),
            (OUTSIDE, "NodePort", node_port),
        ] {
            let start = Instant::now();
            let patience = Duration::from_secs(3);
            let outcome = probe(self.lab.at(from)?, None, Protocol::Tcp, to, patience)?;
            let took = start.elapsed();
            println!("  {from} to the {what} {to}: {outcome}, after {} ms", took.as_millis());
            ensure!(outcome == Outcome::Unreachable, "the client should have been rejected");
            ensure!(took < AT_ONCE, "the client had to wait for the rejection");
        }
        println!(
            "\nNobody is left to answer, and the node says so at once; without the rule the packets\n\
             would wander off and clients would wait for a timeout."
        );
        Ok(())
    }

    /// All Pods again.
    pub(super) fn scale_up(&mut self) -> Result<()> {
        title("All four Pods come back");
        for pod in 0..PODS.len() {
            self.serve(pod)?;
            self.write_pod(pod)?;
        }
        self.wait("nat", "rules lead to all four Pods", |rules| {
            (0..PODS.len()).all(|pod| lead_to(rules, pod))
        })?;
        self.wait("filter", "no Service is rejected", |rules| !is_rejected(rules, ""))?;
        let table = Table::start(&PODS);
        self.row(&table, OUTSIDE, "cluster IP", CLUSTER_IP, node_ip(0))
    }

    /// Stops the agents and asks once more.
    pub(super) fn stop_agents(&mut self) -> Result<()> {
        title("Both pointsman processes are stopped");
        self.agents.iter_mut().try_for_each(Agent::stop)?;
        let table = Table::start(&PODS);
        self.row(&table, CLIENT, "cluster IP", CLUSTER_IP, client_ip())?;
        println!(
            "\nThe rules stay in the kernel: stopping, restarting or upgrading the agent costs no\n\
             connection. (`pointsman cleanup` is what removes them.)"
        );
        Ok(())
    }
}

/// Whether the rules of both Services lead to a Pod.
fn lead_to(rules: &str, pod: usize) -> bool {
    translations(rules, pod) >= 2
}

/// How many rules translate to a Pod.
fn translations(rules: &str, pod: usize) -> usize {
    let target = format!("--to-destination {}:8080", pod_ip(pod));
    rules.lines().filter(|rule| rule.ends_with(&target)).count()
}

/// Whether a rule with such a match rejects.
fn is_rejected(rules: &str, with: &str) -> bool {
    rules.lines().any(|rule| rule.contains(with) && rule.contains("-j REJECT"))
}
