//! Kernel settings of connection tracking, at the start.

use std::fs;
use std::path::Path;
use std::time::Duration;

use config::Conntrack;
use sync::conntrack::sysctls::{self, Setting, Timeout, Wishes};
use tracing::{debug, info, warn};

/// kube-proxy's defaults: nobody chose them for this host, so they may shorten its timeouts and not
/// prolong them.
const ESTABLISHED: Duration = Duration::from_secs(24 * 3600);
const CLOSE_WAIT: Duration = Duration::from_secs(3600);

/// Makes the settings that the operator wants, where the host does not have them already.
pub(crate) fn conntrack(said: &Conntrack) {
    let root = Path::new("/");
    let mut adjustments = sysctls::plan(&wishes(said), &sysctls::read(root));
    if !is_initial_namespace(root) {
        // The hash table is the whole machine's: not for a network namespace to change.
        adjustments.retain(|adjustment| adjustment.setting != Setting::HashSize);
    }
    for (adjustment, written) in sysctls::apply(root, &adjustments) {
        let (from, to) = (adjustment.from, adjustment.to);
        let setting = adjustment.setting.path();
        match written {
            Ok(()) => info!(setting, from, to, "kernel setting"),
            Err(error) => warn!("{error}; it stays {from}"),
        }
    }
}

/// How readily the kernel kills this process when memory runs out. As with kube-proxy, a failure is
/// of interest at `-v 2` alone: a container may lack the right.
pub(crate) fn oom_score(score: i32) {
    let path = "/proc/self/oom_score_adj";
    match fs::write(path, score.to_string()) {
        Ok(()) => debug!(score, "{path}"),
        Err(error) => debug!("{path}: {error}; it stays as it is"),
    }
}

/// The kernel lets only its first network namespace write the limit of entries.
fn is_initial_namespace(root: &Path) -> bool {
    let limit = fs::metadata(root.join(Setting::Max.path()));
    limit.is_ok_and(|metadata| !metadata.permissions().readonly())
}

fn wishes(said: &Conntrack) -> Wishes {
    Wishes {
        max_per_core: said.max_per_core,
        min: said.min,
        tcp_established: timeout(said.tcp_established_timeout, Some(ESTABLISHED)),
        tcp_close_wait: timeout(said.tcp_close_wait_timeout, Some(CLOSE_WAIT)),
        udp: timeout(said.udp_timeout, None),
        udp_stream: timeout(said.udp_stream_timeout, None),
        tcp_be_liberal: said.tcp_be_liberal,
    }
}

fn timeout(said: Option<Duration>, default: Option<Duration>) -> Timeout {
    let Some(time) = said.filter(|time| !time.is_zero()) else { return Timeout::Leave };
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    if Some(time) == default { Timeout::AtMost(seconds) } else { Timeout::Exactly(seconds) }
}
