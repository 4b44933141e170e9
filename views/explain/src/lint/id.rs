//! The stable ids of findings: a table of what each means and what to do about it.

use std::fmt;

use serde::Serialize;

macro_rules! lints {
    ($($(#[doc = $doc:literal])+ $name:ident: $consequence:literal, $remedy:literal;)+) => {
        /// What is wrong. The names are stable, for CI and for exceptions from it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Lint {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Lint {
            /// Every id.
            pub const ALL: &[Lint] = &[$(Lint::$name,)+];

            /// What it means, as its documentation says.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Lint::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What follows.
            #[must_use]
            pub fn consequence(self) -> &'static str {
                match self { $(Lint::$name => $consequence,)+ }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Lint::$name => $remedy,)+ }
            }
        }
    };
}

lints! {
    /// A Service has a selector and no endpoint.
    SelectorMatchesNothing:
        "every client is rejected",
        "compare spec.selector with the labels of the Pods";
    /// A port of a Service has no number in any of its EndpointSlices.
    PortNowhere:
        "every client of the port is rejected",
        "make targetPort name a port that the Pods' containers declare";
    /// Two objects claim one address.
    DuplicateAddress:
        "one of the two gets no traffic by it",
        "give one of them another address or port";
    /// A Service with source ranges has a NodePort, which they do not guard.
    SourceRangesBypassed:
        "a client that the ranges shut out gets in by the NodePort (kubernetes#33586)",
        "set spec.allocateLoadBalancerNodePorts: false, or guard the port with a host firewall";
    /// Endpoints have topology hints that are ignored.
    HintsIgnored:
        "traffic goes to endpoints of other zones",
        "see to it that every ready endpoint has a hint and every Node a zone";
    /// An external IP is a Node's own address.
    ExternalIpOfNode:
        "what the node itself serves on that address and port is no longer reached",
        "use an address that no Node has, or a Service of type NodePort";
    /// A policy selects no Pod.
    PolicySelectsNothing:
        "it isolates nobody: what it was to keep out gets in",
        "compare its selector with the labels of the Pods, and its namespace with theirs";
    /// A policy names a port that no Pod which the rule leads to declares.
    PolicyPortNowhere:
        "the rule opens nothing by that name",
        "declare the port in the Pods' containers, with its protocol, or write its number";
    /// A policy lets its Pods ask DNS, but not the DNS in use.
    PolicyMissesDns:
        "its Pods resolve no name, and seem to reach nothing",
        "allow the Pods of the DNS Service, on the port where they listen, by UDP and TCP";
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
