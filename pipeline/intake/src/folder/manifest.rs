//! Manifests: the objects of the files, typed and told apart by kind, namespace and name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use model::{NamespacedName, Notice, ObjectRef, Reason};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{self, Fault, Format, Object, Place};
use super::files::{self, Stamps};
use crate::{Error, wire};

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Service,
    EndpointSlice,
    Endpoints,
    Node,
    ServiceCidr,
    Pod,
    Namespace,
    NetworkPolicy,
    ClusterNetworkPolicy,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Endpoints,
        Kind::Node,
        Kind::ServiceCidr,
        Kind::Pod,
        Kind::Namespace,
        Kind::NetworkPolicy,
        Kind::ClusterNetworkPolicy,
    ];

    /// The name in manifests.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Endpoints => "Endpoints",
            Kind::Node => "Node",
            Kind::ServiceCidr => "ServiceCIDR",
            Kind::Pod => "Pod",
            Kind::Namespace => "Namespace",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }

    /// The API group and the versions that have the fields that are read.
    fn api(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Kind::Service | Kind::Endpoints | Kind::Node | Kind::Pod | Kind::Namespace => {
                ("", &["v1"])
            }
            Kind::EndpointSlice => ("discovery.k8s.io", &["v1"]),
            Kind::ServiceCidr => ("networking.k8s.io", &["v1", "v1beta1"]),
            Kind::NetworkPolicy => ("networking.k8s.io", &["v1"]),
            Kind::ClusterNetworkPolicy => ("policy.networking.k8s.io", &["v1alpha2"]),
        }
    }

    fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Kind::Node | Kind::ServiceCidr | Kind::Namespace | Kind::ClusterNetworkPolicy
        )
    }
}

/// What tells objects apart. The namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) name: NamespacedName,
}

impl Key {
    pub(super) fn object(&self) -> ObjectRef {
        if self.kind.is_namespaced() {
            ObjectRef::new(self.kind.name(), &self.name)
        } else {
            ObjectRef::new(self.kind.name(), &self.name.name)
        }
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) value: Value,
}

impl Manifest {
    /// The typed object.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Notice> {
        T::deserialize(&self.value).map_err(|error| Notice {
            object: self.key.object(),
            reason: Reason::InvalidField,
            message: format!("the object cannot be read: {error}; it is left out ({})", self.place),
        })
    }
}

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct FileContents {
    pub(super) manifests: Vec<Manifest>,
    pub(super) errors: Vec<Error>,
    pub(super) notices: Vec<Notice>,
    /// Not a byte: an editor may be about to write.
    pub(super) is_empty: bool,
}

/// What the files of a folder say, by path.
pub(super) type Files = BTreeMap<Arc<str>, FileContents>;

/// Reads all files of a folder. A file that cannot be read has an error and no manifest.
///
/// # Errors
/// [`Error::Folder`] if the folder itself cannot be listed.
pub(super) fn load(root: &Path) -> Result<(Stamps, Files), Error> {
    let listing = files::list(root)?;
    let stamps = listing.stamps();
    let mut files = Files::new();
    for (name, file) in &listing.files {
        match fs::read(&file.path) {
            Ok(bytes) => {
                files.insert(name.clone(), FileContents::new(name, file.format, &bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let error = Error::ManifestFile { file: name.clone(), source };
                files.entry(name.clone()).or_default().errors.push(error);
            }
        }
    }
    for (name, error) in listing.unreadable {
        files.entry(name).or_default().errors.push(error);
    }
    Ok((stamps, files))
}

fn error(Fault { place, message }: Fault) -> Error {
    Error::Document { place, message }
}

impl FileContents {
    /// What the text of a file says.
    pub(super) fn new(name: &Arc<str>, format: Format, bytes: &[u8]) -> Self {
        let mut contents = FileContents { is_empty: bytes.is_empty(), ..Self::default() };
        let found = document::read(name, format, bytes);
        contents.errors.extend(found.faults.into_iter().map(error));
        found.objects.into_iter().for_each(|object| contents.take(object));
        contents
    }

    fn take(&mut self, object: Object) {
        let (group, version) =
            object.api_version.rsplit_once('/').unwrap_or(("", &object.api_version));
        let known = Kind::ALL.into_iter().find(|kind| {
            // Another group's Service is another kind.
            kind.name() == object.kind && kind.api().0 == group
        });
        let Some(kind) = known else { return };
        let name = match name_of(kind, &object.value) {
            Ok(name) => name,
            Err(message) => {
                return self.errors.push(error(Fault { place: object.place, message }));
            }
        };
        let key = Key { kind, name };
        if kind.api().1.contains(&version) {
            self.manifests.push(Manifest { key, place: object.place, value: object.value });
            return;
        }
        let message = format!(
            "apiVersion is {}: expected version {}; the object is left out ({})",
            object.api_version,
            kind.api().1.join(" or "),
            object.place
        );
        self.notices.push(Notice { object: key.object(), reason: Reason::Unsupported, message });
    }
}

/// Where a manifest names no namespace, `default` is meant.
fn name_of(kind: Kind, value: &Value) -> Result<NamespacedName, String> {
    let text = |field: &str| match value.get("metadata").and_then(|it| it.get(field)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(format!(
            "expected a text in metadata.{field} of this {}, found {} (what YAML takes for \
             something else needs quotes)",
            kind.name(),
            wire::shown(&other.to_string())
        )),
    };
    let Some(name) = text("name")? else {
        return Err(format!("expected metadata.name in this {}, found none", kind.name()));
    };
    let namespace = match kind.is_namespaced() {
        true => text("namespace")?.unwrap_or("default"),
        false => "",
    };
    Ok(NamespacedName::new(namespace, name))
}

/// All objects, each once. Of two that share kind, namespace and name the one in the first file, by
/// path, counts.
pub(super) fn merge<'f>(
    files: impl Iterator<Item = &'f FileContents>,
    notices: &mut Vec<Notice>,
) -> BTreeMap<Key, &'f Manifest> {
    let mut merged: BTreeMap<Key, &Manifest> = BTreeMap::new();
    for manifest in files.flat_map(|file| &file.manifests) {
        match merged.get(&manifest.key) {
            None => drop(merged.insert(manifest.key.clone(), manifest)),
            Some(first) => notices.push(Notice {
                object: manifest.key.object(),
                reason: Reason::Conflict,
                message: format!(
                    "it stands in {} and again in {}: the first counts, the second is left out",
                    first.place, manifest.place
                ),
            }),
        }
    }
    merged
}
