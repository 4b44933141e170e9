//! Nodes, Namespaces, Events, Leases, and ConfigMaps. A table of facts, as long as there are fields.

use super::Type::{Bool, Bytes, Int32, Int64, List, Map, MicroTime, Quantity, Str, Struct, Time};
use super::meta::OBJECT_META;
use super::service::OBJECT_REFERENCE;
use super::{Message, f, message};

pub(crate) static NAMESPACE_SPEC: Message =
    message("NamespaceSpec", &[f("finalizers", List(&Str)).at(1)]);

pub(crate) static NAMESPACE_CONDITION: Message = message(
    "NamespaceCondition",
    &[
        f("lastTransitionTime", Time),
        f("message", Str),
        f("reason", Str),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);

pub(crate) static NAMESPACE_STATUS: Message = message(
    "NamespaceStatus",
    &[f("conditions", List(&Struct(&NAMESPACE_CONDITION))).by("type"), f("phase", Str).at(1)],
);

pub(crate) static NAMESPACE: Message = message(
    "Namespace",
    &[
        f("metadata", Struct(&OBJECT_META)).at(1).written(),
        f("spec", Struct(&NAMESPACE_SPEC)).at(2).written(),
        f("status", Struct(&NAMESPACE_STATUS)).at(3).written(),
    ],
);

pub(crate) static CONFIG_MAP_NODE_CONFIG_SOURCE: Message = message(
    "ConfigMapNodeConfigSource",
    &[
        f("kubeletConfigKey", Str).written(),
        f("name", Str).written(),
        f("namespace", Str).written(),
        f("resourceVersion", Str),
        f("uid", Str),
    ],
);

pub(crate) static NODE_CONFIG_SOURCE: Message =
    message("NodeConfigSource", &[f("configMap", Struct(&CONFIG_MAP_NODE_CONFIG_SOURCE)).kept()]);

pub(crate) static TAINT: Message = message(
    "Taint",
    &[f("effect", Str).written(), f("key", Str).written(), f("timeAdded", Time), f("value", Str)],
);

pub(crate) static NODE_SPEC: Message = message(
    "NodeSpec",
    &[
        f("configSource", Struct(&NODE_CONFIG_SOURCE)).kept(),
        f("externalID", Str),
        f("podCIDR", Str),
        f("podCIDRs", List(&Str)).union(),
        f("providerID", Str),
        f("taints", List(&Struct(&TAINT))),
        f("unschedulable", Bool),
    ],
);

pub(crate) static NODE_ADDRESS: Message =
    message("NodeAddress", &[f("address", Str).written(), f("type", Str).written()]);

pub(crate) static NODE_CONDITION: Message = message(
    "NodeCondition",
    &[
        f("lastHeartbeatTime", Time).written(),
        f("lastTransitionTime", Time).written(),
        f("message", Str),
        f("reason", Str),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);

pub(crate) static NODE_CONFIG_STATUS: Message = message(
    "NodeConfigStatus",
    &[
        f("active", Struct(&NODE_CONFIG_SOURCE)).kept(),
        f("assigned", Struct(&NODE_CONFIG_SOURCE)).kept(),
        f("error", Str),
        f("lastKnownGood", Struct(&NODE_CONFIG_SOURCE)).kept(),
    ],
);

pub(crate) static DAEMON_ENDPOINT: Message =
    message("DaemonEndpoint", &[f("Port", Int32).written()]);

pub(crate) static NODE_DAEMON_ENDPOINTS: Message =
    message("NodeDaemonEndpoints", &[f("kubeletEndpoint", Struct(&DAEMON_ENDPOINT)).written()]);

pub(crate) static NODE_FEATURES: Message =
    message("NodeFeatures", &[f("supplementalGroupsPolicy", Bool)]);

pub(crate) static CONTAINER_IMAGE: Message =
    message("ContainerImage", &[f("names", List(&Str)), f("sizeBytes", Int64)]);

pub(crate) static NODE_SWAP_STATUS: Message = message("NodeSwapStatus", &[f("capacity", Int64)]);

pub(crate) static NODE_SYSTEM_INFO: Message = message(
    "NodeSystemInfo",
    &[
        f("architecture", Str).written(),
        f("bootID", Str).written(),
        f("containerRuntimeVersion", Str).written(),
        f("kernelVersion", Str).written(),
        f("kubeProxyVersion", Str).written(),
        f("kubeletVersion", Str).written(),
        f("machineID", Str).written(),
        f("operatingSystem", Str).written(),
        f("osImage", Str).written(),
        f("swap", Struct(&NODE_SWAP_STATUS)).kept(),
        f("systemUUID", Str).written(),
    ],
);

pub(crate) static NODE_RUNTIME_HANDLER_FEATURES: Message = message(
    "NodeRuntimeHandlerFeatures",
    &[f("recursiveReadOnlyMounts", Bool), f("userNamespaces", Bool)],
);

pub(crate) static NODE_RUNTIME_HANDLER: Message = message(
    "NodeRuntimeHandler",
    &[f("features", Struct(&NODE_RUNTIME_HANDLER_FEATURES)).kept(), f("name", Str)],
);

pub(crate) static ATTACHED_VOLUME: Message =
    message("AttachedVolume", &[f("devicePath", Str).written(), f("name", Str).written()]);

pub(crate) static NODE_STATUS: Message = message(
    "NodeStatus",
    &[
        f("addresses", List(&Struct(&NODE_ADDRESS))).by("type"),
        f("allocatable", Map(&Quantity)),
        f("capacity", Map(&Quantity)),
        f("conditions", List(&Struct(&NODE_CONDITION))).by("type"),
        f("config", Struct(&NODE_CONFIG_STATUS)).kept(),
        f("daemonEndpoints", Struct(&NODE_DAEMON_ENDPOINTS)).written(),
        f("declaredFeatures", List(&Str)),
        f("features", Struct(&NODE_FEATURES)).kept(),
        f("images", List(&Struct(&CONTAINER_IMAGE))),
        f("nodeInfo", Struct(&NODE_SYSTEM_INFO)).written(),
        f("phase", Str),
        f("runtimeHandlers", List(&Struct(&NODE_RUNTIME_HANDLER))),
        f("volumesAttached", List(&Struct(&ATTACHED_VOLUME))),
        f("volumesInUse", List(&Str)),
    ],
);

pub(crate) static NODE: Message = message(
    "Node",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&NODE_SPEC)).written(),
        f("status", Struct(&NODE_STATUS)).written(),
    ],
);

pub(crate) static EVENT_SERIES: Message =
    message("EventSeries", &[f("count", Int32), f("lastObservedTime", MicroTime)]);

pub(crate) static EVENT_SOURCE: Message =
    message("EventSource", &[f("component", Str), f("host", Str)]);

pub(crate) static EVENT: Message = message(
    "Event",
    &[
        f("action", Str),
        f("count", Int32),
        f("eventTime", MicroTime).written(),
        f("firstTimestamp", Time).written(),
        f("involvedObject", Struct(&OBJECT_REFERENCE)).written(),
        f("lastTimestamp", Time).written(),
        f("message", Str),
        f("metadata", Struct(&OBJECT_META)).written(),
        f("reason", Str),
        f("related", Struct(&OBJECT_REFERENCE)).kept(),
        f("reportingComponent", Str).written(),
        f("reportingInstance", Str).written(),
        f("series", Struct(&EVENT_SERIES)).kept(),
        f("source", Struct(&EVENT_SOURCE)).written(),
        f("type", Str),
    ],
);

pub(crate) static EVENTS_EVENT_SERIES: Message = message(
    "EventSeries",
    &[f("count", Int32).written(), f("lastObservedTime", MicroTime).written()],
);

pub(crate) static EVENTS_EVENT: Message = message(
    "Event",
    &[
        f("action", Str),
        f("deprecatedCount", Int32),
        f("deprecatedFirstTimestamp", Time),
        f("deprecatedLastTimestamp", Time),
        f("deprecatedSource", Struct(&EVENT_SOURCE)).kept(),
        f("eventTime", MicroTime).written(),
        f("metadata", Struct(&OBJECT_META)).written(),
        f("note", Str),
        f("reason", Str),
        f("regarding", Struct(&OBJECT_REFERENCE)).kept(),
        f("related", Struct(&OBJECT_REFERENCE)).kept(),
        f("reportingController", Str),
        f("reportingInstance", Str),
        f("series", Struct(&EVENTS_EVENT_SERIES)).kept(),
        f("type", Str),
    ],
);

pub(crate) static LEASE_SPEC: Message = message(
    "LeaseSpec",
    &[
        f("acquireTime", MicroTime),
        f("holderIdentity", Str).kept(),
        f("leaseDurationSeconds", Int32).kept(),
        f("leaseTransitions", Int32).kept(),
        f("preferredHolder", Str),
        f("renewTime", MicroTime),
        f("strategy", Str),
    ],
);

pub(crate) static LEASE: Message = message(
    "Lease",
    &[f("metadata", Struct(&OBJECT_META)).written(), f("spec", Struct(&LEASE_SPEC)).written()],
);

pub(crate) static CONFIG_MAP: Message = message(
    "ConfigMap",
    &[
        f("binaryData", Map(&Bytes)).at(3),
        f("data", Map(&Str)).at(2),
        f("immutable", Bool).at(4),
        f("metadata", Struct(&OBJECT_META)).at(1).written(),
    ],
);
