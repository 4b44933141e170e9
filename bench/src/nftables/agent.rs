//! The program itself against an API server: its memory, and a storm of changes.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use lab::Namespace;
use lab_api::resource::{ENDPOINT_SLICES, NODES, SERVICES};
use lab_api::{Server, Store, StoreOptions, WriteOptions};
use serde_json::{Value, json};

use super::{figure, row, seconds};
use crate::generator::Size;
use crate::report::Row;

/// How long the agent may take to be ready, and to be still after a storm.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many changes make a storm.
const STORM: u32 = 10_000;
/// Over which time.
const STORM_LASTS: Duration = Duration::from_secs(1);

/// An API server in the node's namespace, and the agent that reads it.
struct Stage {
    namespace: Namespace,
    store: Store,
    kubeconfig: PathBuf,
    agent: Child,
    /// From the start of the agent until it said that it is ready.
    ready: f64,
}

impl Stage {
    fn start(size: Size) -> Result<Self> {
        let namespace = Namespace::new()?;
        let options = StoreOptions { history: 50_000, ..StoreOptions::default() };
        let store = Store::new(options).map_err(|error| anyhow!("{error:?}"))?;
        fill(&store, size)?;
        let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
        let served = store.clone();
        let (told, kubeconfig) = std::sync::mpsc::channel();
        thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                listener.set_nonblocking(true)?;
                let server = Server::on(tokio::net::TcpListener::from_std(listener)?, served)?;
                told.send(server.kubeconfig())?;
                server.run().await;
                Ok(())
            })
        });
        let text = kubeconfig.recv().context("the API server did not start")?;
        let name = format!("pointsman-bench-{}.kubeconfig", std::process::id());
        let kubeconfig = std::env::temp_dir().join(name);
        fs::write(&kubeconfig, text)?;
        let start = Instant::now();
        let mut command = program(&namespace, &kubeconfig)?;
        let agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut stage = Self { namespace, store, kubeconfig, agent, ready: 0.0 };
        stage.until("ready", |stage| stage.is_ready())?;
        stage.ready = seconds(start);
        Ok(stage)
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !done(self)? {
            ensure!(self.agent.try_wait()?.is_none(), "the agent has ended");
            ensure!(start.elapsed() < PATIENCE, "the agent is not {what} after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn is_ready(&self) -> Result<bool> {
        let mut status = self.namespace.command(pointsman()?);
        let status = status.arg("status").stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(status.success())
    }

    fn status(&self) -> Result<Value> {
        let output =
            self.namespace.command(pointsman()?).args(["status", "-o", "json"]).output()?;
        serde_json::from_slice(&output.stdout).context("pointsman status")
    }

    /// A value of the agent's metrics page.
    fn metric(&self, name: &str) -> Result<f64> {
        let page = self.namespace.run(|| -> Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 10_249))?;
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes())?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        })??;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no {name}"))
    }

    /// A line of `/proc/PID/status`, in MB.
    fn memory(&self, line: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes =
            value.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kilobytes.with_context(|| format!("no {line}"))? / 1024.0)
    }

    /// Whether another start finds nothing to write: the kernel holds what the cluster asks for.
    fn kernel_is_right(&self) -> Result<()> {
        let mut command = program(&self.namespace, &self.kubeconfig)?;
        let output = command.args(["--once", "-v=2"]).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && log.contains("messages=0"), "the kernel differs: {log}");
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whether it had ended already makes no difference here.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

fn pointsman() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("pointsman");
    ensure!(program.exists(), "{}: build the package pointsman too", program.display());
    Ok(program)
}

fn program(namespace: &Namespace, kubeconfig: &std::path::Path) -> Result<Command> {
    let mut command = namespace.follower(pointsman()?);
    command.args(["run", "--proxy-mode=nftables", "--node=node-0"]);
    command.args(["--cluster-cidr=10.128.0.0/10", "--kubeconfig"]).arg(kubeconfig);
    Ok(command)
}

fn fill(store: &Store, size: Size) -> Result<()> {
    let options = WriteOptions::default();
    let create = |resource, namespace: &str, object| {
        let created = store.create(resource, namespace, object, &options);
        created.map(drop).map_err(|error| anyhow!("{error:?}"))
    };
    create(&NODES, "", json!({"metadata": {"name": "node-0"}}))?;
    for number in 0..size.services {
        // The first addresses are the API server's own.
        let address = Ipv4Addr::from(0x0a60_0100 + number).to_string();
        let service = json!({
            "metadata": {"name": format!("service-{number}")},
            "spec": {
                "clusterIP": address,
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        });
        create(&SERVICES, "default", service)?;
        create(&ENDPOINT_SLICES, "default", slice(number, size.endpoints))?;
    }
    Ok(())
}

fn slice(number: u32, endpoints: u32) -> Value {
    let endpoint = |index| {
        json!({
            "addresses": [Ipv4Addr::from(0x0a80_0001 + number * endpoints + index).to_string()],
            "nodeName": format!("node-{}", index % 100),
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    json!({
        "metadata": {
            "name": slice_name(number),
            "labels": {"kubernetes.io/service-name": format!("service-{number}")},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
    })
}

fn slice_name(number: u32) -> String {
    format!("service-{number}-abcde")
}

/// The memory of the whole agent, as the kernel accounts for its process.
pub(crate) fn memory(size: Size) -> Result<Row> {
    let stage = Stage::start(size)?;
    // What the first write took is given back by now.
    thread::sleep(Duration::from_secs(2));
    let figures = vec![
        figure("start to ready, an API server on the same machine", stage.ready, "s"),
        figure("resident memory of the agent", stage.memory("VmRSS")?, "MB"),
        figure("  of which its own (not the program's file)", stage.memory("RssAnon")?, "MB"),
        figure("resident memory at its most", stage.memory("VmHWM")?, "MB"),
    ];
    Ok(row("nftables, the agent's memory", size, figures))
}

/// Ten thousand endpoints replaced within a second.
pub(crate) fn storm(size: Size) -> Result<Row> {
    const SYNCS: &str = "kubeproxy_sync_proxy_rules_duration_seconds_count";
    let mut stage = Stage::start(size)?;
    let (syncs, before) = (sum(&stage, SYNCS)?, stage.memory("VmRSS")?);
    let start = Instant::now();
    let options = WriteOptions::default();
    for number in 0..STORM {
        let due = STORM_LASTS.mul_f64(f64::from(number) / f64::from(STORM));
        thread::sleep(due.saturating_sub(start.elapsed()));
        let address = Ipv4Addr::from(0x0aa0_0001 + number).to_string();
        let name = slice_name(number % size.services);
        let replace = |slice: &mut Value| slice["endpoints"][0]["addresses"][0] = json!(address);
        let edited = stage.store.edit(&ENDPOINT_SLICES, "default", &name, &options, replace);
        edited.map_err(|error| anyhow!("{error:?}"))?;
    }
    let made = seconds(start);
    let still = |stage: &Stage| {
        let rules = stage.namespace.run(|| -> Result<bool> {
            let held = sync::table::Nftables::open()?.read()?.part;
            let last = format!("{:?}", Ipv4Addr::from(0x0aa0_0001 + STORM - 1));
            Ok(held.elements.values().any(|content| format!("{content:?}").contains(&last)))
        })??;
        Ok(rules && stage.status()?["waiting"] == 0)
    };
    stage.until("still", still)?;
    let settled = seconds(start) - made;
    stage.kernel_is_right()?;
    let syncs = sum(&stage, SYNCS)? - syncs;
    thread::sleep(Duration::from_secs(2));
    let figures = vec![
        figure("changes", f64::from(STORM), ""),
        figure("made within", made, "s"),
        figure("from the last one to the kernel, found by looking", settled, "s"),
        figure("writes to the kernel", syncs, ""),
        figure("resident memory before", before, "MB"),
        figure("resident memory afterwards", stage.memory("VmRSS")?, "MB"),
        figure("resident memory at its most", stage.memory("VmHWM")?, "MB"),
    ];
    Ok(row("nftables, a storm of changes", size, figures))
}

/// A metric with whatever labels.
fn sum(stage: &Stage, name: &str) -> Result<f64> {
    stage.metric(name).or_else(|_| stage.metric(&format!("{name}{{ip_family=\"IPv4\"}}")))
}
