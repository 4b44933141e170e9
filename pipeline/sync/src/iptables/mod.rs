//! iptables' tables, as `iptables-nft` keeps them in nf_tables, written without `iptables`.
//!
//! In: a [`Ruleset`], or the [`Change`]s of some owners. Out: netlink batches, each whole or not at
//! all. What the kernel holds is read at the first reconciliation and after any doubt; from then on
//! only differences are sent.

mod align;
mod batch;
mod change;
mod cleanup;
mod counters;
mod decode;
mod encode;
mod policy;
mod probe;
mod read;
mod reader;
mod reconcile;
mod state;
mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Family, Owner};
use render::iptables::ipset::Member;
use render::iptables::policy::PolicyChange;
use render::iptables::{ChainId, Change, Ruleset, Table};

pub use cleanup::Cleaned;
pub(crate) use decode::read_rule;
pub use policy::stands_ahead;
pub(crate) use probe::nf_tables;
pub use read::{Held, HeldRule};
pub use reader::Reader;

use crate::Error;
use crate::netlink::{Encoder, SendBudget, Socket};
use state::State;

/// What was sent to the kernel.
#[derive(Debug, Default)]
pub struct Written {
    /// Netlink messages, the two that frame each batch included.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Transactions.
    pub batches: usize,
    /// Rules among them, jumps from built-in chains included.
    pub rules: BTreeMap<(Family, Table), usize>,
    /// Owners whose rules the kernel would not take, or that cannot be told to it. What it held of
    /// them before stays. Leftovers that could not be deleted are listed under the node.
    pub refused: Vec<(Owner, Error)>,
    /// Elements that the kernel would not have. A rule that names their set does not meet them.
    pub refused_members: Vec<RefusedMember>,
}

/// An element that the kernel would not have in a set.
#[derive(Debug)]
pub struct RefusedMember {
    /// The set.
    pub set: Arc<str>,
    /// The element.
    pub member: Member,
    /// What the kernel says.
    pub error: Error,
}

/// Removes all that is ours from the iptables of the calling thread's network namespace, as
/// [`Iptables::cleanup`] does, for whoever writes another mode's rules: nothing is asked for that
/// only writing needs, and a kernel without nf_tables has nothing to remove.
///
/// # Errors
/// As [`Iptables::cleanup`].
pub fn remove() -> Result<Cleaned, Error> {
    let mut socket = Socket::open(SendBudget::default())?;
    match probe::nf_tables(&mut socket) {
        Err(Error::Unsupported { .. }) => return Ok(Cleaned::default()),
        asked => asked?,
    }
    Iptables::new(socket).cleanup()
}

/// The iptables of one network namespace.
#[derive(Debug)]
pub struct Iptables {
    socket: Socket,
    state: State,
    buffer: Encoder,
    /// Whether the kernel was asked for what policies need, and has it.
    policies_supported: bool,
}

impl Iptables {
    /// Opens the iptables of the calling thread's network namespace. Nothing is written.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::Unsupported`] if the kernel has no
    /// nf_tables, no nft_compat, or lacks an extension of iptables that the rules of every Service
    /// need.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(SendBudget::default())
    }

    /// Like [`Iptables::open`], with a say in how much is sent at once.
    ///
    /// # Errors
    /// As [`Iptables::open`].
    pub fn open_with(budget: SendBudget) -> Result<Self, Error> {
        let mut socket = Socket::open(budget)?;
        probe::nf_tables(&mut socket)?;
        probe::extensions(&mut socket)?;
        Ok(Self::new(socket))
    }

    fn new(socket: Socket) -> Self {
        let (state, buffer) = (State::default(), Encoder::default());
        Self { socket, state, buffer, policies_supported: false }
    }

    /// The socket that everything goes through, for measurements.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Reads what the kernel holds of ours and writes what differs from the ruleset. Where nothing
    /// differs, nothing is sent. Chains whose name only ours have and that the ruleset does not
    /// want are deleted. Whatever is not ours stays.
    ///
    /// # Errors
    /// Whatever keeps all rules from being written. One owner's refused rules are no error: they
    /// are listed in [`Written::refused`].
    pub fn reconcile(&mut self, ruleset: &Ruleset) -> Result<Written, Error> {
        let result = reconcile::reconcile(self, ruleset).and_then(|mut written| {
            policy::reconcile(self, &ruleset.policy, &mut written)?;
            self.state.known = true;
            Ok(written)
        });
        self.settle(result)
    }

    /// Writes what differs of the policies, relative to what was written before.
    ///
    /// # Errors
    /// As [`Iptables::apply`]. Elements that the kernel refuses are no error: they are listed in
    /// [`Written::refused_members`].
    pub fn apply_policy(&mut self, change: &PolicyChange) -> Result<Written, Error> {
        if !self.state.known {
            let why = "it is not known what the kernel holds".into();
            return Err(Error::OutOfStep { why });
        }
        let mut written = Written::default();
        let result = policy::apply(self, change, &mut written).map(|()| written);
        self.settle(result)
    }

    /// Whether somebody else emptied or changed a set, as far as the number of elements tells; says
    /// which. The kernel announces no change of sets, so this is to be asked time and again; it is
    /// one request, whatever the sets hold. Sets that could not be destroyed before are tried again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn disturbed_sets(&mut self) -> Result<Option<String>, Error> {
        policy::bury(self, &mut Written::default())?;
        policy::disturbed(self)
    }

    /// Sets that nobody wants any more and that the kernel would not destroy yet.
    pub fn doomed_sets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.state.known_sets.doomed.iter()
    }

    /// Writes changes, each of them relative to what was written before. Each owner's change is
    /// taken whole or not at all.
    ///
    /// # Errors
    /// [`Error::OutOfStep`] before the first [`Iptables::reconcile`], after any failure, and if the
    /// kernel holds something else than was written before: reconcile then. Owners listed in
    /// [`Written::refused`] need a reconciliation too before they can change.
    pub fn apply(&mut self, changes: &BTreeMap<Owner, Change>) -> Result<Written, Error> {
        if !self.state.known {
            let why = "it is not known what the kernel holds".into();
            return Err(Error::OutOfStep { why });
        }
        let result = change::apply(self, changes);
        self.settle(result)
    }

    /// Reads the rules of our chains and of the built-in ones.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if somebody else keeps changing them.
    pub fn read(&mut self) -> Result<Held, Error> {
        read::everything(&mut self.socket)
    }

    /// Reads the rules of one chain, whosever it is; none if it is not there.
    ///
    /// # Errors
    /// As [`Iptables::read`].
    pub fn read_chain(&mut self, chain: &ChainId) -> Result<Vec<HeldRule>, Error> {
        read::chain(&mut self.socket, chain, &self.state.sets)
    }

    /// Removes all that is ours (or kube-proxy's, whose names are the same), and nothing else.
    ///
    /// # Errors
    /// Whatever keeps everything from being removed; single chains that cannot go are listed in
    /// [`Cleaned::kept`].
    pub fn cleanup(&mut self) -> Result<Cleaned, Error> {
        let cleaned = cleanup::cleanup(self);
        self.state = State::default();
        cleaned
    }

    /// Whatever failed, the next change needs a new look at the kernel.
    fn settle(&mut self, result: Result<Written, Error>) -> Result<Written, Error> {
        if result.is_err() {
            self.state = State::default();
        }
        result
    }
}
