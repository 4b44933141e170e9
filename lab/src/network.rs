//! A lab that stands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use model::Protocol;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::builder::{LabBuilder, Shape};
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::pods::Plugs;
use crate::probe::{Outcome, SILENCE, probe};
use crate::server::{Server, serve};

/// How long a new link may take to carry packets.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// The common segment among the other places; no node, Pod or host can have the name.
pub(crate) const WIRE: &str = "(wire)";

/// Nodes, Pods and an outside host that can reach each other. Dropping it removes them all.
#[derive(Debug, Default)]
pub struct Lab {
    pub(crate) places: BTreeMap<String, Namespace>,
    pub(crate) numbers: BTreeMap<String, u8>,
    pub(crate) plugs: Plugs,
    // The name of the bridge that the Pods of a node share, if they share one.
    pub(crate) bridge: Option<String>,
    // Holds the common segment of a full lab.
    pub(crate) wire: Option<Namespace>,
}

impl Lab {
    /// A lab in which the first node routes everything: whatever any other place sends to another
    /// passes its rules, as if it were the only node with rules. For testing one node.
    pub fn star<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> LabBuilder {
        LabBuilder::new(Shape::Star, nodes.into_iter().map(Into::into).collect())
    }

    /// A lab in which every node routes for itself, as in a cluster.
    pub fn full<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> LabBuilder {
        LabBuilder::new(Shape::Full, nodes.into_iter().map(Into::into).collect())
    }

    /// The namespace of a node, a Pod or the [`OUTSIDE`](crate::OUTSIDE) host.
    ///
    /// # Errors
    /// [`LabError::Description`] if the lab has no such place.
    pub fn at(&self, place: &str) -> Result<&Namespace, LabError> {
        self.places.get(place).ok_or_else(|| LabError::Description {
            name: place.to_owned(),
            problem: "the lab has no node, Pod or host of this name",
        })
    }

    /// The number of a node, from which its addresses follow.
    ///
    /// # Errors
    /// [`LabError::Description`] if the lab has no such node.
    pub fn node_number(&self, node: &str) -> Result<u8, LabError> {
        self.numbers.get(node).copied().ok_or_else(|| LabError::Description {
            name: node.to_owned(),
            problem: "the lab has no node of this name",
        })
    }

    /// The names of all nodes, Pods and hosts, sorted.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Starts a server that answers with the place's name; see [`serve`].
    ///
    /// # Errors
    /// As [`serve`], and [`LabError::Description`] if the lab has no such place.
    pub fn serve(
        &self,
        place: &str,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Server, LabError> {
        serve(self.at(place)?, place, protocol, address)
    }

    /// Sends one probe from a place, with the usual patience ([`SILENCE`]); see [`probe`].
    ///
    /// # Errors
    /// As [`probe`], and [`LabError::Description`] if the lab has no such place.
    pub fn probe(
        &self,
        place: &str,
        protocol: Protocol,
        to: SocketAddr,
    ) -> Result<Outcome, LabError> {
        probe(self.at(place)?, None, protocol, to, SILENCE)
    }

    /// A link carries packets a moment after both its ends are up; a packet sent before is lost,
    /// and a lost SYN looks like a rule that drops.
    pub(crate) fn wait_for_links(&self) -> Result<(), LabError> {
        let wire = self.wire.iter().map(|namespace| (WIRE, namespace));
        let places = self.places.iter().map(|(name, namespace)| (name.as_str(), namespace));
        wait_for_links_of(places.chain(wire))
    }
}

/// [`Lab::wait_for_links`] for some places.
pub(crate) fn wait_for_links_of<'a>(
    places: impl Iterator<Item = (&'a str, &'a Namespace)>,
) -> Result<(), LabError> {
    let start = Instant::now();
    for (place, namespace) in places {
        let look = || {
            namespace
                .run(first_without_carrier)?
                .map_err(|error| LabError::system("list network interfaces", error))
        };
        while let Some(interface) = look()? {
            let waited = start.elapsed();
            if waited > LINK_PATIENCE {
                return Err(LabError::StillDown {
                    place: place.to_owned(),
                    interface,
                    waited_ms: waited.as_millis(),
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// The name of an interface of this thread's namespace that does not carry packets yet.
fn first_without_carrier() -> Result<Option<String>, Errno> {
    let ready = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let mut interfaces = getifaddrs()?;
    let down = interfaces.find(|interface| !interface.flags.contains(ready));
    Ok(down.map(|interface| interface.interface_name))
}
