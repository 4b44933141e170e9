//! The cases, driven through every stage.
//!
//! In: the folders of `cases/` ([`cases`]). Out: for each of their situations ([`State`]) what each
//! stage makes of it, and for each of their packets what must happen to it ([`Probe`]). The tests
//! that hold the stages to it are in `tests/`; how to add a case stands in `cases/README.md`.

// A harness says what is wrong by failing the test that runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod case;
mod flow;
mod memory;
mod nftables;
pub mod policy;
mod settings;
pub mod shapes;
mod state;
pub mod traffic;

pub use case::{Case, Expect, ExpectedNotice, Masquerade, Otherwise, PacketFile, cases, folder};
pub use flow::Probe;
pub use memory::Memory;
pub use nftables::{Nftables, Policies, of_policies};
pub use settings::{HostSettings, Settings};
pub use state::{Cumulative, State, json, nftables_text, text};
