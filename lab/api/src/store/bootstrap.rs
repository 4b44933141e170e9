//! What every cluster has from the start.

use serde_json::json;

use super::{Store, WriteOptions};
use crate::ApiError;
use crate::resource::{NAMESPACES, SERVICE_CIDRS, SERVICES};

impl Store {
    pub(super) fn bootstrap(&self) -> Result<(), ApiError> {
        let options = WriteOptions { manager: "kube-apiserver".to_owned(), ..Default::default() };
        for name in ["kube-system", "kube-public", "kube-node-lease", "default"] {
            let namespace = json!({"metadata": {"name": name}});
            self.create(&NAMESPACES, "", namespace, &options)?;
        }
        let cidrs = &self.options().service_cidrs;
        let texts: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
        let block = json!({
            "metadata": {
                "name": "kubernetes",
                "finalizers": ["networking.k8s.io/service-cidr-finalizer"],
            },
            "spec": {"cidrs": texts},
        });
        let block = self.create(&SERVICE_CIDRS, "", block, &options)?.object;
        let now = &block["metadata"]["creationTimestamp"];
        let ready = json!({"metadata": {}, "status": {"conditions": [{
            "type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "",
            "message": "Kubernetes Service CIDR is ready",
        }]}});
        let status = WriteOptions { subresource: Some("status"), ..options.clone() };
        self.update(&SERVICE_CIDRS, "", "kubernetes", ready, &status)?;
        let Some(first) = cidrs.first().and_then(|cidr| cidr.hosts().next()) else {
            return Ok(());
        };
        // hosts() of an IPv6 block begins with the block's own address.
        let first = match (first, cidrs.first()) {
            (std::net::IpAddr::V6(address), Some(cidr)) if address == cidr.network() => {
                std::net::IpAddr::V6((u128::from(address) + 1).into())
            }
            (address, _) => address,
        };
        let service = json!({
            "metadata": {
                "name": "kubernetes",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": first.to_string(),
                "ports": [{
                    "name": "https", "protocol": "TCP", "port": 443,
                    "targetPort": self.options().server_port,
                }],
            },
        });
        self.create(&SERVICES, "default", service, &options)?;
        Ok(())
    }
}
