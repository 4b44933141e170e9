//! What can go wrong.

use std::net::SocketAddr;

use thiserror::Error;

/// Why something was not served.
#[derive(Debug, Error)]
pub enum Error {
    /// The address could not be had: fatal with `bindAddressHardFail`, else tried again.
    #[error(
        "the {server} server cannot listen on {address}: {source}; free the address or choose \
         another one (without bindAddressHardFail it is tried again)"
    )]
    Bind {
        /// Which server.
        server: &'static str,
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics could not be put together.
    #[error("the metrics cannot be written as text: {0}; this is a defect, please report it")]
    Encode(#[from] std::fmt::Error),
}
