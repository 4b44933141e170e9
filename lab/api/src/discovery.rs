//! What the server says that it serves.

use serde_json::{Value, json};

use crate::Resource;
use crate::resource::{ALL, PODS};

/// What can be done with every resource.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = ALL.iter().map(|resource| resource.group).collect();
    groups.dedup();
    groups
}

fn of_group(group: &str) -> impl Iterator<Item = &'static Resource> + use<'_> {
    ALL.iter().copied().filter(move |resource| resource.group == group)
}

/// Group, version and kind of what a subresource takes and gives.
fn kind_of(resource: &Resource, subresource: &str) -> (&'static str, &'static str, &'static str) {
    match subresource {
        "scale" => ("autoscaling", "v1", "Scale"),
        "binding" => ("", "v1", "Binding"),
        _ => (resource.group, resource.version, resource.kind),
    }
}

fn verbs_of(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "binding" => &["create"],
        "finalize" => &["update"],
        _ => &["get", "patch", "update"],
    }
}

/// Aggregated discovery (`apidiscovery.k8s.io/v2` or `v2beta1`): of the core, or of all groups.
pub(crate) fn aggregated(core: bool, version: &str) -> Value {
    let groups = groups().into_iter().filter(|group| group.is_empty() == core);
    let items: Vec<_> = groups
        .map(|group| {
            let resources: Vec<_> = of_group(group).map(aggregated_resource).collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({
                "metadata": metadata,
                "versions": [{"version": "v1", "freshness": "Current", "resources": resources}],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<_> = resource
        .subresources
        .iter()
        .map(|subresource| {
            json!({
                "subresource": subresource, "verbs": verbs_of(subresource),
                "responseKind": kind(kind_of(resource, subresource)),
            })
        })
        .collect();
    let mut described = json!({
        "resource": resource.plural, "singularResource": resource.singular, "verbs": VERBS,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": kind((resource.group, resource.version, resource.kind)),
    });
    for (key, names) in [("shortNames", resource.short_names), ("categories", resource.categories)]
    {
        if !names.is_empty() {
            described[key] = json!(names);
        }
    }
    if !subresources.is_empty() {
        described["subresources"] = subresources.into();
    }
    described
}

/// The unaggregated `/api`.
pub(crate) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The unaggregated `/apis`.
pub(crate) fn group_list() -> Value {
    let groups: Vec<_> =
        groups().into_iter().filter(|group| !group.is_empty()).map(group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group(group: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

/// The unaggregated `/apis/GROUP`; nothing if it is not served.
pub(crate) fn one_group(name: &str) -> Option<Value> {
    let known = !name.is_empty() && groups().contains(&name);
    known.then(|| {
        let mut group = group(name);
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        group
    })
}

/// The unaggregated `/api/v1` or `/apis/GROUP/VERSION`; nothing if it is not served.
pub(crate) fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    let mut group_version = None;
    for resource in of_group(group).filter(|resource| resource.version == version) {
        group_version = Some(resource.api_version());
        let mut described = json!({
            "name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": VERBS,
        });
        for (key, names) in
            [("shortNames", resource.short_names), ("categories", resource.categories)]
        {
            if !names.is_empty() {
                described[key] = json!(names);
            }
        }
        resources.push(described);
        for subresource in resource.subresources {
            let (of_group, of_version, kind) = kind_of(resource, subresource);
            let mut described = json!({
                "name": format!("{}/{subresource}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": kind, "verbs": verbs_of(subresource),
            });
            if of_group != resource.group {
                described["group"] = of_group.into();
                described["version"] = of_version.into();
            }
            resources.push(described);
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version?,
        "resources": resources,
    }))
}

/// The group versions that have an OpenAPI document: `api/v1`, `apis/apps/v1`, …
pub(crate) fn open_api_paths() -> Vec<String> {
    let path = |group: &str| match group {
        "" => format!("api/{}", PODS.version),
        group => format!("apis/{group}/v1"),
    };
    groups().into_iter().map(path).collect()
}

/// The OpenAPI v3 document of a group version: which kinds there are, and that the server checks
/// fields. kubectl asks for no more before it applies or creates something.
pub(crate) fn open_api(path: &str) -> Option<Value> {
    let group = match path.strip_prefix("apis/") {
        Some(rest) => rest.strip_suffix("/v1")?,
        None if path == "api/v1" => "",
        None => return None,
    };
    let mut paths = serde_json::Map::new();
    for resource in of_group(group) {
        let place = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let url = format!("/{path}/{place}{}/{{name}}", resource.plural);
        let kind = json!({
            "group": group, "version": resource.version, "kind": resource.kind,
        });
        let parameter =
            json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string"}});
        let patch = json!({
            "operationId": format!("patch{}", resource.kind), "parameters": [parameter],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(url, json!({"patch": patch}));
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"},
            "paths": paths, "components": {"schemas": {}},
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_discovery_list_every_resource() {
        let mut aggregated = Vec::new();
        for core in [true, false] {
            for group in super::aggregated(core, "v2")["items"].as_array().unwrap() {
                let name = group["metadata"]["name"].as_str().unwrap_or_default();
                for resource in group["versions"][0]["resources"].as_array().unwrap() {
                    aggregated
                        .push((name.to_owned(), resource["resource"].as_str().unwrap().to_owned()));
                }
            }
        }
        let mut plain = Vec::new();
        for group in groups() {
            let list = resource_list(group, "v1").unwrap();
            for resource in list["resources"].as_array().unwrap() {
                let name = resource["name"].as_str().unwrap();
                if !name.contains('/') {
                    plain.push((group.to_owned(), name.to_owned()));
                }
            }
        }
        assert_eq!(aggregated, plain);
        assert_eq!(plain.len(), ALL.len());
        assert_eq!(resource_list("batch", "v1"), None);
        assert_eq!(one_group("batch"), None);
        assert_eq!(group_list()["groups"].as_array().unwrap().len(), groups().len() - 1);
    }

    #[test]
    fn every_kind_can_be_checked_by_the_server() {
        let mut kinds = 0;
        for path in open_api_paths() {
            let document = open_api(&path).unwrap();
            kinds += document["paths"].as_object().unwrap().len();
        }
        assert_eq!(kinds, ALL.len());
        assert_eq!(open_api("apis/batch/v1"), None);
    }
}
