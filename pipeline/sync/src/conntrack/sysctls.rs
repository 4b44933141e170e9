//! The kernel's settings of connection tracking: never lowered, and timeouts never raised unasked.
//!
//! What is wanted is computed from what was read ([`plan`]), then written where it differs
//! ([`apply`]). A host whose operator set a greater table than we would keeps it, and one whose
//! close-wait timeout is short does not fill its table with dead connections because a proxy started
//! (kubernetes#71261, kubernetes#97377).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Entries per CPU unless configured (`conntrack.maxPerCore`).
pub const DEFAULT_MAX_PER_CORE: u32 = 32_768;
/// The least limit unless configured (`conntrack.min`).
pub const DEFAULT_MIN: u32 = 131_072;
/// What the number of CPUs may not raise the limit beyond (kubernetes#137002).
pub const CAP: u32 = 1_048_576;
/// Entries per place of the hash table, as the kernel has it by default.
const ENTRIES_PER_BUCKET: u32 = 4;

/// A timeout, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// Whatever the host has.
    #[default]
    Leave,
    /// A default that nobody chose for this host: it may shorten the host's timeout, not prolong
    /// it.
    AtMost(u32),
    /// The operator's word.
    Exactly(u32),
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// `conntrack.maxPerCore`: entries per CPU; 0 leaves the limit as it is.
    pub max_per_core: u32,
    /// `conntrack.min`: the least limit; not capped.
    pub min: u32,
    /// `conntrack.tcpEstablishedTimeout`
    pub tcp_established: Timeout,
    /// `conntrack.tcpCloseWaitTimeout`
    pub tcp_close_wait: Timeout,
    /// `conntrack.udpTimeout`
    pub udp: Timeout,
    /// `conntrack.udpStreamTimeout`
    pub udp_stream: Timeout,
    /// `conntrack.tcpBeLiberal`: true switches it on; false leaves it as it is.
    pub tcp_be_liberal: bool,
}

impl Default for Wishes {
    /// kube-proxy's defaults, as far as they do not touch what the host's operator decided.
    fn default() -> Self {
        Self {
            max_per_core: DEFAULT_MAX_PER_CORE,
            min: DEFAULT_MIN,
            tcp_established: Timeout::AtMost(86_400),
            tcp_close_wait: Timeout::AtMost(3_600),
            udp: Timeout::Leave,
            udp_stream: Timeout::Leave,
            tcp_be_liberal: false,
        }
    }
}

/// The settings that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// How many entries there can be.
    Max,
    /// How many places the hash table has. One for the whole machine, not for a namespace.
    HashSize,
    /// Seconds that an idle established TCP connection is remembered.
    TcpEstablished,
    /// Seconds that a TCP connection is remembered of which one side is closed.
    TcpCloseWait,
    /// Seconds that an unanswered UDP flow is remembered.
    Udp,
    /// Seconds that an answered UDP flow is remembered.
    UdpStream,
    /// Whether TCP segments outside the window are taken for valid (1) or INVALID (0).
    TcpBeLiberal,
}

impl Setting {
    /// All of them. The hash table comes after the limit that it follows.
    pub const ALL: [Setting; 7] = [
        Setting::Max,
        Setting::HashSize,
        Setting::TcpEstablished,
        Setting::TcpCloseWait,
        Setting::Udp,
        Setting::UdpStream,
        Setting::TcpBeLiberal,
    ];

    /// The path below the root of the file system.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Max => "proc/sys/net/netfilter/nf_conntrack_max",
            Self::HashSize => "sys/module/nf_conntrack/parameters/hashsize",
            Self::TcpEstablished => "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
            Self::TcpCloseWait => "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            Self::Udp => "proc/sys/net/netfilter/nf_conntrack_udp_timeout",
            Self::UdpStream => "proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream",
            Self::TcpBeLiberal => "proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
        }
    }
}

/// What the host has. A setting that could not be read is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many CPUs are online; 0 if it is not known.
    pub cpus: u32,
    values: std::collections::BTreeMap<Setting, u64>,
}

impl Found {
    /// Facts by hand, for those who compute before they read.
    #[must_use]
    pub fn new(cpus: u32, values: impl IntoIterator<Item = (Setting, u64)>) -> Self {
        Self { cpus, values: values.into_iter().collect() }
    }

    /// A setting's value.
    #[must_use]
    pub fn value(&self, setting: Setting) -> Option<u64> {
        self.values.get(&setting).copied()
    }
}

/// One setting that is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Which.
    pub setting: Setting,
    /// What it was.
    pub from: u64,
    /// What it shall be.
    pub to: u64,
}

/// Computes what is to change, in the order of writing; nothing for a host that has all of it.
#[must_use]
pub fn plan(wishes: &Wishes, found: &Found) -> Vec<Adjustment> {
    let mut max = found.value(Setting::Max);
    let mut adjustments = Vec::new();
    for setting in Setting::ALL {
        let Some(from) = found.value(setting) else { continue };
        let to = match setting {
            Setting::Max => raised(from, limit(wishes, found.cpus).map(u64::from)),
            Setting::HashSize => raised(from, max.map(|max| max / u64::from(ENTRIES_PER_BUCKET))),
            Setting::TcpEstablished => timeout(wishes.tcp_established, from),
            Setting::TcpCloseWait => timeout(wishes.tcp_close_wait, from),
            Setting::Udp => timeout(wishes.udp, from),
            Setting::UdpStream => timeout(wishes.udp_stream, from),
            Setting::TcpBeLiberal => raised(from, wishes.tcp_be_liberal.then_some(1)),
        };
        if setting == Setting::Max {
            // Where the limit is left to the host, so is the table; where it is wanted, the table
            // follows the greater of the two.
            max = limit(wishes, found.cpus).map(|_| to);
        }
        if to != from {
            adjustments.push(Adjustment { setting, from, to });
        }
    }
    adjustments
}

/// The limit that is wanted: so many entries per CPU, at most [`CAP`], at least the configured
/// minimum. `None` leaves it.
fn limit(wishes: &Wishes, cpus: u32) -> Option<u32> {
    (wishes.max_per_core > 0)
        .then(|| wishes.max_per_core.saturating_mul(cpus).min(CAP).max(wishes.min))
}

fn raised(from: u64, wanted: Option<u64>) -> u64 {
    wanted.map_or(from, |wanted| wanted.max(from))
}

fn timeout(wish: Timeout, from: u64) -> u64 {
    match wish {
        Timeout::Leave => from,
        Timeout::AtMost(seconds) => from.min(seconds.into()),
        Timeout::Exactly(seconds) => seconds.into(),
    }
}

/// Reads the settings of the calling thread's network namespace (and the machine's hash table).
/// `root` is `/`, or where the host's file system is mounted.
#[must_use]
pub fn read(root: &Path) -> Found {
    let number = |setting: Setting| {
        let text = fs::read_to_string(root.join(setting.path())).ok()?;
        Some((setting, text.trim().parse().ok()?))
    };
    Found { cpus: cpus(root), values: Setting::ALL.into_iter().filter_map(number).collect() }
}

/// How many CPUs are online, whatever share of them this process may use: the connections of a
/// node do not become fewer because its proxy is limited.
fn cpus(root: &Path) -> u32 {
    let online = fs::read_to_string(root.join("sys/devices/system/cpu/online")).ok();
    online.and_then(|text| count_list(text.trim())).unwrap_or_else(|| {
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(usable).unwrap_or(1)
    })
}

/// How many numbers there are in a list such as `0-3,8`.
fn count_list(text: &str) -> Option<u32> {
    text.split(',').try_fold(0u32, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Writes adjustments. One that fails does not keep the others from being written: in a network
/// namespace of its own, or where `/proc/sys` is read-only, some cannot be.
#[must_use]
pub fn apply(root: &Path, adjustments: &[Adjustment]) -> Vec<(Adjustment, Result<(), Error>)> {
    let write = |adjustment: &Adjustment| {
        let path: PathBuf = root.join(adjustment.setting.path());
        fs::write(&path, adjustment.to.to_string()).map_err(|error| {
            Error::system(format!("write {} to {}", adjustment.to, path.display()), error)
        })
    };
    adjustments.iter().map(|adjustment| (*adjustment, write(adjustment))).collect()
}

#[cfg(test)]
mod tests;
