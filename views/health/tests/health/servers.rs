//! The servers on real sockets, each test in a network namespace of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use health::metrics::Mode;
use health::node_port_servers::{NodePortServers, PortEvent};
use health::node_ports::{Check, Checks};
use health::server::{Listen, Sources, Surface, serve};
use health::{Error, Health};
use lab::Namespace;
use model::Family;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::objects::{named, node, socket, sources};

/// Runs a test on one thread in a namespace that has loopback addresses alone.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    let namespace = Namespace::new().unwrap();
    namespace
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::time::timeout(Duration::from_secs(60), test()).await.unwrap();
            });
        })
        .unwrap();
}

/// What came back: the code, the headers in small letters, the body.
struct Response {
    code: u16,
    head: String,
    body: String,
}

async fn try_ask(address: SocketAddr, method: &str, path: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let code = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    Ok(Response { code, head: head.to_lowercase(), body: body.into() })
}

async fn ask(address: &str, path: &str) -> Response {
    try_ask(socket(address), "GET", path).await.unwrap()
}

async fn is_refused(address: &str) -> bool {
    let connected = TcpStream::connect(socket(address)).await;
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Waits until something holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "in 10 s not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn start(sources: &Sources, address: &str, surface: Surface) -> JoinHandle<()> {
    let (listen, sources) = (Listen::new(socket(address), surface), sources.clone());
    let server = tokio::spawn(async move {
        let ended = serve(&listen, sources, |error| panic!("{error}")).await;
        panic!("{ended:?}");
    });
    until("listens", || async { !is_refused(address).await }).await;
    server
}

#[test]
fn the_health_server_answers_any_method_on_its_paths_alone() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10256", Surface::Health).await;
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
            for path in ["/healthz", "/livez", "/readyz", "/healthz?verbose=1"] {
                let answer = try_ask(socket("127.0.0.1:10256"), method, path).await.unwrap();
                assert_eq!(answer.code, 200, "{method} {path}");
                assert!(answer.head.contains("\r\ncontent-type: application/json"));
                assert!(answer.head.contains("\r\nx-content-type-options: nosniff"));
                assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {path}");
            }
        }
        for path in ["/", "/healthz/", "/metrics", "/configz"] {
            assert_eq!(ask("127.0.0.1:10256", path).await.code, 404, "{path}");
        }
        sources.health.report(|status| {
            status.node(Some(&model::Node { deleting: true, ..node("alpha") }));
        });
        assert_eq!(ask("127.0.0.1:10256", "/healthz").await.code, 503);
        assert_eq!(ask("127.0.0.1:10256", "/livez").await.code, 200);
    });
}

#[test]
fn the_metrics_server_answers_on_its_paths_alone() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10249", Surface::Metrics).await;
        let address = "127.0.0.1:10249";
        let healthz = ask(address, "/healthz").await;
        assert_eq!((healthz.code, &*healthz.body), (200, "ok"));
        let mode = ask(address, "/proxyMode").await;
        assert_eq!((mode.code, &*mode.body), (200, "iptables"));
        assert!(mode.head.contains("\r\nx-content-type-options: nosniff"));
        let configz = ask(address, "/configz").await;
        assert!(configz.head.contains("\r\ncontent-type: application/json"));
        assert_eq!(
            configz.body,
            "{\"kubeproxy.config.k8s.io\":{\"apiVersion\":\"kubeproxy.config.k8s.io/v1alpha1\",\
             \"mode\":\"iptables\"}}"
        );
        assert!(ask(address, "/flagz").await.body.ends_with("\n\nv=2\n"));
        let statusz = ask(address, "/statusz").await.body;
        assert!(statusz.contains("\nVersion: 0.1.0\nMode: iptables\n"), "{statusz}");
        assert!(statusz.contains("\nUp: 0d 00h 00m 0"), "{statusz}");
        assert_eq!(ask(address, "/readyz").await.code, 200);
        let metrics = ask(address, "/metrics").await;
        let kind = "\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(metrics.head.contains(kind), "{}", metrics.head);
        assert!(metrics.body.contains("\nprocess_open_fds "));
        let level = ask(address, "/metrics/slis").await.body;
        assert!(level.ends_with("kubernetes_healthcheck{name=\"IPv6\",type=\"livez\"} 1\n"));
        for path in ["/", "/livez", "/debug/pprof/"] {
            assert_eq!(ask(address, path).await.code, 404, "{path}");
        }
    });
}

#[test]
fn pages_follow_a_configuration_that_is_loaded_in_place() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10249", Surface::Metrics).await;
        sources.set_pages(health::Pages {
            mode: "nftables".into(),
            configz: serde_json::json!({}),
            flags: [].into(),
            version: "0.1.0".into(),
            flagz: false,
            statusz: false,
        });
        // The feature gates are off now.
        for path in ["/flagz", "/statusz"] {
            assert_eq!(ask("127.0.0.1:10249", path).await.code, 404, "{path}");
        }
        assert_eq!(ask("127.0.0.1:10249", "/proxyMode").await.body, "nftables");
        assert_eq!(
            ask("127.0.0.1:10249", "/configz").await.body,
            "{\"kubeproxy.config.k8s.io\":{}}"
        );
    });
}

#[test]
fn healthz_and_livez_are_counted_by_code() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        // One address for both, too.
        let servers =
            Listen::both(Some(socket("127.0.0.1:10256")), Some(socket("127.0.0.1:10256")), false);
        assert_eq!(servers, [Listen::new(socket("127.0.0.1:10256"), Surface::Both)]);
        let _server = start(&sources, "127.0.0.1:10256", Surface::Both).await;
        for _ in 0..3 {
            assert_eq!(ask("127.0.0.1:10256", "/healthz").await.code, 200);
        }
        sources.health.report(|status| {
            status.node(Some(&model::Node { deleting: true, ..node("alpha") }));
        });
        assert_eq!(ask("127.0.0.1:10256", "/healthz").await.code, 503);
        assert_eq!(ask("127.0.0.1:10256", "/livez").await.code, 200);
        let metrics = ask("127.0.0.1:10256", "/metrics").await.body;
        for line in [
            "kubeproxy_proxy_healthz_total{code=\"200\"} 3",
            "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
            "kubeproxy_proxy_livez_total{code=\"200\"} 1",
            "kubeproxy_proxy_livez_total{code=\"503\"} 0",
        ] {
            assert!(metrics.lines().any(|one| one == line), "{line}");
        }
    });
}

#[test]
fn an_unspecified_address_of_either_family_takes_both() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        for address in ["0.0.0.0:10256", "[::]:10257"] {
            let listen = Listen::new(socket(address), Surface::Health);
            let sources = sources.clone();
            tokio::spawn(async move { serve(&listen, sources, |error| panic!("{error}")).await });
        }
        for address in ["127.0.0.1:10256", "[::1]:10256", "127.0.0.1:10257", "[::1]:10257"] {
            until("listens", || async { !is_refused(address).await }).await;
            assert_eq!(ask(address, "/healthz").await.code, 200, "{address}");
        }
    });
}

#[test]
fn without_ipv6_the_ipv4_address_is_taken() {
    let namespace = Namespace::new().unwrap();
    namespace.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    namespace
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let sources = sources(Mode::Iptables);
                let listen = Listen::new(socket("0.0.0.0:10256"), Surface::Health);
                tokio::spawn(async move { serve(&listen, sources, |e| panic!("{e}")).await });
                let address = "127.0.0.1:10256";
                until("listens", || async { !is_refused(address).await }).await;
                assert_eq!(ask(address, "/healthz").await.code, 200);
            });
        })
        .unwrap();
}

#[test]
fn a_taken_address_is_told_once_and_tried_again() {
    in_namespace(|| async {
        let taken = TcpListener::bind("127.0.0.1:10249").await.unwrap();
        let mut listen = Listen::new(socket("127.0.0.1:10249"), Surface::Metrics);
        assert_eq!(listen.retry, Duration::from_secs(5));
        listen.retry = Duration::from_millis(20);
        let told = Arc::new(Mutex::new(Vec::new()));
        let (sources, tell) = (sources(Mode::Iptables), told.clone());
        tokio::spawn(async move {
            let tell = move |error: &Error| tell.lock().unwrap().push(error.to_string());
            serve(&listen, sources, tell).await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let texts = told.lock().unwrap().clone();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("the metrics server cannot listen on 127.0.0.1:10249"));
        assert!(texts[0].contains("Address already in use"), "{}", texts[0]);
        drop(taken);
        until("answers", || async {
            try_ask(socket("127.0.0.1:10249"), "GET", "/healthz").await.is_ok()
        })
        .await;
        assert_eq!(told.lock().unwrap().len(), 1);
    });
}

#[test]
fn with_hard_fail_a_taken_address_ends_the_server() {
    in_namespace(|| async {
        for surface in [Surface::Health, Surface::Metrics] {
            let _taken = TcpListener::bind("127.0.0.1:10256").await.unwrap();
            let mut listen = Listen::new(socket("127.0.0.1:10256"), surface);
            listen.hard_fail = true;
            let mut told = 0;
            let ended = serve(&listen, sources(Mode::Iptables), |_| told += 1).await;
            assert!(matches!(ended, Err(Error::Bind { .. })), "{ended:?}");
            assert_eq!(told, 1);
        }
    });
}

#[test]
fn concurrent_scrapes_all_get_everything() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10249", Surface::Metrics).await;
        let mut scrapes = JoinSet::new();
        for _ in 0..100 {
            scrapes.spawn(try_ask(socket("127.0.0.1:10249"), "GET", "/metrics"));
        }
        let mut lengths = Vec::new();
        while let Some(answer) = scrapes.join_next().await {
            let answer = answer.unwrap().unwrap();
            assert_eq!(answer.code, 200);
            assert!(answer.body.ends_with('\n'));
            lengths.push(answer.body.lines().count());
        }
        assert_eq!(lengths.len(), 100);
        lengths.dedup();
        assert_eq!(lengths.len(), 1, "equal states make equal scrapes");
    });
}

#[test]
fn clients_that_are_slow_or_say_nothing_keep_nobody_out() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10256", Surface::Both).await;
        let mut held = Vec::new();
        // More than the server keeps: silent ones, ones in the middle of a request, ones that never
        // read.
        for number in 0..400 {
            let mut stream = TcpStream::connect("127.0.0.1:10256").await.unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap(),
                _ => {
                    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
                    // The server may have let this one go already.
                    let _ = stream.write_all(&request).await;
                }
            }
            held.push(stream);
            if number % 100 == 99 {
                let start = Instant::now();
                assert_eq!(ask("127.0.0.1:10256", "/healthz").await.code, 200);
                assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            }
        }
        // The oldest were let go.
        let mut buffer = [0];
        let first = tokio::time::timeout(Duration::from_secs(5), held[0].read(&mut buffer)).await;
        assert!(!matches!(first.unwrap(), Ok(1..)), "the first was closed");
    });
}

#[test]
fn garbage_gets_an_error_and_harms_nobody() {
    in_namespace(|| async {
        let sources = sources(Mode::Iptables);
        let _server = start(&sources, "127.0.0.1:10256", Surface::Health).await;
        for garbage in
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\r\n\r\n\0\0", &[b'a'; 100_000]]
        {
            let mut stream = TcpStream::connect("127.0.0.1:10256").await.unwrap();
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
        }
        assert_eq!(ask("127.0.0.1:10256", "/healthz").await.code, 200);
    });
}

/// The sockets of `healthCheckNodePort`s under test.
struct Ports {
    health: Health,
    wanted: watch::Sender<Arc<Checks>>,
    events: mpsc::UnboundedReceiver<PortEvent>,
    servers: JoinHandle<()>,
}

impl Ports {
    fn start() -> Self {
        let health = sources(Mode::Iptables).health;
        let (wanted, follow) = watch::channel(Arc::default());
        let (tell, events) = mpsc::unbounded_channel();
        let servers = NodePortServers::new(health.clone(), follow, move |event| {
            let _ = tell.send(event);
        });
        let servers = tokio::spawn(servers.with_retry(Duration::from_millis(50)).run());
        Self { health, wanted, events, servers }
    }

    /// Wants `ADDRESS SERVICE COUNT`.
    fn want(&self, list: &[(&str, &str, usize)]) {
        let check = |&(address, service, local_endpoints): &(&str, &str, usize)| {
            let address = socket(address);
            let family = Family::of(address.ip());
            (address, Check { service: named(service), family, local_endpoints })
        };
        self.wanted.send_replace(Arc::new(list.iter().map(check).collect()));
    }

    fn counts(&self) -> (usize, usize) {
        let counts = self.health.read(|status| status.sockets());
        (counts.listening, counts.failed)
    }
}

async fn weight(address: &str) -> Option<(u16, String)> {
    let answer = try_ask(socket(address), "GET", "/any/path").await.ok()?;
    let (_, rest) = answer.head.split_once("x-load-balancing-endpoint-weight: ")?;
    Some((answer.code, rest.split("\r\n").next()?.to_owned()))
}

async fn until_weight(address: &str, code: u16, count: &str) {
    let expected = Some((code, count.to_owned()));
    until(&format!("{address} says {count}"), || async { weight(address).await == expected }).await;
}

#[test]
fn health_check_sockets_open_close_and_follow() {
    in_namespace(|| async {
        let ports = Ports::start();
        ports.want(&[("0.0.0.0:31001", "a", 2), ("[::]:31001", "a", 0)]);
        until_weight("127.0.0.1:31001", 200, "2").await;
        until_weight("[::1]:31001", 503, "0").await;
        // A connection that stays open sees counts change.
        let mut kept = TcpStream::connect("127.0.0.1:31001").await.unwrap();
        ports.want(&[("0.0.0.0:31001", "a", 0), ("[::]:31001", "a", 1)]);
        kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        kept.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 503");
        until_weight("[::1]:31001", 200, "1").await;
        // The same socket for another Service.
        ports.want(&[("0.0.0.0:31001", "b", 3)]);
        until_weight("127.0.0.1:31001", 200, "3").await;
        let body = ask("127.0.0.1:31001", "/").await.body;
        assert!(body.contains("\"name\": \"b\""), "{body}");
        until("the IPv6 socket closes", || is_refused("[::1]:31001")).await;
        assert_eq!(ports.counts(), (1, 0));
        // From everywhere to some addresses and back, which cannot be open at once.
        ports.want(&[("127.0.0.1:31001", "b", 3), ("127.0.0.2:31001", "b", 3)]);
        until("127.0.0.3 closes", || is_refused("127.0.0.3:31001")).await;
        until_weight("127.0.0.2:31001", 200, "3").await;
        ports.want(&[("0.0.0.0:31001", "b", 4)]);
        until_weight("127.0.0.3:31001", 200, "4").await;
        ports.want(&[]);
        until("everything closes", || is_refused("127.0.0.1:31001")).await;
        assert_eq!(ports.counts(), (0, 0));
    });
}

#[test]
fn a_kept_connection_ends_with_its_port() {
    in_namespace(|| async {
        let ports = Ports::start();
        ports.want(&[("127.0.0.1:31001", "a", 1)]);
        until_weight("127.0.0.1:31001", 200, "1").await;
        let mut kept = TcpStream::connect("127.0.0.1:31001").await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 4096];
        assert!(kept.read(&mut buffer).await.unwrap() > 0);
        ports.want(&[]);
        let end = tokio::time::timeout(Duration::from_secs(5), kept.read(&mut buffer)).await;
        assert!(!matches!(end.unwrap(), Ok(1..)));
    });
}

#[test]
fn a_port_clash_is_told_once_tried_again_and_told_when_it_ends() {
    in_namespace(|| async {
        let taken = TcpListener::bind("127.0.0.1:31001").await.unwrap();
        let mut ports = Ports::start();
        ports.want(&[("0.0.0.0:31001", "a", 1), ("0.0.0.0:31002", "b", 1)]);
        let (service, address) = (named("a"), socket("0.0.0.0:31001"));
        match ports.events.recv().await.unwrap() {
            PortEvent::Failed { service: whose, address: at, error } => {
                assert_eq!((&whose, at), (&service, address));
                assert!(error.contains("Address already in use"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        // One port's trouble is not another's.
        until_weight("127.0.0.1:31002", 200, "1").await;
        assert_eq!(ports.counts(), (1, 1));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(ports.events.try_recv().is_err(), "told once");
        drop(taken);
        until_weight("127.0.0.1:31001", 200, "1").await;
        assert_eq!(ports.events.try_recv(), Ok(PortEvent::Mended { service, address }));
        assert_eq!(ports.counts(), (2, 0));
    });
}

#[test]
fn an_address_that_the_node_gets_later_is_listened_on_then() {
    in_namespace(|| async {
        let mut ports = Ports::start();
        ports.want(&[("[fd00::7]:31001", "a", 1)]);
        let failed = ports.events.recv().await.unwrap();
        assert!(matches!(&failed, PortEvent::Failed { error, .. } if error.contains("assign")));
        let status = std::process::Command::new("ip")
            .args(["addr", "add", "fd00::7/128", "dev", "lo", "nodad"])
            .status()
            .unwrap();
        assert!(status.success());
        until_weight("[fd00::7]:31001", 200, "1").await;
        // Not wanted any more while it cannot be had: no word, no more tries.
        ports.want(&[("[fd00::8]:31001", "a", 1)]);
        assert!(matches!(ports.events.recv().await.unwrap(), PortEvent::Mended { .. }));
        assert!(matches!(ports.events.recv().await.unwrap(), PortEvent::Failed { .. }));
        ports.want(&[]);
        until("nothing fails", || async { ports.counts() == (0, 0) }).await;
    });
}

#[test]
fn everything_closes_when_the_agent_is_gone() {
    in_namespace(|| async {
        for abort in [false, true] {
            let ports = Ports::start();
            ports.want(&[("127.0.0.1:31001", "a", 1)]);
            until_weight("127.0.0.1:31001", 200, "1").await;
            if abort {
                ports.servers.abort();
            } else {
                drop(ports.wanted);
            }
            until("closes", || is_refused("127.0.0.1:31001")).await;
        }
    });
}

#[test]
fn while_rules_cannot_be_written_the_load_balancer_is_turned_away() {
    in_namespace(|| async {
        let ports = Ports::start();
        ports.want(&[("127.0.0.1:31001", "a", 1), ("[::1]:31001", "a", 1)]);
        until_weight("127.0.0.1:31001", 200, "1").await;
        let long_ago = health::Moment {
            steady: Instant::now().checked_sub(Duration::from_secs(61)).unwrap(),
            wall: std::time::SystemTime::now(),
        };
        ports.health.report(|status| status.failed(Family::V4, long_ago, "no"));
        assert_eq!(weight("127.0.0.1:31001").await, Some((503, "1".into())));
        assert_eq!(weight("[::1]:31001").await, Some((200, "1".into())));
        ports.health.report(|status| status.synced(Family::V4, health::Moment::now()));
        assert_eq!(weight("127.0.0.1:31001").await, Some((200, "1".into())));
    });
}
