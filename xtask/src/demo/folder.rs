//! The folder of manifests that stands for a cluster.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The lesson's Service: port 80 of the cluster IP leads to port 8080 of every Pod labelled
/// `app: my-app`.
pub(super) const MY_SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector:
    app: my-app
  ports:
  - protocol: TCP
    port: 80
    targetPort: 8080
  # An API server would have chosen this one.
  clusterIP: 10.96.0.80
";

/// What `kubectl expose deployment my-app --name=my-app-nodeport --type=NodePort --port=80
/// --target-port=8080` adds.
pub(super) const MY_APP_NODEPORT: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: my-app-nodeport
spec:
  type: NodePort
  selector:
    app: my-app
  ports:
  - protocol: TCP
    port: 80
    targetPort: 8080
    # An API server would have chosen these two.
    nodePort: 30080
  clusterIP: 10.96.0.81
";

/// A folder of manifests, one object a file.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder.
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds or replaces a file. It appears whole: a reader never sees half of it.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.path.with_extension("draft");
        let place = self.path.join(name);
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &place))
            .with_context(|| format!("cannot write {}", place.display()))
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let place = self.path.join(name);
        fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))
    }
}

/// A Node object.
pub(super) fn node(name: &str, address: IpAddr, pod_cidr: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Node
metadata:
  name: {name}
spec:
  podCIDR: {pod_cidr}
  podCIDRs:
  - {pod_cidr}
status:
  addresses:
  - type: InternalIP
    address: {address}
"
    )
}

/// A running, ready Pod labelled `app: my-app`.
pub(super) fn pod(name: &str, node: &str, address: IpAddr) -> String {
    format!(
        "\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels:
    app: my-app
spec:
  nodeName: {node}
  containers:
  - name: my-app
    image: my-app
    ports:
    - containerPort: 8080
status:
  phase: Running
  podIP: {address}
  podIPs:
  - ip: {address}
  conditions:
  - type: Ready
    status: \"True\"
"
    )
}
