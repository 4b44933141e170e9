//! Nodes and Pods made of network namespaces
