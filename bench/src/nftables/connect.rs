//! What a new connection costs: to a Pod directly, through one Service, and through one of many.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Namespace;

use super::{Path, figure, row};
use crate::generator::{self, Size};
use crate::report::{Row, median};

/// Rounds, in each of which every way is tried in turn, so that a busy machine is busy for all.
const ROUNDS: u32 = 300;
/// Connections one after another.
const IN_A_ROW: u32 = 10;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);

/// A node whose loopback has the Pods of the first Service.
struct Node {
    namespace: Namespace,
    _path: Path,
    ends: Arc<AtomicBool>,
    servers: Vec<thread::JoinHandle<()>>,
}

impl Node {
    fn with(size: Size) -> Result<Self> {
        let namespace = Namespace::new()?;
        for index in 0..size.endpoints {
            let pod = Ipv4Addr::from(u32::from(POD) + index);
            ip(&namespace, &["addr", "add", &format!("{pod}/32"), "dev", "lo"])?;
        }
        ip(&namespace, &["addr", "add", "10.128.255.1/32", "dev", "lo"])?;
        // As a Pod, whose connections are not masqueraded.
        ip(&namespace, &["route", "add", "10.96.0.0/12", "dev", "lo", "src", "10.128.255.1"])?;
        let ends = Arc::new(AtomicBool::new(false));
        let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))??;
        let stop = ends.clone();
        let server = thread::spawn(move || {
            for _ in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let path = namespace.run(|| -> Result<Path> {
            let mut path = Path::open()?;
            path.load(generator::lists(size))?;
            Ok(path)
        })??;
        Ok(Self { namespace, _path: path, ends, servers: vec![server] })
    }

    /// Microseconds of each connection.
    fn connections(&self, to: Ipv4Addr, port: u16) -> Result<Vec<f64>> {
        self.namespace.run(|| -> Result<Vec<f64>> {
            let mut times = Vec::new();
            for _ in 0..IN_A_ROW {
                let start = Instant::now();
                let stream = TcpStream::connect(SocketAddr::from((to, port)))
                    .with_context(|| format!("connect to {to}:{port}"))?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
                drop(stream);
            }
            Ok(times)
        })?
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the server, whose namespace has no other client.
        let woken = self.connections(POD, 8080).is_ok();
        self.servers.drain(..).filter(|_| woken).for_each(|server| drop(server.join()));
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<()> {
    let output = namespace.command("ip").args(arguments).output().context("ip (iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Median times of new connections from a Pod of the node.
pub(crate) fn connect(size: Size) -> Result<Row> {
    let few = Node::with(Size { services: 1, ..size })?;
    let many = Node::with(size)?;
    let mut ways: [(&Node, Ipv4Addr, u16, Vec<f64>); 4] = [
        (&few, POD, 8080, Vec::new()),
        (&many, POD, 8080, Vec::new()),
        (&few, SERVICE, 80, Vec::new()),
        (&many, SERVICE, 80, Vec::new()),
    ];
    for _ in 0..ROUNDS {
        for (node, to, port, times) in &mut ways {
            times.extend(node.connections(*to, *port)?);
        }
    }
    let [direct_few, direct_many, few, many] = ways.map(|(_, _, _, times)| median(times));
    let figures = vec![
        figure("directly to the Pod, beside 1 Service, median", direct_few, "us"),
        figure("directly to the Pod, beside all, median", direct_many, "us"),
        figure("through the only Service, median", few, "us"),
        figure("through one of all, median", many, "us"),
        figure("ratio of one of all to the only one", many / few, ""),
        figure("added to a direct connection", many - direct_many, "us"),
    ];
    Ok(row("nftables, a new connection", size, figures))
}
