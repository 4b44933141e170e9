//! Changes -> kernel, whole or not at all
