//! What is answered, and where: as functions of the status, and on real sockets in namespaces.

mod answers;

mod node_ports;
mod objects;
