//! The program as its user runs it, in network namespaces of its own.

mod bad_input;
mod lesson;
mod restart;
mod stage;
