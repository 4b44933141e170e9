//! What the kernel says of this process, under the names that Prometheus' client libraries agree on.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;

/// The kernel's clock ticks per second in `/proc/*/stat`: USER_HZ, fixed at 100 for user space.
const TICKS: f64 = 100.0;

/// One reading. What the kernel does not tell is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) virtual_limit_bytes: Option<u64>,
    pub(super) start_seconds: Option<f64>,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_limit: Option<u64>,
    pub(super) threads: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name| field(&status, name).map(|kilobytes| kilobytes * 1024);
        let limit = |resource| getrlimit(resource).ok().map(|(soft, _)| soft);
        Self {
            cpu_seconds: cpu(),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            virtual_limit_bytes: limit(Resource::RLIMIT_AS),
            start_seconds: start(),
            // The listing holds a descriptor of its own.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|all| (all.count() as u64).saturating_sub(1)),
            open_files_limit: limit(Resource::RLIMIT_NOFILE),
            threads: field(&status, "Threads:"),
        }
    }
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(u64::try_from(micros).ok()?).as_secs_f64())
}

/// When the process began, in seconds of the Unix epoch: the boot time and the ticks since.
fn start() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; fields are counted after it (field 22 is the start).
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot = field(&system, "btime ")?;
    Some(boot as f64 + ticks as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_kernel_tells_everything_of_this_process() {
        let process = Process::read();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.start_seconds.unwrap();
        assert!((-1.0..3600.0).contains(&age), "{age}");
        assert!(process.cpu_seconds.unwrap() < 3600.0);
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.virtual_bytes > process.resident_bytes);
        assert!(process.open_files.unwrap() >= 3);
        assert!(process.open_files < process.open_files_limit);
        assert!(process.threads.unwrap() >= 2 && process.virtual_limit_bytes.is_some());
    }
}
