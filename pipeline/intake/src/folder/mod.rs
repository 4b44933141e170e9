//! A folder of manifests as a source: what an API server, its allocators and the EndpointSlice
//! controller would make of the files.
//!
//! Files count if they end in `.yaml`, `.yml` or `.json`, in nested folders too; kinds that
//! neither routing nor policies depend on are skipped. A document that cannot be read costs only
//! itself.

mod allocation;
mod document;
mod files;
mod manifest;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Change, EndpointSlice, NamespacedName, Node, Notice, Reason, Service, ServiceCidr};
use serde_json::Value;

use self::allocation::Draft;
pub use self::document::Place;
pub(crate) use self::document::yaml;
use self::manifest::{FileContents, Files, Key, Kind, Manifest};
use crate::convert::{self, Names};
use crate::endpoint_controller::{self, Pod};
use crate::{Error, wire};

/// A folder of manifests that is read again whenever it changes.
#[derive(Debug)]
pub struct FolderSource {
    path: PathBuf,
}

/// Everything that a folder says.
#[derive(Debug, Default)]
pub struct FolderContents {
    /// The complete lists of Services, EndpointSlices (written and made from Pods), Nodes,
    /// ServiceCIDRs, Pods, Namespaces, NetworkPolicies and ClusterNetworkPolicies.
    pub changes: Vec<Change>,
    /// What was left out of objects that could be read.
    pub notices: Vec<Notice>,
    /// Files and documents that could not be read: [`Error::ManifestFile`] and [`Error::Document`].
    pub errors: Vec<Error>,
    /// The cluster IPs that were chosen for Services whose manifests name none.
    pub allocated: Vec<(NamespacedName, IpAddr)>,
    /// The node ports, health check ports among them, that were chosen likewise.
    pub allocated_node_ports: Vec<(NamespacedName, u16)>,
}

/// Reads a folder once; the same files give the same contents.
///
/// # Errors
/// [`Error::Folder`] if the folder is missing, is no folder, or must not be read. What is wrong with
/// single files stands in [`FolderContents::errors`].
pub fn read(folder: &Path) -> Result<FolderContents, Error> {
    let (_, files) = manifest::load(folder)?;
    Ok(contents_of(files))
}

fn contents_of(mut files: Files) -> FolderContents {
    let mut contents = assemble(files.values());
    contents.errors =
        files.values_mut().flat_map(|file| std::mem::take(&mut file.errors)).collect();
    contents
}

impl FolderSource {
    /// A source that reads a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// As [`read`].
    ///
    /// # Errors
    /// Those of [`read`].
    pub fn read(folder: &Path) -> Result<FolderContents, Error> {
        read(folder)
    }
}

/// Makes facts of manifests.
fn assemble<'f>(files: impl Iterator<Item = &'f FileContents> + Clone) -> FolderContents {
    let mut notices: Vec<_> = files.clone().flat_map(|file| file.notices.clone()).collect();
    let merged = manifest::merge(files, &mut notices);
    let mut reader = Reader { merged: &merged, names: Names::default(), notices };

    let cidrs: Vec<ServiceCidr> = reader.convert(Kind::ServiceCidr, convert::service_cidr);
    let nodes: Vec<Node> = reader.convert(Kind::Node, convert::node);
    let mut drafts = reader.drafts();
    let allocated = allocation::fill(&mut drafts, &cidrs);
    reader.notices.extend(allocated.notices);
    let services: Vec<Service> = reader.services(&drafts);
    let mut slices: Vec<EndpointSlice> =
        reader.convert(Kind::EndpointSlice, convert::endpoint_slice);
    let pods = reader.pods();
    let by_name = nodes.iter().map(|node| (&*node.name, node)).collect();
    let made = endpoint_controller::endpoint_slices(
        &services,
        &slices,
        &pods,
        &by_name,
        &mut reader.notices,
    );
    slices.extend(made);
    reader.name_endpoints(&slices);
    let policy_facts = reader.policy_facts();

    FolderContents {
        notices: reader.notices,
        changes: [
            Change::Nodes(nodes),
            Change::ServiceCidrs(cidrs),
            Change::Services(services),
            Change::Slices(slices),
        ]
        .into_iter()
        .chain(policy_facts)
        .collect(),
        errors: Vec::new(),
        allocated: allocated.addresses,
        allocated_node_ports: allocated.node_ports,
    }
}

/// Turns manifests to facts, kind by kind, in the order of their names.
struct Reader<'m> {
    merged: &'m BTreeMap<Key, &'m Manifest>,
    names: Names,
    notices: Vec<Notice>,
}

impl<'m> Reader<'m> {
    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &'m Manifest> + use<'m> {
        self.merged.iter().filter(move |(key, _)| key.kind == kind).map(|(_, manifest)| *manifest)
    }

    /// The typed objects of a kind.
    fn typed<T: serde::de::DeserializeOwned>(&mut self, kind: Kind) -> Vec<(&'m Manifest, T)> {
        let mut typed = Vec::new();
        for manifest in self.of_kind(kind) {
            match manifest.read() {
                Ok(object) => typed.push((manifest, object)),
                Err(notice) => self.notices.push(notice),
            }
        }
        typed
    }

    fn convert<W: serde::de::DeserializeOwned, M>(
        &mut self,
        kind: Kind,
        convert: impl Fn(&W, &mut Names) -> (Option<M>, Vec<Notice>),
    ) -> Vec<M> {
        let mut facts = Vec::new();
        for (manifest, object) in self.typed::<W>(kind) {
            let (fact, notices) = convert(&object, &mut self.names);
            facts.extend(fact);
            self.note(manifest, notices);
        }
        facts
    }

    /// Keeps notices, with the place of the object that they are about.
    fn note(&mut self, manifest: &Manifest, notices: Vec<Notice>) {
        self.notices.extend(notices.into_iter().map(|notice| Notice {
            message: format!("{} ({})", notice.message, manifest.place),
            ..notice
        }));
    }

    fn drafts(&mut self) -> BTreeMap<NamespacedName, Draft> {
        let typed = self.typed(Kind::Service).into_iter();
        let drafts = typed.map(|(manifest, wire)| {
            let spec = manifest.value.get("spec");
            let field = |name: &str| spec.and_then(|spec| spec.get(name));
            let policy = field("ipFamilyPolicy").and_then(Value::as_str).unwrap_or_default();
            let allocate = field("allocateLoadBalancerNodePorts").and_then(Value::as_bool);
            let draft = Draft {
                wire,
                family_policy: policy.into(),
                allocate_node_ports: allocate.unwrap_or(true),
            };
            (manifest.key.name.clone(), draft)
        });
        drafts.collect()
    }

    fn services(&mut self, drafts: &BTreeMap<NamespacedName, Draft>) -> Vec<Service> {
        let mut services = Vec::new();
        for manifest in self.of_kind(Kind::Service) {
            let Some(draft) = drafts.get(&manifest.key.name) else { continue };
            let (service, notices) = convert::service(&draft.wire, &mut self.names);
            services.extend(service);
            self.note(manifest, notices);
        }
        services
    }

    fn pods(&mut self) -> Vec<Pod> {
        let mut pods = Vec::new();
        for (manifest, pod) in self.typed::<wire::Pod>(Kind::Pod) {
            // What is wrong with the Pod is named where it is read as a fact of its own.
            pods.push(Pod::new(manifest.key.name.clone(), &pod, &mut Vec::new()));
        }
        pods
    }

    /// What policies depend on.
    fn policy_facts(&mut self) -> [Change; 4] {
        [
            Change::Pods(self.convert(Kind::Pod, convert::pod)),
            Change::Namespaces(self.convert(Kind::Namespace, convert::namespace)),
            Change::NetworkPolicies(self.convert(Kind::NetworkPolicy, convert::network_policy)),
            Change::ClusterNetworkPolicies(
                self.convert(Kind::ClusterNetworkPolicy, convert::cluster_network_policy),
            ),
        ]
    }

    /// Endpoints are never read. Where a Service has nothing else, that is worth a word.
    fn name_endpoints(&mut self, slices: &[EndpointSlice]) {
        let served: BTreeSet<_> = slices.iter().filter_map(|it| it.service.as_ref()).collect();
        for manifest in self.of_kind(Kind::Endpoints) {
            if served.contains(&manifest.key.name) {
                continue;
            }
            let message = "Endpoints are not read: write an EndpointSlice with the label \
                           kubernetes.io/service-name";
            let notice = Notice {
                object: manifest.key.object(),
                reason: Reason::Unsupported,
                message: message.into(),
            };
            self.note(manifest, vec![notice]);
        }
    }
}

/// What is wrong with a file or document, for those who are told of left-out objects.
fn notice_of(error: &Error) -> Notice {
    let file: Arc<str> = match error {
        Error::Document { place, .. } => place.file.clone(),
        Error::ManifestFile { file, .. } => file.clone(),
        Error::Folder { path, .. } => path.display().to_string().into(),
        _ => "".into(),
    };
    Notice {
        object: model::ObjectRef { kind: "Manifest", name: file },
        reason: Reason::InvalidField,
        message: error.to_string(),
    }
}
