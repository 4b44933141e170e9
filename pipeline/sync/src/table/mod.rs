//! The nftables dataplane's own tables, written without `nft`.
//!
//! In: a [`Ruleset`], or a [`Change`] of it. Out: netlink transactions. One table of our own for each
//! family; nothing outside of it is read or written. What the kernel holds is read at the first
//! reconciliation and after any doubt, set by set, and compared as it is read; from then on only
//! differences are sent.

mod cleanup;
mod counters;
mod decode;
mod difference;
mod layout;
mod outbox;
mod probe;
mod read;
mod reader;
mod reconcile;
mod rows;
mod rule;
mod wanted;
mod write;

use model::{Family, Owner};
use render::nftables::{Change, Options, Part, Ruleset};

pub use crate::iptables::Written;
pub use cleanup::Cleaned;
pub use counters::FrontendCounter;
pub use probe::Features;
pub use read::Held;
pub use reader::Reader;

use crate::Error;
use crate::netlink::{Encoder, SendBudget, Socket};

/// Hands every owner with its part to a function.
pub type Parts<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&Owner, &Part));

/// Deletes our tables in the calling thread's network namespace, as [`Nftables::cleanup`] does, for
/// whoever writes another mode's rules: nothing is asked for that only writing needs, and a kernel
/// without nf_tables has nothing to delete.
///
/// # Errors
/// As [`Nftables::cleanup`].
pub fn remove() -> Result<Cleaned, Error> {
    let mut socket = Socket::open(SendBudget::default())?;
    match crate::iptables::nf_tables(&mut socket) {
        Err(Error::Unsupported { .. }) => Ok(Cleaned::default()),
        asked => asked.and_then(|()| cleanup::cleanup(&mut socket)),
    }
}

/// Our nftables of one network namespace.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    features: Features,
    /// What was reconciled with, as far as it shapes the tables; `None` while it is not known what
    /// the kernel holds.
    known: Option<Options>,
    buffer: Encoder,
}

impl Nftables {
    /// Opens the nftables of the calling thread's network namespace, and asks the kernel for
    /// everything that the rules need, without writing anything.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::Unsupported`] with the kernel's option
    /// if something is missing for which there is no other form.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(SendBudget::default())
    }

    /// Like [`Nftables::open`], with a say in how much is sent at once.
    ///
    /// # Errors
    /// As [`Nftables::open`].
    pub fn open_with(budget: SendBudget) -> Result<Self, Error> {
        let mut socket = Socket::open(budget)?;
        let features = probe::features(&mut socket)?;
        Ok(Self { socket, features, known: None, buffer: Encoder::default() })
    }

    /// What the kernel has, of what there is another form for.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The socket that everything goes through, for measurements.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Makes the tables hold exactly the ruleset: reads what they hold and writes what differs. Where
    /// nothing differs, nothing is sent. What packets remembered of session affinity stays. A table
    /// of another layout is replaced in one transaction, if that fits into what the socket takes.
    ///
    /// An owner for which the kernel does not take something is left out as a whole, so that the
    /// tables hold nothing of it, and is listed in [`Written::refused`].
    ///
    /// # Errors
    /// Whatever keeps all rules from being written.
    pub fn reconcile(&mut self, ruleset: &Ruleset) -> Result<Written, Error> {
        self.reconcile_parts(&ruleset.options, &mut |take| {
            ruleset.parts.iter().for_each(|(owner, part)| take(owner, part));
            take(&Owner::Node, &ruleset.policy);
        })
    }

    /// Like [`Nftables::reconcile`], for owners that are rendered one after another, so that their
    /// parts need not be in memory at once. `parts` is called again after a refusal, and must hand
    /// out the same.
    ///
    /// # Errors
    /// As [`Nftables::reconcile`].
    pub fn reconcile_parts(
        &mut self,
        options: &Options,
        parts: Parts<'_>,
    ) -> Result<Written, Error> {
        self.known = None;
        let written = reconcile::reconcile(self, options, parts)?;
        self.known = Some(*options);
        Ok(written)
    }

    /// Writes a change, relative to what was written before: in one transaction, unless it is larger
    /// than a few megabytes or what the socket takes. Elements alone make the kernel check nothing
    /// but themselves; chains and elements of the dispatch maps make it check all chains.
    ///
    /// # Errors
    /// [`Error::OutOfStep`] before the first [`Nftables::reconcile`], after any failure, and if the
    /// kernel refuses something: reconcile then, which tells whose it is.
    pub fn apply(&mut self, change: &Change) -> Result<Written, Error> {
        let Some(options) = self.known.take() else {
            let why = "it is not known what the kernel holds".into();
            return Err(Error::OutOfStep { why });
        };
        let written = reconcile::apply(self, &options, change)?;
        self.known = Some(options);
        Ok(written)
    }

    /// Reads what the tables hold, but for what packets remembered.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if somebody keeps changing them.
    pub fn read(&mut self) -> Result<Held, Error> {
        read::everything(&mut self.socket, &self.features.families)
    }

    /// Whether there is a table of ours, in any family.
    ///
    /// # Errors
    /// As [`Nftables::read`].
    pub fn is_there(&mut self) -> Result<bool, Error> {
        for family in Family::ALL {
            if read::table(&mut self.socket, family)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The counters of the frontends of a family: of the dispatch maps alone, not of the table.
    /// Empty where there is no table or no counters.
    ///
    /// # Errors
    /// As [`Nftables::read`].
    pub fn counters(&mut self, family: Family) -> Result<Vec<FrontendCounter>, Error> {
        counters::counters(&mut self.socket, family)
    }

    /// Deletes our tables, and nothing else.
    ///
    /// # Errors
    /// Whatever keeps them from being deleted.
    pub fn cleanup(&mut self) -> Result<Cleaned, Error> {
        self.known = None;
        cleanup::cleanup(&mut self.socket)
    }
}
