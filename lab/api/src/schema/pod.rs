//! Pods. A table of facts, as long as there are fields.

use super::Type::{
    Bool, Int32, Int64, IntOrString, List, Map, Opaque, Quantity, Str, Struct, Time,
};
use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::{Message, f, message};

pub(crate) static CONFIG_MAP_KEY_SELECTOR: Message = message(
    "ConfigMapKeySelector",
    &[f("key", Str).written(), f("name", Str).written(), f("optional", Bool).kept()],
);

pub(crate) static OBJECT_FIELD_SELECTOR: Message =
    message("ObjectFieldSelector", &[f("apiVersion", Str), f("fieldPath", Str).written()]);

pub(crate) static FILE_KEY_SELECTOR: Message = message(
    "FileKeySelector",
    &[
        f("key", Str).written(),
        f("optional", Bool),
        f("path", Str).written(),
        f("volumeName", Str).written(),
    ],
);

pub(crate) static RESOURCE_FIELD_SELECTOR: Message = message(
    "ResourceFieldSelector",
    &[f("containerName", Str), f("divisor", Quantity), f("resource", Str).written()],
);

pub(crate) static SECRET_KEY_SELECTOR: Message = message(
    "SecretKeySelector",
    &[f("key", Str).written(), f("name", Str).written(), f("optional", Bool).kept()],
);

pub(crate) static ENV_VAR_SOURCE: Message = message(
    "EnvVarSource",
    &[
        f("configMapKeyRef", Struct(&CONFIG_MAP_KEY_SELECTOR)).kept(),
        f("fieldRef", Struct(&OBJECT_FIELD_SELECTOR)).kept(),
        f("fileKeyRef", Struct(&FILE_KEY_SELECTOR)).kept(),
        f("resourceFieldRef", Struct(&RESOURCE_FIELD_SELECTOR)).kept(),
        f("secretKeyRef", Struct(&SECRET_KEY_SELECTOR)).kept(),
    ],
);

pub(crate) static ENV_VAR: Message = message(
    "EnvVar",
    &[
        f("name", Str).at(1).written(),
        f("value", Str).at(2),
        f("valueFrom", Struct(&ENV_VAR_SOURCE)).kept(),
    ],
);

pub(crate) static CONFIG_MAP_ENV_SOURCE: Message =
    message("ConfigMapEnvSource", &[f("name", Str).written(), f("optional", Bool).kept()]);

pub(crate) static SECRET_ENV_SOURCE: Message =
    message("SecretEnvSource", &[f("name", Str).written(), f("optional", Bool).kept()]);

pub(crate) static ENV_FROM_SOURCE: Message = message(
    "EnvFromSource",
    &[
        f("configMapRef", Struct(&CONFIG_MAP_ENV_SOURCE)).kept(),
        f("prefix", Str),
        f("secretRef", Struct(&SECRET_ENV_SOURCE)).kept(),
    ],
);

pub(crate) static EXEC_ACTION: Message = message("ExecAction", &[f("command", List(&Str))]);

pub(crate) static HTTP_HEADER: Message =
    message("HTTPHeader", &[f("name", Str).written(), f("value", Str).written()]);

pub(crate) static HTTP_GET_ACTION: Message = message(
    "HTTPGetAction",
    &[
        f("host", Str),
        f("httpHeaders", List(&Struct(&HTTP_HEADER))),
        f("path", Str),
        f("port", IntOrString).written(),
        f("scheme", Str),
    ],
);

pub(crate) static SLEEP_ACTION: Message = message("SleepAction", &[f("seconds", Int64).written()]);

pub(crate) static TCP_SOCKET_ACTION: Message =
    message("TCPSocketAction", &[f("host", Str), f("port", IntOrString).written()]);

pub(crate) static LIFECYCLE_HANDLER: Message = message(
    "LifecycleHandler",
    &[
        f("exec", Struct(&EXEC_ACTION)).kept(),
        f("httpGet", Struct(&HTTP_GET_ACTION)).kept(),
        f("sleep", Struct(&SLEEP_ACTION)).kept(),
        f("tcpSocket", Struct(&TCP_SOCKET_ACTION)).kept(),
    ],
);

pub(crate) static LIFECYCLE: Message = message(
    "Lifecycle",
    &[
        f("postStart", Struct(&LIFECYCLE_HANDLER)).kept(),
        f("preStop", Struct(&LIFECYCLE_HANDLER)).kept(),
        f("stopSignal", Str),
    ],
);

pub(crate) static GRPC_ACTION: Message =
    message("GRPCAction", &[f("port", Int32).written(), f("service", Str).kept()]);

pub(crate) static PROBE: Message = message(
    "Probe",
    &[
        f("exec", Struct(&EXEC_ACTION)).kept(),
        f("failureThreshold", Int32),
        f("grpc", Struct(&GRPC_ACTION)).kept(),
        f("httpGet", Struct(&HTTP_GET_ACTION)).kept(),
        f("initialDelaySeconds", Int32),
        f("periodSeconds", Int32),
        f("successThreshold", Int32),
        f("tcpSocket", Struct(&TCP_SOCKET_ACTION)).kept(),
        f("terminationGracePeriodSeconds", Int64).kept(),
        f("timeoutSeconds", Int32),
    ],
);

pub(crate) static CONTAINER_PORT: Message = message(
    "ContainerPort",
    &[
        f("containerPort", Int32).at(3).written(),
        f("hostIP", Str).at(5),
        f("hostPort", Int32).at(2),
        f("name", Str).at(1),
        f("protocol", Str).at(4),
    ],
);

pub(crate) static CONTAINER_RESIZE_POLICY: Message = message(
    "ContainerResizePolicy",
    &[f("resourceName", Str).written(), f("restartPolicy", Str).written()],
);

pub(crate) static RESOURCE_CLAIM: Message =
    message("ResourceClaim", &[f("name", Str).written(), f("request", Str)]);

pub(crate) static RESOURCE_REQUIREMENTS: Message = message(
    "ResourceRequirements",
    &[
        f("claims", List(&Struct(&RESOURCE_CLAIM))).by("name"),
        f("limits", Map(&Quantity)).at(1),
        f("requests", Map(&Quantity)).at(2),
    ],
);

pub(crate) static CONTAINER_RESTART_RULE_ON_EXIT_CODES: Message = message(
    "ContainerRestartRuleOnExitCodes",
    &[f("operator", Str).written(), f("values", List(&Int32)).union()],
);

pub(crate) static CONTAINER_RESTART_RULE: Message = message(
    "ContainerRestartRule",
    &[
        f("action", Str).written(),
        f("exitCodes", Struct(&CONTAINER_RESTART_RULE_ON_EXIT_CODES)).kept(),
    ],
);

pub(crate) static APP_ARMOR_PROFILE: Message =
    message("AppArmorProfile", &[f("localhostProfile", Str), f("type", Str).written()]);

pub(crate) static CAPABILITIES: Message =
    message("Capabilities", &[f("add", List(&Str)), f("drop", List(&Str))]);

pub(crate) static SE_LINUX_OPTIONS: Message =
    message("SELinuxOptions", &[f("level", Str), f("role", Str), f("type", Str), f("user", Str)]);

pub(crate) static SECCOMP_PROFILE: Message =
    message("SeccompProfile", &[f("localhostProfile", Str), f("type", Str).written()]);

pub(crate) static WINDOWS_SECURITY_CONTEXT_OPTIONS: Message = message(
    "WindowsSecurityContextOptions",
    &[
        f("gmsaCredentialSpec", Str),
        f("gmsaCredentialSpecName", Str),
        f("hostProcess", Bool),
        f("runAsUserName", Str),
    ],
);

pub(crate) static SECURITY_CONTEXT: Message = message(
    "SecurityContext",
    &[
        f("allowPrivilegeEscalation", Bool).kept(),
        f("appArmorProfile", Struct(&APP_ARMOR_PROFILE)).kept(),
        f("capabilities", Struct(&CAPABILITIES)).kept(),
        f("privileged", Bool).kept(),
        f("procMount", Str).kept(),
        f("readOnlyRootFilesystem", Bool).kept(),
        f("runAsGroup", Int64).kept(),
        f("runAsNonRoot", Bool).kept(),
        f("runAsUser", Int64).kept(),
        f("seLinuxOptions", Struct(&SE_LINUX_OPTIONS)).kept(),
        f("seccompProfile", Struct(&SECCOMP_PROFILE)).kept(),
        f("windowsOptions", Struct(&WINDOWS_SECURITY_CONTEXT_OPTIONS)).kept(),
    ],
);

pub(crate) static VOLUME_DEVICE: Message =
    message("VolumeDevice", &[f("devicePath", Str).written(), f("name", Str).written()]);

pub(crate) static VOLUME_MOUNT: Message = message(
    "VolumeMount",
    &[
        f("mountPath", Str).written(),
        f("mountPropagation", Str),
        f("name", Str).written(),
        f("readOnly", Bool),
        f("recursiveReadOnly", Str),
        f("subPath", Str),
        f("subPathExpr", Str),
    ],
);

pub(crate) static CONTAINER: Message = message(
    "Container",
    &[
        f("args", List(&Str)).at(4),
        f("command", List(&Str)).at(3),
        f("env", List(&Struct(&ENV_VAR))).at(7).by("name"),
        f("envFrom", List(&Struct(&ENV_FROM_SOURCE))),
        f("image", Str).at(2),
        f("imagePullPolicy", Str).at(14),
        f("lifecycle", Struct(&LIFECYCLE)).kept(),
        f("livenessProbe", Struct(&PROBE)).kept(),
        f("name", Str).at(1).written(),
        f("ports", List(&Struct(&CONTAINER_PORT))).at(6).by("containerPort").also("protocol"),
        f("readinessProbe", Struct(&PROBE)).kept(),
        f("resizePolicy", List(&Struct(&CONTAINER_RESIZE_POLICY))),
        f("resources", Struct(&RESOURCE_REQUIREMENTS)).at(8).written(),
        f("restartPolicy", Str),
        f("restartPolicyRules", List(&Struct(&CONTAINER_RESTART_RULE))),
        f("securityContext", Struct(&SECURITY_CONTEXT)).kept(),
        f("startupProbe", Struct(&PROBE)).kept(),
        f("stdin", Bool).at(16),
        f("stdinOnce", Bool).at(17),
        f("terminationMessagePath", Str).at(13),
        f("terminationMessagePolicy", Str),
        f("tty", Bool).at(18),
        f("volumeDevices", List(&Struct(&VOLUME_DEVICE))).by("devicePath"),
        f("volumeMounts", List(&Struct(&VOLUME_MOUNT))).by("mountPath"),
        f("workingDir", Str).at(5),
    ],
);

pub(crate) static POD_DNS_CONFIG_OPTION: Message =
    message("PodDNSConfigOption", &[f("name", Str), f("value", Str).kept()]);

pub(crate) static POD_DNS_CONFIG: Message = message(
    "PodDNSConfig",
    &[
        f("nameservers", List(&Str)),
        f("options", List(&Struct(&POD_DNS_CONFIG_OPTION))),
        f("searches", List(&Str)),
    ],
);

pub(crate) static HOST_ALIAS: Message =
    message("HostAlias", &[f("hostnames", List(&Str)), f("ip", Str).written()]);

pub(crate) static LOCAL_OBJECT_REFERENCE: Message =
    message("LocalObjectReference", &[f("name", Str).written()]);

pub(crate) static POD_OS: Message = message("PodOS", &[f("name", Str).written()]);

pub(crate) static POD_READINESS_GATE: Message =
    message("PodReadinessGate", &[f("conditionType", Str).written()]);

pub(crate) static POD_RESOURCE_CLAIM: Message = message(
    "PodResourceClaim",
    &[f("name", Str).written(), f("resourceClaimName", Str), f("resourceClaimTemplateName", Str)],
);

pub(crate) static POD_SCHEDULING_GATE: Message =
    message("PodSchedulingGate", &[f("name", Str).written()]);

pub(crate) static POD_SCHEDULING_GROUP: Message =
    message("PodSchedulingGroup", &[f("podGroupName", Str)]);

pub(crate) static SYSCTL: Message =
    message("Sysctl", &[f("name", Str).written(), f("value", Str).written()]);

pub(crate) static POD_SECURITY_CONTEXT: Message = message(
    "PodSecurityContext",
    &[
        f("appArmorProfile", Struct(&APP_ARMOR_PROFILE)).kept(),
        f("fsGroup", Int64).kept(),
        f("fsGroupChangePolicy", Str).kept(),
        f("runAsGroup", Int64).kept(),
        f("runAsNonRoot", Bool).kept(),
        f("runAsUser", Int64).kept(),
        f("seLinuxChangePolicy", Str),
        f("seLinuxOptions", Struct(&SE_LINUX_OPTIONS)).kept(),
        f("seccompProfile", Struct(&SECCOMP_PROFILE)).kept(),
        f("supplementalGroups", List(&Int64)),
        f("supplementalGroupsPolicy", Str).kept(),
        f("sysctls", List(&Struct(&SYSCTL))),
        f("windowsOptions", Struct(&WINDOWS_SECURITY_CONTEXT_OPTIONS)).kept(),
    ],
);

pub(crate) static TOLERATION: Message = message(
    "Toleration",
    &[
        f("effect", Str),
        f("key", Str),
        f("operator", Str),
        f("tolerationSeconds", Int64).kept(),
        f("value", Str),
    ],
);

pub(crate) static TOPOLOGY_SPREAD_CONSTRAINT: Message = message(
    "TopologySpreadConstraint",
    &[
        f("labelSelector", Struct(&LABEL_SELECTOR)).kept(),
        f("matchLabelKeys", List(&Str)),
        f("maxSkew", Int32).written(),
        f("minDomains", Int32),
        f("nodeAffinityPolicy", Str),
        f("nodeTaintsPolicy", Str),
        f("topologyKey", Str).written(),
        f("whenUnsatisfiable", Str).written(),
    ],
);

pub(crate) static POD_SPEC: Message = message(
    "PodSpec",
    &[
        f("activeDeadlineSeconds", Int64).at(5).kept(),
        f("affinity", Opaque).kept(),
        f("automountServiceAccountToken", Bool).kept(),
        f("containers", List(&Struct(&CONTAINER))).at(2).written().by("name"),
        f("dnsConfig", Struct(&POD_DNS_CONFIG)).kept(),
        f("dnsPolicy", Str).at(6),
        f("enableServiceLinks", Bool).kept(),
        f("ephemeralContainers", List(&Opaque)).by("name"),
        f("hostAliases", List(&Struct(&HOST_ALIAS))).by("ip"),
        f("hostIPC", Bool).at(13),
        f("hostNetwork", Bool).at(11),
        f("hostPID", Bool).at(12),
        f("hostUsers", Bool).kept(),
        f("hostname", Str).at(16),
        f("hostnameOverride", Str),
        f("imagePullSecrets", List(&Struct(&LOCAL_OBJECT_REFERENCE))).by("name"),
        f("initContainers", List(&Struct(&CONTAINER))).at(20).by("name"),
        f("nodeName", Str).at(10),
        f("nodeSelector", Map(&Str)).at(7).whole(),
        f("os", Struct(&POD_OS)).kept(),
        f("overhead", Map(&Quantity)),
        f("preemptionPolicy", Str).kept(),
        f("priority", Int32).kept(),
        f("priorityClassName", Str),
        f("readinessGates", List(&Struct(&POD_READINESS_GATE))),
        f("resourceClaims", List(&Struct(&POD_RESOURCE_CLAIM))).by("name"),
        f("resources", Struct(&RESOURCE_REQUIREMENTS)).kept(),
        f("restartPolicy", Str).at(3),
        f("runtimeClassName", Str).kept(),
        f("schedulerName", Str).at(19),
        f("schedulingGates", List(&Struct(&POD_SCHEDULING_GATE))).by("name"),
        f("schedulingGroup", Struct(&POD_SCHEDULING_GROUP)).kept(),
        f("securityContext", Struct(&POD_SECURITY_CONTEXT)).kept(),
        f("serviceAccount", Str).at(9),
        f("serviceAccountName", Str).at(8),
        f("setHostnameAsFQDN", Bool).kept(),
        f("shareProcessNamespace", Bool).kept(),
        f("subdomain", Str).at(17),
        f("terminationGracePeriodSeconds", Int64).at(4).kept(),
        f("tolerations", List(&Struct(&TOLERATION))),
        f("topologySpreadConstraints", List(&Struct(&TOPOLOGY_SPREAD_CONSTRAINT)))
            .by("topologyKey"),
        f("volumes", List(&Opaque)).by("name"),
    ],
);

pub(crate) static POD_CONDITION: Message = message(
    "PodCondition",
    &[
        f("lastProbeTime", Time).written(),
        f("lastTransitionTime", Time).written(),
        f("message", Str),
        f("observedGeneration", Int64),
        f("reason", Str),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);

pub(crate) static RESOURCE_HEALTH: Message = message(
    "ResourceHealth",
    &[f("health", Str), f("message", Str), f("resourceID", Str).written()],
);

pub(crate) static RESOURCE_STATUS: Message = message(
    "ResourceStatus",
    &[f("name", Str).written(), f("resources", List(&Struct(&RESOURCE_HEALTH))).by("resourceID")],
);

pub(crate) static CONTAINER_STATE_RUNNING: Message =
    message("ContainerStateRunning", &[f("startedAt", Time)]);

pub(crate) static CONTAINER_STATE_TERMINATED: Message = message(
    "ContainerStateTerminated",
    &[
        f("containerID", Str),
        f("exitCode", Int32).written(),
        f("finishedAt", Time),
        f("message", Str),
        f("reason", Str),
        f("signal", Int32),
        f("startedAt", Time),
    ],
);

pub(crate) static CONTAINER_STATE_WAITING: Message =
    message("ContainerStateWaiting", &[f("message", Str), f("reason", Str)]);

pub(crate) static CONTAINER_STATE: Message = message(
    "ContainerState",
    &[
        f("running", Struct(&CONTAINER_STATE_RUNNING)).kept(),
        f("terminated", Struct(&CONTAINER_STATE_TERMINATED)).kept(),
        f("waiting", Struct(&CONTAINER_STATE_WAITING)).kept(),
    ],
);

pub(crate) static LINUX_CONTAINER_USER: Message = message(
    "LinuxContainerUser",
    &[f("gid", Int64).written(), f("supplementalGroups", List(&Int64)), f("uid", Int64).written()],
);

pub(crate) static CONTAINER_USER: Message =
    message("ContainerUser", &[f("linux", Struct(&LINUX_CONTAINER_USER)).kept()]);

pub(crate) static IMAGE_VOLUME_STATUS: Message =
    message("ImageVolumeStatus", &[f("imageRef", Str).written()]);

pub(crate) static VOLUME_STATUS: Message =
    message("VolumeStatus", &[f("image", Struct(&IMAGE_VOLUME_STATUS)).kept()]);

pub(crate) static VOLUME_MOUNT_STATUS: Message = message(
    "VolumeMountStatus",
    &[
        f("mountPath", Str).written(),
        f("name", Str).written(),
        f("readOnly", Bool),
        f("recursiveReadOnly", Str),
        f("volumeStatus", Struct(&VOLUME_STATUS)).kept(),
    ],
);

pub(crate) static CONTAINER_STATUS: Message = message(
    "ContainerStatus",
    &[
        f("allocatedResources", Map(&Quantity)),
        f("allocatedResourcesStatus", List(&Struct(&RESOURCE_STATUS))).by("name"),
        f("containerID", Str),
        f("image", Str).written(),
        f("imageID", Str).written(),
        f("lastState", Struct(&CONTAINER_STATE)).written(),
        f("name", Str).written(),
        f("ready", Bool).written(),
        f("resources", Struct(&RESOURCE_REQUIREMENTS)).kept(),
        f("restartCount", Int32).written(),
        f("started", Bool).kept(),
        f("state", Struct(&CONTAINER_STATE)).written(),
        f("stopSignal", Str),
        f("user", Struct(&CONTAINER_USER)).kept(),
        f("volumeMounts", List(&Struct(&VOLUME_MOUNT_STATUS))).by("mountPath"),
    ],
);

pub(crate) static CONTAINER_EXTENDED_RESOURCE_REQUEST: Message = message(
    "ContainerExtendedResourceRequest",
    &[
        f("containerName", Str).written(),
        f("requestName", Str).written(),
        f("resourceName", Str).written(),
    ],
);

pub(crate) static POD_EXTENDED_RESOURCE_CLAIM_STATUS: Message = message(
    "PodExtendedResourceClaimStatus",
    &[
        f("requestMappings", List(&Struct(&CONTAINER_EXTENDED_RESOURCE_REQUEST))).written(),
        f("resourceClaimName", Str).written(),
    ],
);

pub(crate) static HOST_IP: Message = message("HostIP", &[f("ip", Str).written()]);

pub(crate) static NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS: Message = message(
    "NodeAllocatableResourceClaimStatus",
    &[
        f("containers", List(&Str)).union(),
        f("resourceClaimName", Str).written(),
        f("resources", Map(&Quantity)).written(),
    ],
);

pub(crate) static POD_IP: Message = message("PodIP", &[f("ip", Str).written()]);

pub(crate) static POD_RESOURCE_CLAIM_STATUS: Message =
    message("PodResourceClaimStatus", &[f("name", Str).written(), f("resourceClaimName", Str)]);

pub(crate) static POD_STATUS: Message = message(
    "PodStatus",
    &[
        f("allocatedResources", Map(&Quantity)),
        f("conditions", List(&Struct(&POD_CONDITION))).by("type"),
        f("containerStatuses", List(&Struct(&CONTAINER_STATUS))),
        f("ephemeralContainerStatuses", List(&Struct(&CONTAINER_STATUS))),
        f("extendedResourceClaimStatus", Struct(&POD_EXTENDED_RESOURCE_CLAIM_STATUS)).kept(),
        f("hostIP", Str),
        f("hostIPs", List(&Struct(&HOST_IP))).by("ip"),
        f("initContainerStatuses", List(&Struct(&CONTAINER_STATUS))),
        f("message", Str),
        f(
            "nodeAllocatableResourceClaimStatuses",
            List(&Struct(&NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS)),
        ),
        f("nominatedNodeName", Str),
        f("observedGeneration", Int64),
        f("phase", Str),
        f("podIP", Str),
        f("podIPs", List(&Struct(&POD_IP))).by("ip"),
        f("qosClass", Str),
        f("reason", Str),
        f("resize", Str),
        f("resourceClaimStatuses", List(&Struct(&POD_RESOURCE_CLAIM_STATUS))).by("name"),
        f("resources", Struct(&RESOURCE_REQUIREMENTS)).kept(),
        f("startTime", Time),
    ],
);

pub(crate) static POD: Message = message(
    "Pod",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&POD_SPEC)).written(),
        f("status", Struct(&POD_STATUS)).written(),
    ],
);
