//! `--policy-log`: samples of what policies deny, with the names of the Pods and the reason.
//!
//! The rules log at most some packets a second; here each is asked about once more, for only the plan
//! knows which policies isolate, and only the cluster knows whose an address is.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use explain::policy::{PolicyPacket, Traffic, Why, evaluate};
use model::{Cluster, Direction, NamespacedName, PolicyName, Protocol};
use nix::poll::PollTimeout;
use plan::policy::PolicyIntent;
use serde::Serialize;
use sync::netlink::Wake;
use sync::nflog::{Logged, Nflog};
use tokio::sync::mpsc::{self, Receiver};
use tracing::{debug, error};

use crate::existing::path;

/// The group of NFLOG that the rules of policies log to.
pub(crate) const GROUP: u16 = 86;
/// How many packets may wait for the agent; more are not needed for a sample.
const WAITING: usize = 64;

/// One end of a denied packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    pub(crate) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// The Pod that has the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<NamespacedName>,
}

/// A packet that a policy denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Denied {
    /// Whose policies deny: those for what the source sends, or for what comes to the destination.
    pub(crate) direction: Direction,
    /// TCP, UDP, SCTP, or a number.
    pub(crate) protocol: String,
    pub(crate) source: End,
    pub(crate) destination: End,
    /// The policies that isolate the Pod, or the one whose rule denies.
    pub(crate) policies: Vec<PolicyName>,
    /// Why, in words.
    pub(crate) why: String,
}

impl Denied {
    /// The Pod whose policies deny, where it is known.
    pub(crate) fn subject(&self) -> Option<&NamespacedName> {
        match self.direction {
            Direction::Egress => self.source.pod.as_ref(),
            Direction::Ingress => self.destination.pod.as_ref(),
        }
    }

    /// Looks a logged packet up; `None` where no policy denies it any more.
    pub(crate) fn of(logged: &Logged, cluster: &Cluster, intent: &PolicyIntent) -> Option<Self> {
        let known = Protocol::ALL.into_iter().find(|one| one.number() == logged.protocol);
        let traffic = match (known, logged.ports, logged.icmp_type) {
            (Some(protocol), Some((_, port)), _) => Traffic::Port { protocol, port },
            (_, _, Some(kind)) => Traffic::Icmp { kind },
            _ => Traffic::Other { protocol: logged.protocol },
        };
        let (source, destination) = (logged.source, logged.destination);
        let is_own =
            |address: &IpAddr| cluster.host().addresses.iter().any(|own| own.address == *address);
        let path = path(is_own, source, destination);
        let packet = PolicyPacket { source, destination, traffic, path, established: false };
        let ruling = evaluate(intent, &packet);
        let (direction, why) = match ruling.ingress {
            None => (Direction::Egress, ruling.egress),
            Some(why) => (Direction::Ingress, why),
        };
        if why.passes() {
            return None;
        }
        let protocol = known.map_or_else(|| logged.protocol.to_string(), |known| known.to_string());
        let (from, to) = logged.ports.unzip();
        let end = |address, port| End { address, port, pod: pod(cluster, address) };
        Some(Self {
            direction,
            protocol,
            source: end(source, from),
            destination: end(destination, to),
            policies: match &why {
                Why::Isolated { by } => by.clone(),
                Why::Rule { policy, .. } => vec![policy.clone()],
                _ => Vec::new(),
            },
            why: why.to_string(),
        })
    }
}

/// The Pod that has an address: of several that claim it, the one that policies count.
fn pod(cluster: &Cluster, address: IpAddr) -> Option<NamespacedName> {
    let claims = |pod: &&std::sync::Arc<model::Pod>| pod.counts() && pod.ips.contains(&address);
    let claimants = cluster.pods().values().filter(claims);
    claimants.max_by(|one, other| one.claim(other)).map(|pod| pod.name.clone())
}

/// Hears of denied packets in a thread of its own, in the calling thread's network namespace.
pub(crate) fn listen() -> Result<Receiver<Logged>, sync::Error> {
    let mut log = Nflog::open(GROUP)?;
    let (sender, packets) = mpsc::channel(WAITING);
    let work = move || {
        let Ok((_running, stop)) = UnixStream::pair() else { return };
        loop {
            let read = log.wait(stop.as_fd(), PollTimeout::NONE).and_then(|wake| match wake {
                Wake::Announcement => log.read(|packet| {
                    if sender.try_send(packet).is_err() {
                        debug!("more packets were denied than are told");
                    }
                }),
                Wake::Silence | Wake::Stop => Ok(true),
            });
            if let Err(failure) = read {
                return error!("{failure}; what policies deny is not told any more");
            }
        }
    };
    let started = thread::Builder::new().name("policy-log".into()).spawn(work);
    if let Err(failure) = started {
        error!("{failure}; what policies deny is not told");
    }
    Ok(packets)
}
