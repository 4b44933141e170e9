//! The legacy iptables of the calling thread's network namespace: read, reported, never written.
//!
//! Legacy tables and those of nf_tables are called for the same packets. Rules in both are the
//! source of failures that neither tool shows alone.

mod socket;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use model::Family;
use render::iptables::names;

use crate::Error;
use crate::netlink::{c_text, read_u16, read_u32};
use socket::{ENTRIES, read_table};

/// The chains by which kubelet shows which iptables it uses.
const KUBELET: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];
/// The hooks of `struct ipt_getinfo`, in its order.
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// Where the tool's name leads to more than this many others, it leads in circles.
const LINKS: usize = 16;

/// One table of legacy iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// The family.
    pub family: Family,
    /// The table's name.
    pub name: String,
    /// How many rules each chain has, policies not counted.
    pub chains: BTreeMap<String, usize>,
}

/// Which variant the command `iptables` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// It writes to nf_tables.
    Nft,
    /// It writes legacy tables.
    Legacy,
    /// It is there, but its name does not tell.
    Other(PathBuf),
    /// It is not there.
    Missing,
}

/// What was found of legacy iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which variant the command `iptables` is.
    pub tool: Tool,
    /// The tables that are loaded.
    pub tables: Vec<LegacyTable>,
}

/// Looks at the legacy iptables of the calling thread's network namespace. Nothing is written, no
/// module is loaded, no tool is executed.
///
/// # Errors
/// [`Error::NotPermitted`] without CAP_NET_ADMIN; [`Error::Unreadable`] for a table that makes no
/// sense.
pub fn survey() -> Result<Report, Error> {
    let mut tables = Vec::new();
    for (family, list) in [(Family::V4, "ip_tables_names"), (Family::V6, "ip6_tables_names")] {
        for name in loaded(list)? {
            let (info, entries) = read_table(family, &name)?;
            let chains = chains(family, &info, &entries).ok_or_else(|| Error::Unreadable {
                what: format!("the legacy {family} table {name}"),
                why: "its entries do not follow each other".into(),
            })?;
            tables.push(LegacyTable { family, name, chains });
        }
    }
    Ok(Report { tool: tool(Path::new("/usr/sbin/iptables")), tables })
}

/// The names of the tables that somebody has used in this namespace. To ask for another would load
/// it.
fn loaded(list: &str) -> Result<Vec<String>, Error> {
    let path = format!("/proc/thread-self/net/{list}");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::system(format!("read {path}"), error)),
    }
}

/// Counts the rules of each chain of `struct ipt_get_entries`.
fn chains(family: Family, info: &[u8], entries: &[u8]) -> Option<BTreeMap<String, usize>> {
    // Where `target_offset` is in `struct ipt_entry` and `struct ip6t_entry`.
    let target_offset = match family {
        Family::V4 => 88,
        Family::V6 => 140,
    };
    let hooks = read_u32(info, socket::TABLE_NAME)?;
    let starts: BTreeMap<usize, &str> = (0..)
        .zip(HOOKS)
        .filter(|(hook, _)| hooks & (1 << hook) != 0)
        .filter_map(|(hook, name)| {
            Some((read_u32(info, socket::TABLE_NAME + 4 + 4 * hook)? as usize, name))
        })
        .collect();
    let mut chains = BTreeMap::new();
    let mut current = None;
    let mut at = 0;
    let blob = entries.get(ENTRIES..)?;
    while at < blob.len() {
        let entry = blob.get(at..)?;
        let target = entry.get(usize::from(read_u16(entry, target_offset)?)..)?;
        if let Some(name) = starts.get(&at) {
            current = Some((*name).to_owned());
        }
        // `struct xt_entry_target`: a length, a name of 29 bytes, a revision, then its data.
        if c_text(target.get(2..31)?)? == "ERROR" {
            current = Some(c_text(target.get(32..)?)?.to_owned());
            chains.insert(current.clone()?, 0);
        } else {
            *chains.entry(current.clone()?).or_default() += 1;
        }
        let length = usize::from(read_u16(entry, target_offset + 2)?);
        at += (length > 0).then_some(length)?;
    }
    // The table ends in an entry like the beginning of a chain of this name. Each chain ends in
    // its policy, or in the way back.
    chains.remove("ERROR");
    chains.values_mut().for_each(|count| *count = usize::saturating_sub(*count, 1));
    Some(chains)
}

/// Follows a command's links to the name that tells its variant.
fn tool(command: &Path) -> Tool {
    if fs::symlink_metadata(command).is_err() {
        return Tool::Missing;
    }
    let mut path = command.to_owned();
    for _ in 0..LINKS {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains("legacy") {
            return Tool::Legacy;
        }
        if name.contains("nft") {
            return Tool::Nft;
        }
        let Ok(next) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(next);
    }
    Tool::Other(path)
}

impl LegacyTable {
    fn is_proxy(&self, chain: &str) -> bool {
        let table = match &*self.name {
            "filter" => render::iptables::Table::Filter,
            "nat" => render::iptables::Table::Nat,
            "mangle" => render::iptables::Table::Mangle,
            _ => return false,
        };
        names::is_ours(table, chain)
    }

    /// Chains that kube-proxy made.
    pub fn proxy_chains(&self) -> impl Iterator<Item = &str> {
        self.chains.keys().map(String::as_str).filter(|chain| self.is_proxy(chain))
    }

    /// Chains that kubelet made.
    pub fn kubelet_chains(&self) -> impl Iterator<Item = &str> {
        self.chains.keys().map(String::as_str).filter(|chain| KUBELET.contains(chain))
    }

    /// The number of rules in chains that are neither kube-proxy's nor kubelet's. (Jumps from
    /// built-in chains into those count.)
    #[must_use]
    pub fn foreign_rules(&self) -> usize {
        let foreign = |chain: &str| !self.is_proxy(chain) && !KUBELET.contains(&chain);
        self.chains.iter().filter(|(chain, _)| foreign(chain)).map(|(_, rules)| rules).sum()
    }
}

impl Report {
    /// Whether there is anything that the operator should act on.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.tool == Tool::Legacy || self.tables.iter().any(|table| !table.is_harmless())
    }
}

impl LegacyTable {
    fn is_harmless(&self) -> bool {
        self.proxy_chains().next().is_none()
            && self.kubelet_chains().next().is_none()
            && self.foreign_rules() == 0
    }
}

/// One line for each finding: what was found, what follows, what to do.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tool {
            Tool::Nft => writeln!(
                f,
                "the command iptables writes to nf_tables, as we do: it lists our rules"
            )?,
            Tool::Legacy => writeln!(
                f,
                "the command iptables is the legacy variant: it does not list our rules, which are \
                 in nf_tables; use iptables-nft, or select it with `update-alternatives --set \
                 iptables /usr/sbin/iptables-nft`"
            )?,
            Tool::Other(path) => writeln!(
                f,
                "the command iptables is {}, whose name does not tell its variant: if `iptables \
                 --version` does not say nf_tables, it does not list our rules",
                path.display()
            )?,
            Tool::Missing => writeln!(
                f,
                "there is no command iptables: nothing here needs it; install iptables-nft to list \
                 our rules with it"
            )?,
        }
        if self.tables.is_empty() {
            return writeln!(f, "no legacy table is loaded: only nf_tables decide");
        }
        self.tables.iter().try_for_each(|table| table.describe(f))
    }
}

impl LegacyTable {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, name) = (self.family, &self.name);
        if self.is_harmless() {
            return writeln!(f, "legacy {family} table {name}: no rules; it changes nothing");
        }
        let tool = match family {
            Family::V4 => "iptables-legacy",
            Family::V6 => "ip6tables-legacy",
        };
        let chains: Vec<_> = self.proxy_chains().collect();
        if let Some(first) = chains.first() {
            writeln!(
                f,
                "legacy {family} table {name}: {} chains of kube-proxy ({first}, …) are left; they \
                 may decide before our rules do and send packets to endpoints that are gone; stop \
                 kube-proxy and run its `--cleanup` with {tool}, or restart the node",
                chains.len()
            )?;
        }
        if let Some(first) = self.kubelet_chains().next() {
            writeln!(
                f,
                "legacy {family} table {name}: kubelet keeps its chain {first} here, so this host's \
                 components use legacy iptables; our rules are in nf_tables and work beside them; \
                 select one variant for all of them"
            )?;
        }
        let foreign = self.foreign_rules();
        if foreign > 0 {
            writeln!(
                f,
                "legacy {family} table {name}: {foreign} rules of others; each packet passes them \
                 as well as ours, and what either drops is dropped; see `{tool}-save -t {name}`"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_variant_is_told_by_the_links() {
        let folder = std::env::temp_dir().join(format!("pointsman-tool-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let link = |name: &str, to: &str| symlink(to, folder.join(name)).unwrap();
        link("a", "b");
        link("b", "iptables-nft");
        link("c", "xtables-legacy-multi");
        link("d", "d");
        fs::write(folder.join("iptables"), "").unwrap();
        assert_eq!(tool(&folder.join("a")), Tool::Nft);
        assert_eq!(tool(&folder.join("c")), Tool::Legacy);
        assert!(matches!(tool(&folder.join("d")), Tool::Other(_)));
        assert_eq!(tool(&folder.join("iptables")), Tool::Other(folder.join("iptables")));
        assert_eq!(tool(&folder.join("none")), Tool::Missing);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_table_that_is_cut_short_is_unreadable() {
        let info = [0; 84];
        for length in 1..200 {
            assert_eq!(chains(Family::V4, &info, &vec![0; ENTRIES + length]), None);
        }
        assert_eq!(chains(Family::V4, &info, &[0; ENTRIES]), Some(BTreeMap::new()));
    }
}
