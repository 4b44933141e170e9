//! NetworkPolicies. A table of facts, as long as there are fields.

use super::Type::{Int32, IntOrString, List, Str, Struct};
use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::{Message, f, message};

pub(crate) static NETWORK_POLICY_PORT: Message = message(
    "NetworkPolicyPort",
    &[f("endPort", Int32).kept(), f("port", IntOrString).kept(), f("protocol", Str).kept()],
);

pub(crate) static IP_BLOCK: Message =
    message("IPBlock", &[f("cidr", Str).written(), f("except", List(&Str))]);

pub(crate) static NETWORK_POLICY_PEER: Message = message(
    "NetworkPolicyPeer",
    &[
        f("ipBlock", Struct(&IP_BLOCK)).kept(),
        f("namespaceSelector", Struct(&LABEL_SELECTOR)).kept(),
        f("podSelector", Struct(&LABEL_SELECTOR)).kept(),
    ],
);

pub(crate) static NETWORK_POLICY_EGRESS_RULE: Message = message(
    "NetworkPolicyEgressRule",
    &[
        f("ports", List(&Struct(&NETWORK_POLICY_PORT))),
        f("to", List(&Struct(&NETWORK_POLICY_PEER))),
    ],
);

pub(crate) static NETWORK_POLICY_INGRESS_RULE: Message = message(
    "NetworkPolicyIngressRule",
    &[
        f("from", List(&Struct(&NETWORK_POLICY_PEER))),
        f("ports", List(&Struct(&NETWORK_POLICY_PORT))),
    ],
);

pub(crate) static NETWORK_POLICY_SPEC: Message = message(
    "NetworkPolicySpec",
    &[
        f("egress", List(&Struct(&NETWORK_POLICY_EGRESS_RULE))),
        f("ingress", List(&Struct(&NETWORK_POLICY_INGRESS_RULE))),
        f("podSelector", Struct(&LABEL_SELECTOR)).written(),
        f("policyTypes", List(&Str)),
    ],
);

pub(crate) static NETWORK_POLICY: Message = message(
    "NetworkPolicy",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&NETWORK_POLICY_SPEC)).written(),
    ],
);
