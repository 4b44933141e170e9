//! The cases, driven through every stage
