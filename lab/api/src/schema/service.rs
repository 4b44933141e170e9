//! Services, their endpoints and their address blocks. A table of facts, as long as there are fields.

use super::Type::{Bool, Int32, IntOrString, List, Map, Str, Struct};
use super::meta::{CONDITION, OBJECT_META};
use super::{Message, f, message};

pub(crate) static SERVICE_PORT: Message = message(
    "ServicePort",
    &[
        f("appProtocol", Str).at(6).kept(),
        f("name", Str).at(1),
        f("nodePort", Int32).at(5),
        f("port", Int32).at(3).written(),
        f("protocol", Str).at(2),
        f("targetPort", IntOrString).at(4),
    ],
);

pub(crate) static CLIENT_IP_CONFIG: Message =
    message("ClientIPConfig", &[f("timeoutSeconds", Int32).at(1).kept()]);

pub(crate) static SESSION_AFFINITY_CONFIG: Message =
    message("SessionAffinityConfig", &[f("clientIP", Struct(&CLIENT_IP_CONFIG)).at(1).kept()]);

pub(crate) static SERVICE_SPEC: Message = message(
    "ServiceSpec",
    &[
        f("allocateLoadBalancerNodePorts", Bool).at(20).kept(),
        f("clusterIP", Str).at(3),
        f("clusterIPs", List(&Str)).at(18),
        f("externalIPs", List(&Str)).at(5),
        f("externalName", Str).at(10),
        f("externalTrafficPolicy", Str).at(11),
        f("healthCheckNodePort", Int32).at(12),
        f("internalTrafficPolicy", Str).at(22).kept(),
        f("ipFamilies", List(&Str)).at(19),
        f("ipFamilyPolicy", Str).at(17).kept(),
        f("loadBalancerClass", Str).at(21).kept(),
        f("loadBalancerIP", Str).at(8),
        f("loadBalancerSourceRanges", List(&Str)).at(9),
        f("ports", List(&Struct(&SERVICE_PORT))).at(1).by("port").also("protocol"),
        f("publishNotReadyAddresses", Bool).at(13),
        f("selector", Map(&Str)).at(2).whole(),
        f("sessionAffinity", Str).at(7),
        f("sessionAffinityConfig", Struct(&SESSION_AFFINITY_CONFIG)).at(14).kept(),
        f("trafficDistribution", Str).at(23).kept(),
        f("type", Str).at(4),
    ],
);

pub(crate) static PORT_STATUS: Message = message(
    "PortStatus",
    &[f("error", Str).kept(), f("port", Int32).written(), f("protocol", Str).written()],
);

pub(crate) static LOAD_BALANCER_INGRESS: Message = message(
    "LoadBalancerIngress",
    &[
        f("hostname", Str),
        f("ip", Str),
        f("ipMode", Str).kept(),
        f("ports", List(&Struct(&PORT_STATUS))),
    ],
);

pub(crate) static LOAD_BALANCER_STATUS: Message =
    message("LoadBalancerStatus", &[f("ingress", List(&Struct(&LOAD_BALANCER_INGRESS)))]);

pub(crate) static SERVICE_STATUS: Message = message(
    "ServiceStatus",
    &[
        f("conditions", List(&Struct(&CONDITION))).by("type"),
        f("loadBalancer", Struct(&LOAD_BALANCER_STATUS)).at(1).written(),
    ],
);

pub(crate) static SERVICE: Message = message(
    "Service",
    &[
        f("metadata", Struct(&OBJECT_META)).at(1).written(),
        f("spec", Struct(&SERVICE_SPEC)).at(2).written(),
        f("status", Struct(&SERVICE_STATUS)).at(3).written(),
    ],
);

pub(crate) static OBJECT_REFERENCE: Message = message(
    "ObjectReference",
    &[
        f("apiVersion", Str),
        f("fieldPath", Str),
        f("kind", Str),
        f("name", Str),
        f("namespace", Str),
        f("resourceVersion", Str),
        f("uid", Str),
    ],
);

pub(crate) static ENDPOINT_ADDRESS: Message = message(
    "EndpointAddress",
    &[
        f("hostname", Str),
        f("ip", Str).written(),
        f("nodeName", Str).kept(),
        f("targetRef", Struct(&OBJECT_REFERENCE)).kept(),
    ],
);

pub(crate) static CORE_ENDPOINT_PORT: Message = message(
    "EndpointPort",
    &[f("appProtocol", Str), f("name", Str), f("port", Int32).written(), f("protocol", Str)],
);

pub(crate) static ENDPOINT_SUBSET: Message = message(
    "EndpointSubset",
    &[
        f("addresses", List(&Struct(&ENDPOINT_ADDRESS))),
        f("notReadyAddresses", List(&Struct(&ENDPOINT_ADDRESS))),
        f("ports", List(&Struct(&CORE_ENDPOINT_PORT))),
    ],
);

pub(crate) static ENDPOINTS: Message = message(
    "Endpoints",
    &[f("metadata", Struct(&OBJECT_META)).written(), f("subsets", List(&Struct(&ENDPOINT_SUBSET)))],
);

pub(crate) static ENDPOINT_CONDITIONS: Message = message(
    "EndpointConditions",
    &[f("ready", Bool).kept(), f("serving", Bool).kept(), f("terminating", Bool).kept()],
);

pub(crate) static FOR_NODE: Message = message("ForNode", &[f("name", Str).written()]);

pub(crate) static FOR_ZONE: Message = message("ForZone", &[f("name", Str).written()]);

pub(crate) static ENDPOINT_HINTS: Message = message(
    "EndpointHints",
    &[f("forNodes", List(&Struct(&FOR_NODE))), f("forZones", List(&Struct(&FOR_ZONE)))],
);

pub(crate) static ENDPOINT: Message = message(
    "Endpoint",
    &[
        f("addresses", List(&Str)).written().union(),
        f("conditions", Struct(&ENDPOINT_CONDITIONS)).written(),
        f("deprecatedTopology", Map(&Str)),
        f("hints", Struct(&ENDPOINT_HINTS)).kept(),
        f("hostname", Str).kept(),
        f("nodeName", Str).kept(),
        f("targetRef", Struct(&OBJECT_REFERENCE)).kept(),
        f("zone", Str).kept(),
    ],
);

pub(crate) static ENDPOINT_PORT: Message = message(
    "EndpointPort",
    &[
        f("appProtocol", Str).kept(),
        f("name", Str).kept(),
        f("port", Int32).kept(),
        f("protocol", Str).kept(),
    ],
);

pub(crate) static ENDPOINT_SLICE: Message = message(
    "EndpointSlice",
    &[
        f("addressType", Str).written(),
        f("endpoints", List(&Struct(&ENDPOINT))).written(),
        f("metadata", Struct(&OBJECT_META)).written(),
        f("ports", List(&Struct(&ENDPOINT_PORT))).written(),
    ],
);

pub(crate) static SERVICE_CIDR_SPEC: Message =
    message("ServiceCIDRSpec", &[f("cidrs", List(&Str))]);

pub(crate) static SERVICE_CIDR_STATUS: Message =
    message("ServiceCIDRStatus", &[f("conditions", List(&Struct(&CONDITION))).by("type")]);

pub(crate) static SERVICE_CIDR: Message = message(
    "ServiceCIDR",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&SERVICE_CIDR_SPEC)).written(),
        f("status", Struct(&SERVICE_CIDR_STATUS)).written(),
    ],
);
