//! Why the first packet of a connection does or does not arrive: the plan's decisions and
//! [`decide`](crate::decide)'s, joined to the objects and fields that they come from.

mod because;
mod code;
mod endpoints;
mod frontend;
mod nat;
mod policy;
pub(crate) mod policy_text;
mod question;
mod reason;
mod resolve;
mod text;

use model::{Cluster, Family, Host};
use plan::{Config, Intent, SourceClass};
use serde::Serialize;

pub use code::Code;
pub use endpoints::{EndpointRow, EndpointTable, WhyNot};
pub use frontend::{FrontendMet, RangesResult};
pub use nat::{NatTuple, SnatRule};
pub use policy::{MissedRule, PolicyJudgement, PolicySide, PolicyWay};
pub use question::{AskedPort, Place, Question, QuestionError};
pub use resolve::{Resolved, node_of};
pub use text::Style;

use crate::decide::{Decision, decision};
use crate::kernel::KernelTruth;
use crate::{Mode, Packet, Verdict, source_class};

/// The answer to a [`Question`]; what could not be found out, because an earlier point failed, is
/// `None` or empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was asked.
    pub question: String,
    /// The node whose rules are asked.
    pub node: String,
    /// The dataplane.
    pub mode: Mode,
    /// What the two ends resolved to: the source, then the destination.
    pub resolved: Vec<Resolved>,
    /// The packet.
    pub packet: Option<Packet>,
    /// The class of its source, with the evidence.
    pub class: Option<ClassFound>,
    /// The frontend that it meets.
    pub frontend: Option<FrontendMet>,
    /// Every entry of every EndpointSlice of the Service.
    pub endpoints: Option<EndpointTable>,
    /// Where it may go, and whether its source is replaced on that way.
    pub nat: Vec<NatTuple>,
    /// What NetworkPolicies say.
    pub policy: PolicyJudgement,
    /// The verdict; `None` where no packet is ever sent.
    pub verdict: Option<Verdict>,
    /// The verdict of the routing alone, which policies may narrow.
    #[serde(skip)]
    pub routed: Option<Verdict>,
    /// The stable reason.
    pub reason: Code,
    /// The reason in this case: objects, fields, values.
    pub detail: String,
    /// What follows for the client.
    pub consequence: &'static str,
    /// What to do next.
    pub remedy: &'static str,
    /// Why the endpoint that was asked for gets no traffic (`--why-not`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<WhyNot>,
    /// What the node's kernel holds, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelTruth>,
}

/// The class of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassFound {
    /// The class.
    pub class: SourceClass,
    /// How it is known.
    pub evidence: String,
}

/// How a question ends, as the program's exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// 0
    Delivered,
    /// 1
    Rejected,
    /// 2
    Dropped,
    /// 3: nothing of ours decides.
    Undecided,
}

impl Explanation {
    /// How it ends.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if let Some(outcome) = self.kernel.as_ref().and_then(|kernel| kernel.outcome) {
            return outcome;
        }
        match &self.verdict {
            Some(Verdict::Deliver(_)) => Outcome::Delivered,
            Some(Verdict::Reject) => Outcome::Rejected,
            Some(Verdict::Drop) => Outcome::Dropped,
            Some(Verdict::Pass) | None => Outcome::Undecided,
        }
    }

    /// Whether the kernel does otherwise than the plan says.
    #[must_use]
    pub fn is_overruled(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.outcome.is_some())
    }

    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.outcome() as u8
    }
}

/// All that an answer depends on.
#[derive(Clone, Copy)]
struct World<'a> {
    cluster: &'a Cluster,
    config: &'a Config,
    intent: &'a Intent,
    host: &'a Host,
    mode: Mode,
}

/// Answers a question for the node of `config`, whose plan of `cluster` is `intent`.
#[must_use]
pub fn explain(
    cluster: &Cluster,
    config: &Config,
    intent: &Intent,
    host: &Host,
    mode: Mode,
    question: &Question,
) -> Explanation {
    let world = World { cluster, config, intent, host, mode };
    let mut answer = Explanation {
        question: question.to_string(),
        node: config.node_name.to_string(),
        mode,
        resolved: Vec::new(),
        packet: None,
        class: None,
        frontend: None,
        endpoints: None,
        nat: Vec::new(),
        policy: PolicyJudgement::default(),
        verdict: None,
        routed: None,
        reason: Code::NotOurs,
        detail: String::new(),
        consequence: "",
        remedy: "",
        why_not: None,
        kernel: None,
    };
    match packet(&world, question, &mut answer.resolved) {
        Ok(packet) => judge(&world, question, packet, &mut answer),
        Err(unresolved) => (answer.reason, answer.detail) = (unresolved.code, unresolved.text),
    }
    if let Some(name) = &question.why_not {
        answer.why_not = Some(endpoints::why_not(cluster, name, answer.endpoints.as_ref()));
    }
    answer.consequence = answer.reason.consequence();
    answer.remedy = answer.reason.remedy();
    answer
}

fn packet(
    world: &World<'_>,
    question: &Question,
    resolved: &mut Vec<Resolved>,
) -> Result<Packet, resolve::Unresolved> {
    let home = match &question.source {
        Place::Pod(name) => name.namespace.clone(),
        _ => "default".into(),
    };
    let source = resolve::place(world.cluster, &question.source, &home)?;
    resolved.push(source.clone());
    let destination = resolve::place(world.cluster, &question.destination, &home)?;
    resolved.push(destination.clone());
    let port = resolve::port(world.cluster, question, &destination)?;
    let here = (world.config, world.intent, world.host);
    resolve::packet(question, (&source, &destination, port), here)
}

fn judge(world: &World<'_>, question: &Question, packet: Packet, answer: &mut Explanation) {
    let decision = decision(world.intent, world.host, &packet, world.mode);
    let class = source_class(world.intent, world.host, &packet);
    let evidence = frontend::evidence(world, &packet, class);
    if let Some(by) = decision.by {
        answer.frontend = Some(frontend::met(world, by, &packet));
        let delivers = matches!(decision.verdict, Verdict::Deliver(_));
        answer.endpoints = Some(endpoints::table(world, by, class, delivers));
    }
    answer.nat = nat::tuples(world, &decision, class, &packet);
    let named = answer.resolved.last().and_then(|end| end.service.as_ref());
    let case = reason::Case {
        packet: &packet,
        decision: &decision,
        named,
        question,
        frontend: answer.frontend.as_ref(),
        endpoints: answer.endpoints.as_ref(),
    };
    (answer.reason, answer.detail) = reason::reason(world, &case);
    let Decision { verdict, .. } = decision;
    answer.policy = policy::judgement(world, &packet, &verdict);
    answer.routed = Some(verdict.clone());
    let (verdict, changed) = policy::verdict(&answer.policy, verdict);
    if let Some(because_of_policy) = changed {
        (answer.reason, answer.detail) = because_of_policy;
    }
    answer.verdict = Some(verdict);
    answer.class = Some(ClassFound { class, evidence });
    answer.packet = Some(packet);
}

/// The family of a packet.
fn family(packet: &Packet) -> Family {
    Family::of(packet.destination)
}
