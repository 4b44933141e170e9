//! Whether the kernel holds what the folder says.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::Agent;
use super::world::World;
use super::{Mode, tables};

/// The rules of our chains and the jumps to them, by table and chain.
type Rules = BTreeMap<String, Vec<String>>;

/// Waits until the kernel holds what `pointsman render` prints; tells how long that took.
pub(super) fn settle(agent: &Agent, world: &World, patience: Duration) -> Result<Duration> {
    let texts = [agent.render(world, "ipv4")?, agent.render(world, "ipv6")?];
    match world.mode() {
        Mode::Iptables => {
            let tools = ["iptables-save", "ip6tables-save"];
            let wanted = texts.map(|text| ours(&text));
            wait(patience, || {
                let mut differences = Vec::new();
                for (tool, wanted) in tools.iter().zip(&wanted) {
                    let output = world.node()?.command(tool).output();
                    let saved = output.with_context(|| format!("cannot start {tool}"))?.stdout;
                    differences.extend(difference(wanted, &ours(&String::from_utf8_lossy(&saved))));
                }
                Ok(differences)
            })
        }
        Mode::Nftables => {
            let wanted = tables::loaded(&texts.concat())?;
            wait(patience, || Ok(tables::difference(&wanted, &tables::listed(world.node()?)?)))
        }
    }
}

/// Waits until nothing differs.
fn wait(patience: Duration, differences: impl Fn() -> Result<Vec<String>>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let differences = differences()?;
        let took = start.elapsed();
        if differences.is_empty() {
            return Ok(took);
        }
        if took > patience {
            let lines = differences.join("\n");
            bail!("after {} s the kernel still differs from the folder:\n{lines}", took.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn ours(saved: &str) -> Rules {
    let mut rules = Rules::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(":KUBE-") {
            let name = chain.split(' ').next().unwrap_or_default();
            rules.entry(format!("{table} KUBE-{name}")).or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            // Which packets are counted by name depends on the machine.
            let counts = rule.contains("nfacct") || rule.contains("--ctstate INVALID");
            if rule.contains("KUBE-") && !counts {
                rules.entry(format!("{table} {chain}")).or_default().push(rule.to_owned());
            }
        }
    }
    rules
}

fn difference(wanted: &Rules, held: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    for (chain, rules) in wanted {
        if held.get(chain) != Some(rules) {
            lines.push(format!("{chain}: wanted {rules:#?}, held {:#?}", held.get(chain)));
        }
    }
    let extra = held.keys().filter(|chain| !wanted.contains_key(*chain));
    lines.extend(extra.map(|chain| format!("{chain} should not be there")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [1:2]\n\
        -A PREROUTING -j KUBE-SERVICES\n-A PREROUTING -j MINE\n-A KUBE-SERVICES -j KUBE-SVC-A\nCOMMIT\n";

    #[test]
    fn equal_rules_show_no_difference_whatever_strangers_have() {
        let stranger = SAVED.replace("-A PREROUTING -j MINE\n", "");
        assert_eq!(difference(&ours(SAVED), &ours(&stranger)), [""; 0]);
    }

    #[test]
    fn a_rule_missing_another_order_and_a_chain_too_many_show() {
        let missing = SAVED.replace("-A KUBE-SERVICES -j KUBE-SVC-A\n", "");
        assert_eq!(difference(&ours(SAVED), &ours(&missing)).len(), 1);
        let two = SAVED.replace("COMMIT", "-A KUBE-SERVICES -j KUBE-SVC-B\nCOMMIT");
        let turned =
            SAVED.replace("-A KUBE-SERVICES", "-A KUBE-SERVICES -j KUBE-SVC-B\n-A KUBE-SERVICES");
        assert_eq!(difference(&ours(&two), &ours(&turned)).len(), 1);
        let extra = SAVED.replace("COMMIT", ":KUBE-SVC-C - [0:0]\nCOMMIT");
        assert_eq!(difference(&ours(SAVED), &ours(&extra)).len(), 1);
    }
}
