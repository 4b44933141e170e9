//! Bad configurations that show only beside the node's families.

use config::StartupFacts;
use model::Family;

use crate::by_file;

struct Case {
    name: &'static str,
    fields: &'static str,
    primary: Family,
    dual_stack: bool,
    pod_cidrs: &'static [&'static str],
    warnings: &'static [&'static str],
    faults: &'static [&'static str],
}

const FINE: Case = Case {
    name: "fine",
    fields: "nodePortAddresses: [primary]",
    primary: Family::V4,
    dual_stack: true,
    pod_cidrs: &[],
    warnings: &[],
    faults: &[],
};

#[test]
fn bad_configurations_are_told_at_a_start() {
    let cases = [
        FINE,
        Case {
            name: "unset node port addresses",
            fields: "",
            warnings: &["nodePortAddresses"],
            ..FINE
        },
        Case { name: "nftables has a default", fields: "mode: nftables", ..FINE },
        Case {
            name: "single-family node port addresses in dual-stack",
            fields: "nodePortAddresses: [10.0.0.0/8]",
            warnings: &["nodePortAddresses"],
            ..FINE
        },
        Case {
            name: "single-family node port addresses in single-stack",
            fields: "nodePortAddresses: [10.0.0.0/8]",
            dual_stack: false,
            ..FINE
        },
        Case {
            name: "node port addresses of the other family in single-stack",
            fields: "nodePortAddresses: [fd00::/8]",
            dual_stack: false,
            warnings: &["nodePortAddresses"],
            ..FINE
        },
        Case {
            name: "wrong-family clusterCIDR in single-stack",
            fields: "nodePortAddresses: [primary]\nclusterCIDR: fd00::/48",
            dual_stack: false,
            faults: &["clusterCIDR"],
            ..FINE
        },
        Case {
            name: "wrong-family clusterCIDR in dual-stack",
            fields: "nodePortAddresses: [primary]\nclusterCIDR: 10.0.0.0/8",
            primary: Family::V6,
            warnings: &["clusterCIDR"],
            ..FINE
        },
        Case {
            name: "both families in single-stack",
            fields: "nodePortAddresses: [primary]\nclusterCIDR: 'fd00::/48,10.0.0.0/8'",
            dual_stack: false,
            ..FINE
        },
        Case {
            name: "wrong-family podCIDRs",
            fields: "nodePortAddresses: [primary]\ndetectLocalMode: NodeCIDR",
            pod_cidrs: &["fd00::/48"],
            faults: &["detectLocalMode"],
            ..FINE
        },
        Case {
            name: "podCIDRs not looked at in another mode",
            fields: "nodePortAddresses: [primary]\nclusterCIDR: 10.0.0.0/8",
            pod_cidrs: &["fd00::/48"],
            ..FINE
        },
        Case {
            name: "metrics of the other family in single-stack",
            fields: "nodePortAddresses: [primary]",
            primary: Family::V6,
            dual_stack: false,
            warnings: &["metricsBindAddress"],
            ..FINE
        },
    ];
    for case in cases {
        let (meant, _) = by_file(case.fields, &[]).unwrap();
        let pod_cidrs: Vec<_> = case.pod_cidrs.iter().map(|text| text.parse().unwrap()).collect();
        let check = meant.check_startup(&StartupFacts {
            primary: case.primary,
            dual_stack: case.dual_stack,
            pod_cidrs: &pod_cidrs,
        });
        let warnings: Vec<_> = check.warnings.iter().map(|warning| &*warning.place).collect();
        let faults: Vec<_> = check.faults.iter().map(|fault| &*fault.place).collect();
        assert_eq!(warnings, case.warnings, "{}: {check:?}", case.name);
        assert_eq!(faults, case.faults, "{}: {check:?}", case.name);
    }
}
