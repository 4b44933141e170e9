//! One verb each.

pub(crate) mod can;
pub(crate) mod capture;
pub(crate) mod cleanup;
pub(crate) mod explain;
#[cfg(feature = "lab")]
pub(crate) mod lab;
pub(crate) mod lint;
pub(crate) mod render;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod top;
