//! kube-proxy's chains, written by netlink.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, NamespacedName, Owner, PolicyFact, PolicyName};
use plan::policy::{PolicyChanges, PolicyIntent};
use plan::{Intent, VirtualServer};
use render::iptables::policy::{PolicyChange, Standing};
use render::iptables::{Change, Options, Part, Table, names};
use sync::iptables::{Iptables, RefusedMember, Written};
use sync::watch::{self, Heard, TableFamily};
use tracing::{info, warn};

use super::{Dataplane, Outcome, RuleCount};

/// The tables that hold rules of ours.
const TABLES: [(Family, Table); 4] = [
    (Family::V4, Table::Filter),
    (Family::V4, Table::Nat),
    (Family::V6, Table::Filter),
    (Family::V6, Table::Nat),
];

/// kube-proxy's chains, as iptables lists them.
pub(crate) struct IptablesDataplane {
    kernel: Iptables,
    options: Options,
    /// The kernel setting that lets loopback addresses leave by other interfaces is still to be
    /// made, once the rules that keep strangers out are in place.
    route_localnet_due: bool,
    /// What kube-proxy left beside its rules is still to be removed, once ours stand.
    leftovers_due: bool,
    /// How many rules of ours the kernel holds.
    counts: BTreeMap<(Family, Table), usize>,
    /// What stands of policies; `None` where only a comparison with the kernel tells.
    policy: Option<Standing>,
}

impl IptablesDataplane {
    pub(crate) fn new(kernel: Iptables, options: Options) -> Self {
        Self {
            kernel,
            options,
            route_localnet_due: true,
            leftovers_due: true,
            counts: BTreeMap::new(),
            policy: None,
        }
    }

    /// NodePorts on loopback need `route_localnet`; KUBE-FIREWALL must stand before it
    /// (CVE-2020-8558), so this comes after the first write that the kernel accepted.
    fn route_localnet(&mut self, intent: &Intent) {
        if !self.route_localnet_due || !intent.node.localhost_node_ports {
            return;
        }
        match sync::sysctl::write("net/ipv4/conf/all/route_localnet", "1") {
            Ok(()) => self.route_localnet_due = false,
            Err(error) => warn!("{error}; NodePorts do not answer on loopback addresses"),
        }
    }

    /// Our rules have taken the place of kube-proxy's; what it left beside them would only mislead,
    /// or decide with rules that nobody keeps up to date.
    fn remove_leftovers(&mut self) {
        if !self.leftovers_due {
            return;
        }
        match sync::kube_proxy::remove_leftovers() {
            Ok(removed) => {
                self.leftovers_due = false;
                if !removed.is_empty() {
                    info!("removed what kube-proxy had left: {removed}");
                }
            }
            Err(error) => warn!("{error}; leftovers of kube-proxy stay until the next change"),
        }
        let ours = sync::table::remove();
        match ours {
            Ok(cleaned) if cleaned.tables.is_empty() => {}
            Ok(cleaned) => info!("{}", cleaned.to_string().trim_end()),
            Err(error) => warn!("{error}; a table of nftables mode stays until the next start"),
        }
    }

    fn count(&mut self, table: (Family, Table), more: isize) {
        let count = self.counts.entry(table).or_default();
        *count = count.saturating_add_signed(more);
    }

    fn outcome(&self, written: Written) -> Outcome {
        let count = |(table, &total): (&(Family, Table), &usize)| {
            let written = written.rules.get(table).copied().unwrap_or_default();
            (*table, RuleCount { total, written })
        };
        let rules = self.counts.iter().map(count).collect();
        Outcome { rules, ..Outcome::from(written) }
    }

    /// Writes what owners change, then what policies do.
    fn write(
        &mut self,
        changes: &BTreeMap<Owner, Change>,
        policy: &PolicyChange,
        next: &Intent,
    ) -> Result<Written, sync::Error> {
        // What stands counts as changed already: if it is not, everything is compared.
        let standing = self.policy.take();
        let mut written = self.kernel.apply(changes)?;
        if !policy.is_empty() {
            let more = self.kernel.apply_policy(policy)?;
            written.messages += more.messages;
            written.bytes += more.bytes;
            written.batches += more.batches;
            written.refused.extend(more.refused);
            written.refused_members.extend(more.refused_members);
        }
        self.policy = standing;
        written.refused.extend(refused_policies(&next.policy, &mut written.refused_members));
        Ok(written)
    }

    /// What one owner contributes under an Intent; `None` where it asks for nothing.
    fn part(&self, intent: &Intent, owner: &Owner) -> Option<Part> {
        match owner {
            Owner::Node => Some(render::iptables::node(&intent.node, &self.options)),
            Owner::Service(name) => {
                let servers: &[VirtualServer] = intent.servers.get(name)?;
                Some(render::iptables::owner(&intent.node, servers, &self.options))
            }
            // What differs of all policies together is told apart from owners.
            Owner::Policy(_) => None,
        }
    }
}

impl Dataplane for IptablesDataplane {
    fn reconcile(&mut self, intent: &Intent) -> Result<Outcome, sync::Error> {
        let (ruleset, standing) = render::iptables::ruleset_and_standing(intent, &self.options);
        self.policy = None;
        let mut written = self.kernel.reconcile(&ruleset)?;
        self.policy = Some(standing);
        written.refused.extend(refused_policies(&intent.policy, &mut written.refused_members));
        self.counts = TABLES.map(|table| (table, ruleset.rule_count(table.0, table.1))).into();
        // What the kernel held before of an owner that it refused is not known here.
        for (owner, _) in &written.refused {
            let part = ruleset.parts.get(owner);
            part.into_iter().flat_map(rules).for_each(|(table, rules)| self.count(table, -rules));
        }
        self.route_localnet(intent);
        self.remove_leftovers();
        Ok(self.outcome(written))
    }

    fn apply(
        &mut self,
        accepted: &Intent,
        next: &Intent,
        owners: &BTreeSet<Owner>,
        policy: &PolicyChanges,
    ) -> Result<Outcome, sync::Error> {
        let change = match &mut self.policy {
            Some(standing) => standing.change(&next.policy, policy, &self.options),
            None => None,
        };
        // A family comes or goes, with all its chains and sets.
        let Some(policy) = change else { return self.reconcile(next) };
        // Rules of every owner may name a fact of the node (how Pods are recognised, say).
        let node_differs = owners.contains(&Owner::Node);
        let everybody: BTreeSet<Owner>;
        let concerned = if node_differs {
            let names = accepted.servers.keys().chain(next.servers.keys());
            let services = names.map(|name: &NamespacedName| Owner::Service(name.clone()));
            everybody = services.chain([Owner::Node]).collect();
            &everybody
        } else {
            owners
        };
        let mut changes: BTreeMap<Owner, Change> = BTreeMap::new();
        let mut more = Vec::new();
        for owner in concerned {
            let (old, new) = (self.part(accepted, owner), self.part(next, owner));
            let change = render::iptables::diff(owner, old.as_ref(), new.as_ref());
            if change != Change::default() {
                let gone = old.iter().flat_map(rules).map(|(table, rules)| (table, -rules));
                more.extend(gone.chain(new.iter().flat_map(rules)).map(|count| (owner, count)));
                changes.insert(owner.clone(), change);
            }
        }
        let written = match self.write(&changes, &policy, next) {
            Err(error @ sync::Error::OutOfStep { .. }) => {
                warn!("{error}; comparing with the kernel");
                return self.reconcile(next);
            }
            written => written?,
        };
        let refused: BTreeSet<&Owner> = written.refused.iter().map(|(owner, _)| owner).collect();
        for (_, (table, rules)) in more.iter().filter(|(owner, _)| !refused.contains(owner)) {
            self.count(*table, *rules);
        }
        self.route_localnet(next);
        self.remove_leftovers();
        Ok(self.outcome(written))
    }

    fn ports(&mut self) -> Result<Vec<u32>, sync::Error> {
        Ok(vec![self.kernel.socket().port()?])
    }

    fn unannounced(&mut self) -> Result<Option<String>, sync::Error> {
        self.kernel.disturbed_sets()
    }

    fn touched(&mut self, heard: &Heard, accepted: &Intent) -> Result<Option<String>, sync::Error> {
        if heard.overrun {
            return Ok(Some("others changed more than could be heard".into()));
        }
        for change in &heard.changes {
            let Some((family, table)) = place(change) else { continue };
            let ours = |name: &String| names::is_ours(table, name) || name == names::KUBE_FIREWALL;
            if change.table_deleted || change.more_objects || change.objects.iter().any(ours) {
                return Ok(Some(change.to_string()));
            }
            // Others may put what they like into the built-in chains, as long as our jumps stay.
            let node = render::iptables::node(&accepted.node, &self.options);
            let jumps = node.jumps.iter().filter(|jump| {
                jump.chain.family == family
                    && jump.chain.table == table
                    && change.objects.contains(&*jump.chain.name)
            });
            for jump in jumps {
                let held = self.kernel.read_chain(&jump.chain)?;
                if !held.iter().any(|held| held.rule.as_ref() == Some(&jump.rule)) {
                    return Ok(Some(change.to_string()));
                }
            }
            let standing = self.policy.iter().flat_map(Standing::jumps);
            let jumps = standing.filter(|jump| {
                jump.chain.family == family
                    && jump.chain.table == table
                    && change.objects.contains(&*jump.chain.name)
            });
            for jump in jumps {
                let held = self.kernel.read_chain(&jump.chain)?;
                if !sync::iptables::stands_ahead(&held, jump) {
                    return Ok(Some(change.to_string()));
                }
            }
        }
        Ok(None)
    }
}

/// The policies whose rules name a set that lacks an element, for the kernel would not have it.
fn refused_policies(
    intent: &PolicyIntent,
    members: &mut Vec<RefusedMember>,
) -> Vec<(Owner, sync::Error)> {
    let mut refused = Vec::new();
    for RefusedMember { set, error, .. } in members.drain(..) {
        let rules = intent.classes.values().flat_map(|class| class.rules());
        let owner = rules
            .filter(|rule| render::iptables::policy::names_set(rule, &set))
            .map(|rule| match &rule.policy {
                PolicyName::Network(name) => PolicyFact::NetworkPolicy(name.clone()),
                PolicyName::Cluster(name) => PolicyFact::ClusterNetworkPolicy(name.clone()),
            })
            .next();
        refused.push((owner.map_or(Owner::Node, Owner::Policy), error));
    }
    refused
}

/// Which table of iptables a change is about.
fn place(change: &watch::Change) -> Option<(Family, Table)> {
    let family = match change.family {
        TableFamily::Ip => Family::V4,
        TableFamily::Ip6 => Family::V6,
        _ => return None,
    };
    let tables = [Table::Filter, Table::Nat];
    let table = tables.into_iter().find(|table| table.to_string() == change.table)?;
    Some((family, table))
}

/// How many rules of each chain's table an owner has.
fn rules(part: &Part) -> impl Iterator<Item = ((Family, Table), isize)> {
    part.chains.iter().chain(&part.shared).map(|(chain, rules)| {
        ((chain.family, chain.table), isize::try_from(rules.len()).unwrap_or(isize::MAX))
    })
}
