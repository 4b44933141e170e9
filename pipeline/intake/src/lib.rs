//! Kubernetes API, or a folder of manifests -> Cluster + what changed
