//! A lab as its user has it: the program, its folder, kubectl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where this user's labs are, and how commands are run. Everything goes with the value.
pub(crate) struct Stage {
    home: PathBuf,
    /// Put before the program, to be another user.
    launcher: Vec<String>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::of(Vec::new())
    }

    /// The same for a user without any rights; nothing if this one cannot turn into another.
    pub(crate) fn unprivileged() -> Option<Self> {
        let words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
        let can = Command::new(words[0]).args(&words[1..]).arg("true").output().unwrap();
        can.status.success().then(|| Self::of(words.map(str::to_owned).into()))
    }

    fn of(launcher: Vec<String>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-lab-{}-{number}", std::process::id());
        let home = std::env::temp_dir().join(name);
        fs::create_dir_all(&home).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_pointsman"), home.join("pointsman")).unwrap();
        fs::set_permissions(home.join("pointsman"), fs::Permissions::from_mode(0o755)).unwrap();
        if !launcher.is_empty() {
            let owner = Some(65534);
            std::os::unix::fs::chown(&home, owner, owner).unwrap();
        }
        Self { home, launcher }
    }

    pub(crate) fn folder(&self, lab: &str) -> PathBuf {
        self.home.join("pointsman-run/pointsman/labs").join(lab)
    }

    /// A file where shell lines are run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// A shell line in which `pointsman` is the program.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let run = self.home.join("pointsman-run");
        let make = format!("mkdir -p {}; {line}", run.display());
        let mut words = self.launcher.clone();
        words.extend(["sh".to_owned(), "-c".to_owned(), make]);
        let path = std::env::var("PATH").unwrap();
        Command::new(&words[0])
            .args(&words[1..])
            .current_dir(&self.home)
            .env("PATH", format!("{}:{path}", self.home.display()))
            .env("HOME", &self.home)
            .env("XDG_RUNTIME_DIR", run)
            .env_remove("POINTSMAN_LAB")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a line prints that ends well.
    pub(crate) fn good(&self, line: &str) -> String {
        let output = self.shell(line);
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(output.status.success(), "{line}: {all}");
        all
    }

    /// What a line prints that fails.
    pub(crate) fn bad(&self, line: &str) -> String {
        let output = self.shell(line);
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(!output.status.success(), "{line}: {all}");
        all
    }

    /// A file for the lines, where they run.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.home.join(name), text).unwrap();
    }

    /// kubectl, talking to a lab.
    pub(crate) fn kubectl(&self, lab: &str, words: &str) -> String {
        let kubectl = std::env::var("POINTSMAN_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
        let kubeconfig = self.folder(lab).join("kubeconfig");
        self.good(&format!("KUBECONFIG={} {kubectl} {words}", kubeconfig.display()))
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The processes that run this stage's copy of the program.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let program = self.home.join("pointsman");
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let number: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let runs = fs::read_link(format!("/proc/{number}/exe")).ok()?;
            (runs == program).then_some(number)
        });
        numbers.collect()
    }

    /// The agent of a node of this stage's only lab.
    pub(crate) fn agent(&self, node: &str) -> Option<nix::unistd::Pid> {
        let runs = format!("--hostname-override\0{node}\0");
        let of_node = |number: &u32| {
            let words = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(&runs)
        };
        let number = self.processes().into_iter().find(of_node)?;
        Some(nix::unistd::Pid::from_raw(number.try_into().unwrap()))
    }

    /// Whether nothing of a lab is left.
    pub(crate) fn nothing_left(&self) -> bool {
        let folder = self.folder("x");
        let labs = folder.parent().unwrap_or(Path::new("/"));
        let empty = fs::read_dir(labs).map_or(0, Iterator::count) == 0;
        empty && self.processes().is_empty()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for number in self.processes() {
            let process = nix::unistd::Pid::from_raw(number.try_into().unwrap());
            let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}
