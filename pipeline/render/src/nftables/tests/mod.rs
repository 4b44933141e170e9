//! Tests of the nftables dataplane.

mod changes;
mod fixture;
mod kernel;
mod packets;
mod shape;
