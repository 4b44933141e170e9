//! What the kernel, and the real `iptables`, make of what we write. Each test makes its own network
//! namespace.

mod fixture;
mod layout;
mod namespace;
mod owners;
