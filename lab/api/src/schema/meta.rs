//! Types that objects of every group are made of. A table of facts, as long as there are fields.

use super::Type::{Bool, Int64, List, Map, Opaque, Str, Struct, Time};
use super::{Message, f, message};

pub(crate) static MANAGED_FIELDS_ENTRY: Message = message(
    "ManagedFieldsEntry",
    &[
        f("apiVersion", Str),
        f("fieldsType", Str),
        f("fieldsV1", Opaque).kept(),
        f("manager", Str),
        f("operation", Str),
        f("subresource", Str),
        f("time", Time),
    ],
);

pub(crate) static OWNER_REFERENCE: Message = message(
    "OwnerReference",
    &[
        f("apiVersion", Str).at(5).written(),
        f("blockOwnerDeletion", Bool).at(7).kept(),
        f("controller", Bool).at(6).kept(),
        f("kind", Str).at(1).written(),
        f("name", Str).at(3).written(),
        f("uid", Str).at(4).written(),
    ],
);

pub(crate) static OBJECT_META: Message = message(
    "ObjectMeta",
    &[
        f("annotations", Map(&Str)).at(12),
        f("creationTimestamp", Time).at(8),
        f("deletionGracePeriodSeconds", Int64).at(10).kept(),
        f("deletionTimestamp", Time).at(9),
        f("finalizers", List(&Str)).at(14).union(),
        f("generateName", Str).at(2),
        f("generation", Int64).at(7),
        f("labels", Map(&Str)).at(11),
        f("managedFields", List(&Struct(&MANAGED_FIELDS_ENTRY))),
        f("name", Str).at(1),
        f("namespace", Str).at(3),
        f("ownerReferences", List(&Struct(&OWNER_REFERENCE))).at(13).by("uid"),
        f("resourceVersion", Str).at(6),
        f("selfLink", Str).at(4),
        f("uid", Str).at(5),
    ],
);

pub(crate) static LABEL_SELECTOR_REQUIREMENT: Message = message(
    "LabelSelectorRequirement",
    &[
        f("key", Str).at(1).written(),
        f("operator", Str).at(2).written(),
        f("values", List(&Str)).at(3),
    ],
);

pub(crate) static LABEL_SELECTOR: Message = message(
    "LabelSelector",
    &[
        f("matchExpressions", List(&Struct(&LABEL_SELECTOR_REQUIREMENT))).at(2),
        f("matchLabels", Map(&Str)).at(1),
    ],
);

pub(crate) static PRECONDITIONS: Message =
    message("Preconditions", &[f("resourceVersion", Str).at(2).kept(), f("uid", Str).at(1).kept()]);

pub(crate) static DELETE_OPTIONS: Message = message(
    "DeleteOptions",
    &[
        f("apiVersion", Str),
        f("dryRun", List(&Str)).at(5),
        f("gracePeriodSeconds", Int64).at(1).kept(),
        f("ignoreStoreReadErrorWithClusterBreakingPotential", Bool),
        f("kind", Str),
        f("orphanDependents", Bool).at(3).kept(),
        f("preconditions", Struct(&PRECONDITIONS)).at(2).kept(),
        f("propagationPolicy", Str).at(4).kept(),
    ],
);

pub(crate) static CONDITION: Message = message(
    "Condition",
    &[
        f("lastTransitionTime", Time).written(),
        f("message", Str).written(),
        f("observedGeneration", Int64),
        f("reason", Str).written(),
        f("status", Str).written(),
        f("type", Str).written(),
    ],
);
