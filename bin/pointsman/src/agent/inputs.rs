//! What an agent is told.

use std::time::Duration;

use intake::Delivery;
use intake::api::PolicyDecision;
use plan::Config;
use sync::nflog::Logged;
use sync::watch::Heard;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::watch;

use crate::asked::Asked;

/// What comes to the agent.
pub(crate) struct Inputs {
    /// What the source says.
    pub(crate) deliveries: Receiver<Delivery>,
    /// What others change in nf_tables.
    pub(crate) foreign: UnboundedReceiver<Heard>,
    /// What the operator changes.
    pub(crate) orders: UnboundedReceiver<Order>,
    /// Whether policies are enforced; said before the first complete delivery.
    pub(crate) decision: watch::Receiver<Option<PolicyDecision>>,
    /// Packets that policies denied, where they are to be told.
    pub(crate) denied: Receiver<Logged>,
    /// Who wants to know what is known.
    pub(crate) asked: UnboundedReceiver<Asked>,
}

/// A change of the operator's mind that can be followed in place.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Plan everything anew by this.
    pub(crate) routing: Option<Config>,
    /// The least time between the end of a write and the next.
    pub(crate) rest: Option<Duration>,
}
