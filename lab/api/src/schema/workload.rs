//! Deployments and what they make of Pods. A table of facts, as long as there are fields.

use super::Type::{Bool, Int32, Int64, IntOrString, List, Str, Struct, Time};
use super::meta::{LABEL_SELECTOR, OBJECT_META};
use super::pod::POD_SPEC;
use super::{Message, f, message};

pub(crate) static ROLLING_UPDATE_DEPLOYMENT: Message = message(
    "RollingUpdateDeployment",
    &[f("maxSurge", IntOrString).at(2).kept(), f("maxUnavailable", IntOrString).at(1).kept()],
);

pub(crate) static DEPLOYMENT_STRATEGY: Message = message(
    "DeploymentStrategy",
    &[f("rollingUpdate", Struct(&ROLLING_UPDATE_DEPLOYMENT)).at(2).kept(), f("type", Str).at(1)],
);

pub(crate) static POD_TEMPLATE_SPEC: Message = message(
    "PodTemplateSpec",
    &[
        f("metadata", Struct(&OBJECT_META)).at(1).written(),
        f("spec", Struct(&POD_SPEC)).at(2).written(),
    ],
);

pub(crate) static DEPLOYMENT_SPEC: Message = message(
    "DeploymentSpec",
    &[
        f("minReadySeconds", Int32).at(5),
        f("paused", Bool).at(7),
        f("progressDeadlineSeconds", Int32).at(9).kept(),
        f("replicas", Int32).at(1).kept(),
        f("revisionHistoryLimit", Int32).at(6).kept(),
        f("selector", Struct(&LABEL_SELECTOR)).at(2).written(),
        f("strategy", Struct(&DEPLOYMENT_STRATEGY)).at(4).written(),
        f("template", Struct(&POD_TEMPLATE_SPEC)).at(3).written(),
    ],
);

pub(crate) static DEPLOYMENT_CONDITION: Message = message(
    "DeploymentCondition",
    &[
        f("lastTransitionTime", Time),
        f("lastUpdateTime", Time),
        f("message", Str),
        f("reason", Str),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);

pub(crate) static DEPLOYMENT_STATUS: Message = message(
    "DeploymentStatus",
    &[
        f("availableReplicas", Int32).at(4),
        f("collisionCount", Int32).kept(),
        f("conditions", List(&Struct(&DEPLOYMENT_CONDITION))).by("type"),
        f("observedGeneration", Int64).at(1),
        f("readyReplicas", Int32).at(7),
        f("replicas", Int32).at(2),
        f("terminatingReplicas", Int32).kept(),
        f("unavailableReplicas", Int32).at(5),
        f("updatedReplicas", Int32).at(3),
    ],
);

pub(crate) static DEPLOYMENT: Message = message(
    "Deployment",
    &[
        f("metadata", Struct(&OBJECT_META)).at(1).written(),
        f("spec", Struct(&DEPLOYMENT_SPEC)).at(2).written(),
        f("status", Struct(&DEPLOYMENT_STATUS)).at(3).written(),
    ],
);

pub(crate) static REPLICA_SET_SPEC: Message = message(
    "ReplicaSetSpec",
    &[
        f("minReadySeconds", Int32),
        f("replicas", Int32).kept(),
        f("selector", Struct(&LABEL_SELECTOR)).written(),
        f("template", Struct(&POD_TEMPLATE_SPEC)).written(),
    ],
);

pub(crate) static REPLICA_SET_CONDITION: Message = message(
    "ReplicaSetCondition",
    &[
        f("lastTransitionTime", Time),
        f("message", Str),
        f("reason", Str),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);

pub(crate) static REPLICA_SET_STATUS: Message = message(
    "ReplicaSetStatus",
    &[
        f("availableReplicas", Int32),
        f("conditions", List(&Struct(&REPLICA_SET_CONDITION))).by("type"),
        f("fullyLabeledReplicas", Int32),
        f("observedGeneration", Int64),
        f("readyReplicas", Int32),
        f("replicas", Int32).written(),
        f("terminatingReplicas", Int32).kept(),
    ],
);

pub(crate) static REPLICA_SET: Message = message(
    "ReplicaSet",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&REPLICA_SET_SPEC)).written(),
        f("status", Struct(&REPLICA_SET_STATUS)).written(),
    ],
);

pub(crate) static SCALE_SPEC: Message = message("ScaleSpec", &[f("replicas", Int32)]);

pub(crate) static SCALE_STATUS: Message =
    message("ScaleStatus", &[f("replicas", Int32).written(), f("selector", Str)]);

pub(crate) static SCALE: Message = message(
    "Scale",
    &[
        f("metadata", Struct(&OBJECT_META)).written(),
        f("spec", Struct(&SCALE_SPEC)).written(),
        f("status", Struct(&SCALE_STATUS)).written(),
    ],
);
