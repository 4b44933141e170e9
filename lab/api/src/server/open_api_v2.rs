//! The OpenAPI document for kubectl before 1.27.
//!
//! Such a kubectl asks which kinds exist and whether they can be written in a dry run, and finds
//! no types to check fields by, so that the server does. It reads protocol buffers alone
//! (`gnostic/openapiv2/OpenAPIv2.proto`).

use crate::resource::{ALL, Resource};

/// A field that holds bytes: a text or a message.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// The whole document.
pub(super) fn document(version: &str) -> Vec<u8> {
    let info = [field(1, "Kubernetes"), field(2, version)].concat();
    let paths: Vec<u8> = ALL.iter().flat_map(|resource| field(2, path(resource))).collect();
    // Document: swagger 1, info 2, paths 8.
    [field(1, "2.0"), field(2, info), field(8, paths)].concat()
}

/// `NamedPathItem`: a name, and a path item whose operation `patch` (8) takes dry runs.
fn path(resource: &Resource) -> Vec<u8> {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let version = resource.api_version();
    let name = format!("{root}/{version}{place}/{}/{{name}}", resource.plural);
    // QueryParameterSubSchema: in 2, name 4; below NonBodyParameter, Parameter, ParametersItem.
    let query = [field(2, "query"), field(4, "dryRun")].concat();
    let parameter = field(1, field(2, field(3, query)));
    let (group, version, kind) = (resource.group, resource.version, resource.kind);
    let yaml = format!("group: {group:?}\nversion: {version}\nkind: {kind}\n");
    // NamedAny: name 1, value 2; Any: yaml 2.
    let extension =
        [field(1, "x-kubernetes-group-version-kind"), field(2, field(2, yaml))].concat();
    // Operation: parameters 8, vendor_extension 13.
    let operation = [field(8, parameter), field(13, extension)].concat();
    [field(1, name), field(2, field(8, operation))].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fields_have_long_lengths() {
        let long = field(1, vec![b'x'; 300]);
        assert_eq!(long[..3], [10, 0xac, 0x02]);
        assert_eq!(long.len(), 303);
        let document = document("v1");
        let text = String::from_utf8_lossy(&document);
        for resource in ALL {
            assert!(text.contains(&format!("kind: {}\n", resource.kind)), "{}", resource.kind);
        }
    }
}
