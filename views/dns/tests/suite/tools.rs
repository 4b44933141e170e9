//! What `dig` and `kdig` make of the answers: a second opinion on the wire format.

use std::process::Command;

use lab::Namespace;

use crate::served::Served;
use crate::upstream::{Manner, Upstream};

/// The tools of Debian's bind9-dnsutils and knot-dnsutils; without them there is no second opinion,
/// and the test says so by failing where it must not be missing.
const TOOLS: [&str; 2] = ["dig", "kdig"];

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("-v").output().is_ok()
}

fn run(served: &Served, tool: &str, arguments: &[&str]) -> String {
    let mut command = served.namespace.command(tool);
    command.arg("@127.0.0.1").args(["-p", &served.address.port().to_string()]);
    let output = command.args(["+retry=0", "+time=3"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {text}");
    for complaint in ["malformed", "warning", "extra bytes", "bad packet"] {
        let said = text
            .lines()
            .filter(|line| !line.contains("Multicast DNS"))
            .find(|line| line.to_lowercase().contains(complaint));
        assert_eq!(said, None, "{tool} {arguments:?}");
    }
    text
}

fn short(served: &Served, tool: &str, arguments: &[&str]) -> Vec<String> {
    let text = run(served, tool, &[&["+short"], arguments].concat());
    let answers = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let mut lines: Vec<_> = answers.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_tools_read_the_same() {
    let namespace = Namespace::new().unwrap();
    let upstream = Upstream::start(&namespace, Manner::Answer);
    let served = Served::forwarding(&namespace, &[upstream.address]);
    let mut opinions = 0;
    for tool in TOOLS.into_iter().filter(|tool| is_there(tool)) {
        opinions += 1;
        let short = |arguments: &[&str]| short(&served, tool, arguments);
        assert_eq!(short(&["my-service.default.svc.cluster.local"]), ["10.96.0.80"]);
        assert_eq!(short(&["dual.default.svc.cluster.local", "AAAA"]), ["fd00:96::81"]);
        assert_eq!(
            short(&["+tcp", "_pg._tcp.sts.db.svc.cluster.local", "SRV"]),
            [
                "0 50 15432 sts-0.sts.db.svc.cluster.local.",
                "0 50 15432 sts-1.sts.db.svc.cluster.local.",
            ]
        );
        assert_eq!(short(&["-x", "10.96.0.80"]), ["my-service.default.svc.cluster.local."]);
        assert_eq!(short(&["-x", "fd00:96::81"]), ["dual.default.svc.cluster.local."]);
        assert_eq!(short(&["dns-version.cluster.local", "TXT"]), ["\"1.1.0\""]);
        assert_eq!(short(&["alias.default.svc.cluster.local"]), ["192.0.2.1", "example.com."]);
        assert_eq!(short(&["example.com"]), ["192.0.2.1"]);
        let missing = run(&served, tool, &["nothing.default.svc.cluster.local"]);
        assert!(missing.contains("NXDOMAIN"), "{missing}");
        assert!(missing.contains("hostmaster.cluster.local."), "{missing}");
        let no_data = run(&served, tool, &["my-service.default.svc.cluster.local", "AAAA"]);
        assert!(no_data.contains("NOERROR") && !no_data.contains("NXDOMAIN"), "{no_data}");
    }
    let must = std::env::var_os("CI").is_some();
    assert!(opinions > 0 || !must, "install bind9-dnsutils or knot-dnsutils");
    println!("{opinions} of {} tools asked", TOOLS.len());
}

#[test]
fn a_large_answer_reaches_the_tools_over_tcp() {
    let namespace = Namespace::new().unwrap();
    let upstream = Upstream::start(&namespace, Manner::Truncate(200));
    let served = Served::forwarding(&namespace, &[upstream.address]);
    for tool in TOOLS.into_iter().filter(|tool| is_there(tool)) {
        let all = short(&served, tool, &["large.example"]);
        assert_eq!(all.len(), 200, "{tool}: {all:?}");
    }
}
