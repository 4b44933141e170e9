//! Where a packet goes and why, from the Intent and from the rules.
//!
//! In: a [`plan::Intent`], what the host says of itself, and a [`Packet`]. Out: a [`Verdict`].
//! Nothing here sends a packet or asks a kernel.

mod can;
mod decide;
mod explain;
mod fate;
pub mod kernel;
mod lint;
pub mod nftables;
mod packet;
pub mod policy;
mod trace;

pub use can::{
    Cell, CellDecision, Column, Matrix, MatrixError, Permission, Permitted, Row, can, matrix,
};
pub use decide::{Mode, Verdict, decide, source_class};
pub use explain::{
    AskedPort, ClassFound, Code, EndpointRow, EndpointTable, Explanation, FrontendMet, MissedRule,
    NatTuple, Outcome, Place, PolicyJudgement, PolicySide, PolicyWay, Question, QuestionError,
    RangesResult, Resolved, SnatRule, Style, WhyNot, explain, node_of,
};
pub use lint::{Finding, Lint, lint};
pub use nftables::trace_nftables;
pub use packet::{Enters, Packet};
pub use trace::{
    PolicyTrace, Step, Then, Trace, TraceError, trace_iptables, trace_iptables_policy,
};
