//! Deployments and ReplicaSets.

use serde_json::Value;

use super::field::Faults;
use super::{immutable, names, pod};
use crate::object::{fields, has, items, number};
use crate::selector::label_selector_matches;

pub(super) fn check(faults: &mut Faults, kind: &str, object: &Value, old: Option<&Value>) {
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]
    {
        let value = number(object, &format!("/spec/{field}"));
        if value < 0 {
            let detail = "must be greater than or equal to 0";
            faults.invalid(&format!("spec.{field}"), value, detail);
        }
    }
    let nothing = Value::Null;
    let selector = object.pointer("/spec/selector").unwrap_or(&nothing);
    if has(object, "/spec/selector") {
        names::label_selector(faults, "spec.selector", selector);
        let empty = fields(selector, "/matchLabels").next().is_none()
            && items(selector, "/matchExpressions").is_empty();
        let labels = object.pointer("/spec/template/metadata/labels").unwrap_or(&nothing);
        if empty {
            let what = if kind == "Deployment" { "deployment" } else { "ReplicaSet" };
            let detail = format!("empty selector is invalid for {what}");
            faults.invalid("spec.selector", selector.clone(), &detail);
        } else if !label_selector_matches(selector, labels) {
            let detail = "`selector` does not match template `labels`";
            faults.invalid("spec.template.metadata.labels", labels.clone(), detail);
        }
    } else {
        faults.required("spec.selector", "");
    }
    let template = object.pointer("/spec/template").unwrap_or(&nothing);
    names::labels(faults, "spec.template.labels", template, "/metadata/labels");
    pod::check_spec(faults, "spec.template.spec", template.get("spec").unwrap_or(&nothing));
    let restarts = crate::object::text(template, "/spec/restartPolicy");
    faults.one_of("spec.template.spec.restartPolicy", restarts, &["Always"]);
    if let Some(old) = old {
        immutable(faults, "spec.selector", object, old, "/spec/selector");
    }
}
