//! The stable reason codes: a table of what each means and what to do about it.

use std::fmt;

use serde::Serialize;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident: $consequence:literal, $remedy:literal;)+) => {
        /// Why a packet meets its verdict. The names are stable, for alerts and scripts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// What it means, as its documentation says.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What follows for the client.
            #[must_use]
            pub fn consequence(self) -> &'static str {
                match self { $(Code::$name => $consequence,)+ }
            }

            /// What to do next.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$name => $remedy,)+ }
            }
        }
    };
}

codes! {
    /// A frontend delivers, as it should.
    Delivered:
        "the connection goes to one of the endpoints that are used",
        "none needed; if nothing answers, look at the Pod itself";
    /// The only endpoint is the client itself.
    Hairpin:
        "the connection comes back to its own Pod, with the node's address as source",
        "none needed; the Pod's bridge port must allow hairpin mode where there is a bridge";
    /// No endpoint is ready; those that terminate serve on.
    TerminatingFallback:
        "the connection goes to a Pod that is about to end",
        "find out why no new Pod is ready: kubectl get pods with the Service's selector";
    /// Delivered by a NodePort to a client that loadBalancerSourceRanges would not admit.
    SourceRangesBypassed:
        "the client gets in by the NodePort, which source ranges do not guard (kubernetes#33586)",
        "set spec.allocateLoadBalancerNodePorts: false, or guard the port with a host firewall";
    /// The Service has no endpoints at all.
    NoEndpoints:
        "the client gets an error at once (ICMP port unreachable)",
        "compare spec.selector with the labels of the Pods; start Pods if there are none";
    /// There are endpoints, none of them ready.
    NoneReady:
        "the client gets an error at once (ICMP port unreachable)",
        "look at the Pods' readiness probes: kubectl describe pod";
    /// There are endpoints, but no slice has the Service port's name with a number.
    PortNotInEndpoints:
        "the client gets an error at once (ICMP port unreachable)",
        "make spec.ports[].targetPort name a port that the Pods' containers declare";
    /// There are endpoints, none with an address that may be used.
    EndpointsUnusable:
        "the client gets an error at once (ICMP port unreachable)",
        "write routable addresses of the Service's family into the EndpointSlice";
    /// internalTrafficPolicy is Local and this node has no usable endpoint.
    InternalPolicyLocal:
        "clients on this node get no answer, though endpoints run elsewhere",
        "run an endpoint on every node (DaemonSet), or set spec.internalTrafficPolicy: Cluster";
    /// externalTrafficPolicy is Local and this node has no usable endpoint.
    ExternalPolicyLocal:
        "clients outside get no answer from this node, though endpoints run elsewhere",
        "let the load balancer ask healthCheckNodePort, or set spec.externalTrafficPolicy: Cluster";
    /// The source lies outside spec.loadBalancerSourceRanges.
    SourceRangeDenied:
        "the client gets no answer",
        "add the client's block to spec.loadBalancerSourceRanges, or use the cluster IP inside";
    /// The address is the Service's, the port is not.
    WrongPort:
        "no endpoint gets the packet: nftables mode rejects it, iptables mode lets it go astray",
        "ask for a port of spec.ports (not for the targetPort)";
    /// NodePorts do not answer on this address.
    NodePortOtherAddress:
        "nothing of ours answers; the host itself decides",
        "use an address that nodePortAddresses accepts";
    /// The destination belongs to another node.
    ForAnotherNode:
        "this node lets the packet go on to the other, which decides",
        "ask there: --node NAME";
    /// An address of a ServiceCIDR that no Service has.
    UnallocatedAddress:
        "no endpoint gets the packet: nftables mode drops it, iptables mode lets it go astray",
        "use the Service's present cluster IP; the client may hold an old one";
    /// Every endpoint is an address of the cluster network that leads nowhere.
    EndpointIsClusterIp:
        "no endpoint gets the packet",
        "write the Pods' addresses into the EndpointSlice, not a Service's";
    /// The frontend refuses, but kube-proxy has no rule for it on this packet's way, nor have we.
    RefusalNotEnforced:
        "the packet goes out untranslated, and the client waits in vain",
        "give the Service a usable endpoint; nftables mode refuses such a packet at once";
    /// Somebody else asks for a loopback address.
    LoopbackGuarded:
        "the packet is dropped: loopback is the node's alone (CVE-2020-8558)",
        "use another address of the node";
    /// The packet asks for a health check port.
    HealthCheckPort:
        "the agent itself answers",
        "none needed";
    /// The load balancer's address is of ipMode Proxy.
    LoadBalancerProxyMode:
        "the packet goes on to the load balancer, which decides (KEP-1860)",
        "none needed; look at the load balancer if nothing answers";
    /// spec.externalIPs count for nothing on this node.
    ExternalIpsDisabled:
        "the address is not routed here",
        "switch the feature gate AllowServiceExternalIPs on, or use another address";
    /// The Service is headless: its name means its Pods.
    Headless:
        "no rule of ours is met: the packet goes straight to the Pod, on the Pod's own port",
        "ask for the port that the Pods listen on (targetPort), which nothing translates";
    /// The Service is a DNS alias.
    ExternalName:
        "the name leads out of the cluster; nothing is routed",
        "ask the name that spec.externalName holds";
    /// The Service is another proxy's.
    OtherProxy:
        "nothing is routed for it here",
        "ask that proxy, or remove the label service.kubernetes.io/service-proxy-name";
    /// The destination is a Pod itself.
    DirectToPod:
        "no rule of ours is met: the packet goes straight to the Pod",
        "none needed; the network of the Pods decides";
    /// NetworkPolicies isolate what the client sends, and none of their rules lets it out.
    EgressIsolated:
        "the packet is dropped, and the client waits in vain",
        "add an egress rule for this peer and its port, the endpoint's and not the Service's";
    /// NetworkPolicies isolate the destination, and none of their rules lets the client in.
    IngressIsolated:
        "the packet is dropped, and the client waits in vain",
        "add an ingress rule for this client and port, or labels that one selects to the client";
    /// A rule of a ClusterNetworkPolicy denies what the client sends.
    EgressDenied:
        "the packet is dropped, and the client waits in vain",
        "ask who administers the policy: a NetworkPolicy does not open what the Admin tier denies";
    /// A rule of a ClusterNetworkPolicy denies what comes to the destination.
    IngressDenied:
        "the packet is dropped, and the client waits in vain",
        "ask who administers the policy: a NetworkPolicy does not open what the Admin tier denies";
    /// Policies let connections through to some of the endpoints alone.
    PolicyDeniesSome:
        "a part of the connections is dropped, and whoever has them waits in vain",
        "let the policy select all endpoints alike, or the Service fewer of them";
    /// The address may be a new Pod's that is not known yet, and some policy might deny it.
    HeldBack:
        "the packet is dropped until the Pod is known, for a bounded time",
        "wait; if it lasts, see with pointsman status whether Pods are watched";
    /// Nothing of ours is asked for.
    NotOurs:
        "no rule of ours is met: the host's routing decides",
        "check the address; kubectl get services -A lists those of Services";
    /// A name that nothing has.
    NameNotFound:
        "the name resolves to nothing (NXDOMAIN), so no packet is ever sent",
        "check name and namespace: a bare name means the client's own namespace";
    /// The two ends have no family in common.
    NoCommonFamily:
        "no packet can be sent from one to the other",
        "set spec.ipFamilyPolicy: PreferDualStack, or ask for another address";
    /// The kernel holds nothing of ours at all.
    KernelEmpty:
        "Services are not routed on this node; what the plan says does not happen",
        "start the agent (pointsman run), or see in pointsman status why it does not write";
    /// The kernel lacks a rule, chain or element that the packet's way needs.
    KernelLacks:
        "the packet does not go the way that is planned, always or at times",
        "a running agent repairs it when it hears of it or at its next audit; else restart it, and \
         find out who deleted it";
    /// The kernel holds another rule or element than the packet's way needs.
    KernelDiffers:
        "the packet does not go the way that is planned, always or at times",
        "a running agent repairs it when it hears of it or at its next audit; else restart it, and \
         find out who changed it";
    /// A rule of somebody else decides otherwise.
    ForeignRule:
        "the packet meets the other's rule, whatever ours say",
        "change the rule that is named; nft monitor trace shows it at work";
    /// This host does not forward packets.
    ForwardingOff:
        "packets for Pods are dropped where they would be forwarded",
        "set net.ipv4.ip_forward (or net.ipv6.conf.all.forwarding) to 1, and keep it so";
    /// The reverse-path filter drops the packet.
    ReversePathFiltered:
        "the kernel drops the packet between prerouting and the next hook, without a trace",
        "repair the route back to the client, or set rp_filter of the interface (and of all) to 2";
    /// The kernel has no route to the endpoint.
    NoRoute:
        "the translated packet leads nowhere",
        "repair the network of the Pods: ip route get ENDPOINT";
    /// The table of connection tracking is full.
    ConntrackFull:
        "new connections are dropped, known ones go on",
        "raise net.netfilter.nf_conntrack_max, or find out who holds so many connections";
    /// Connection tracking still sends this client's packets where nobody is any more.
    StaleConnection:
        "packets from that port of the client meet no rule any more: they go to where the entry says",
        "a running agent deletes such entries; by hand: conntrack -D with the addresses named here";
    /// A loopback address is asked for, and the kernel does not route it.
    LocalnetClosed:
        "the translated packet is dropped, for its source is a loopback address",
        "set net.ipv4.conf.all.route_localnet to 1, or use another address of the node";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
