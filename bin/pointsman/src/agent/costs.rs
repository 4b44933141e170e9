use std::net::{IpAddr, Ipv4Addr};

use health::metrics::Mode;
use lab::Namespace;
use model::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Family, Protocol, Service, ServicePort,
};
use sync::table::Nftables;

use super::*;
use crate::dataplane::NftablesDataplane;
use crate::views::health::{HealthView, Serving};
use crate::views::status::StatusView;

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("ns", format!("s-{number}"))
}

fn address(base: [u8; 4], number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::from(base)) + number))
}

fn service(number: u32) -> Service {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        target_port: None,
        node_port: None,
    };
    Service {
        cluster_ips: vec![address([10, 96, 0, 1], number)],
        ip_families: vec![Family::V4],
        ports: vec![port],
        ..Service::new(name(number))
    }
}

/// Two endpoints, of which each `generation` replaces the first.
fn slice(number: u32, generation: u32) -> EndpointSlice {
    let first = match generation {
        0 => address([10, 128, 0, 1], number),
        _ => address([10, 160, 0, 1], generation),
    };
    EndpointSlice {
        name: NamespacedName::new("ns", format!("s-{number}-abcde")),
        service: Some(name(number)),
        version: u64::from(generation) + 1,
        address_type: AddressType::Ip(Family::V4),
        ports: vec![EndpointPort {
            name: Some("http".into()),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        last_change_trigger: None,
        endpoints: vec![Endpoint::new(first), Endpoint::new(address([10, 144, 0, 1], number))],
    }
}

/// Everything that an agent reports to, but for what needs an API server.
fn views() -> Vec<Box<dyn View>> {
    let serving = Serving {
        healthz: None,
        metrics: None,
        hard_fail: false,
        mode: Mode::Nftables,
        node_object: false,
        sync_timeout: Duration::from_secs(60),
        pages: health::Pages {
            mode: "nftables".into(),
            configz: serde_json::Value::Null,
            flags: BTreeMap::new(),
            version: String::new(),
            flagz: false,
            statusz: false,
        },
        gates: Vec::new(),
    };
    let health = HealthView::start("node", serving, None).unwrap();
    let status = StatusView::start("node", "nftables", health.served().health()).unwrap();
    vec![Box::new(health), Box::new(status)]
}

/// An agent in the calling thread's namespace, which has written Services of two endpoints.
fn agent(services: u32) -> Agent<NftablesDataplane> {
    let kernel = Nftables::open().unwrap();
    let dataplane = NftablesDataplane::new(kernel, render::nftables::Options::default());
    let existing = Existing::open(config::ExistingConnections::Keep);
    let mut agent = Agent::new(Config::new("node"), dataplane, views(), Duration::ZERO, existing);
    let changes = vec![
        Change::Services((0..services).map(service).collect()),
        Change::Slices((0..services).map(|number| slice(number, 0)).collect()),
    ];
    take(&mut agent, changes);
    agent.sync().unwrap();
    assert_eq!(agent.totals, counted(&agent));
    agent
}

fn counted(agent: &Agent<NftablesDataplane>) -> Totals {
    let accepted = agent.accepted.as_ref().unwrap();
    let servers = || accepted.servers.values().flat_map(|servers| servers.iter());
    let backends = servers().map(|server| server.cluster.len().max(server.local.len()));
    Totals { virtual_servers: servers().count(), backends: backends.sum() }
}

/// Whether policies are enforced, which nobody decided.
fn take(agent: &mut Agent<NftablesDataplane>, changes: Vec<Change>) {
    let delivery = Delivery { changes, complete: true, ..Delivery::default() };
    agent.take(delivery, &watch::Sender::new(None).subscribe());
}

/// The least that the whole loop takes from an endpoint's change to the end of its report. Of many
/// changes, for whatever else the machine does only ever adds to it.
fn least(services: u32) -> Duration {
    let measure = || {
        let mut agent = agent(services);
        let took = (1..=200).map(|generation| {
            let changes = vec![Change::Slice(slice(generation % 10, generation))];
            let start = Instant::now();
            take(&mut agent, changes);
            agent.sync().unwrap();
            start.elapsed()
        });
        let least = took.min().unwrap();
        assert_eq!(agent.totals, counted(&agent));
        least
    };
    Namespace::new().unwrap().run(measure).unwrap()
}

#[test]
fn a_change_costs_as_much_among_ten_services_as_among_twenty_thousand() {
    let (few, many) = (least(10), least(20_000));
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    assert!(ratio < 2.0, "{few:?} among ten, {many:?} among twenty thousand");
}

#[test]
fn totals_follow_what_the_kernel_took() {
    let follow = || {
        let mut agent = agent(3);
        assert_eq!(agent.totals, Totals { virtual_servers: 3, backends: 6 });
        let changes = vec![
            Change::SliceGone(slice(1, 0).name),
            Change::ServiceGone(name(2)),
            Change::Service(service(7)),
        ];
        take(&mut agent, changes);
        agent.sync().unwrap();
        let expected = Totals { virtual_servers: 3, backends: 2 };
        assert_eq!((agent.totals, counted(&agent)), (expected, expected));
        // A comparison with the kernel counts anew.
        agent.accepted = None;
        agent.unwritten.insert(Owner::Node);
        agent.sync().unwrap();
        assert_eq!((agent.totals, counted(&agent)), (expected, expected));
    };
    Namespace::new().unwrap().run(follow).unwrap();
}
