//! What the servers cannot work without.

use std::net::SocketAddr;

use thiserror::Error;

/// Why a server ended.
#[derive(Debug, Error)]
pub enum Error {
    /// The address could not be had and `bindAddressHardFail` is set.
    #[error(
        "the {server} server cannot listen on {address}: {source}; free the address, choose \
         another one, or unset bindAddressHardFail to have it retried"
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
