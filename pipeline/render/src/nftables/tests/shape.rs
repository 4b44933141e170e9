//! The shape: what is there, and what is not.
