//! Changes: incremental equals whole.
