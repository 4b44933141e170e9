//! For any text and any choice of values.

use std::fmt::Write as _;

use config::write_config;
use proptest::prelude::*;

use crate::{by_file, flags};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// Fields with values that are sometimes right.
const FIELDS: [&str; 16] = [
    "bindAddress",
    "clientConnection",
    "clusterCIDR",
    "configSyncPeriod",
    "conntrack",
    "detectLocal",
    "detectLocalMode",
    "featureGates",
    "healthzBindAddress",
    "iptables",
    "logging",
    "metricsBindAddress",
    "mode",
    "nodePortAddresses",
    "oomScoreAdj",
    "unknown",
];

const VALUES: [&str; 24] = [
    "null",
    "0",
    "-1",
    "3.5",
    ".nan",
    "1e999",
    "99999999999999999999",
    "true",
    "~",
    "''",
    "primary",
    "[primary]",
    "[10.0.0.0/8, 'fd00::/8']",
    "10.0.0.0/8",
    "30s",
    "-9223372036854775808ns",
    "nftables",
    "{min: 1, syncPeriod: 1h, verbosity: 1}",
    "{? [a] : b}",
    "[[[[]]]]",
    "*a",
    "&a [*a]",
    "!!binary aGk=",
    "{<<: {min: 1}}",
];

fn document() -> impl Strategy<Value = String> {
    let entry = (prop::sample::select(&FIELDS), prop::sample::select(&VALUES));
    prop::collection::vec(entry, 0..6).prop_map(|entries| {
        entries.iter().fold(String::new(), |mut text, (field, value)| {
            writeln!(text, "{field}: {value}").unwrap();
            text
        })
    })
}

fn durations() -> impl Strategy<Value = (u32, u32)> {
    (1_u32..100_000, 1_u32..100_000).prop_map(|(a, b)| (a.max(b), a.min(b)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}") {
        let flags = flags(&["--config=proxy.yaml"]);
        let _ = config::understand(&flags, Some(&text), "alpha");
        let _ = config::understand(&flags, Some(&format!("{HEAD}{text}")), "alpha");
    }

    #[test]
    fn no_yaml_breaks_the_reader(text in document()) {
        let _ = by_file(&text, &[]);
    }

    #[test]
    fn no_piece_of_a_file_breaks_the_reader(cut in 0_usize..2000, noise in "[\\x00-\\x7f]{0,3}") {
        let whole = write_config(&by_file("", &[]).unwrap().0).unwrap().yaml;
        let cut = cut.min(whole.len());
        let text = format!("{}{noise}{}", &whole[..cut], &whole[(cut + 1).min(whole.len())..]);
        let _ = config::understand(&flags(&["--config=proxy.yaml"]), Some(&text), "alpha");
    }

    #[test]
    fn what_is_accepted_survives_being_written(text in document()) {
        if let Ok((meant, _)) = by_file(&text, &[]) {
            let written = write_config(&meant).unwrap();
            let flags = flags(&["--config=proxy.yaml"]);
            let again = config::understand(&flags, Some(&written.yaml), "alpha").unwrap().0;
            prop_assert_eq!(&again, &meant, "{}", written.yaml);
            prop_assert_eq!(write_config(&again).unwrap().yaml, written.yaml);
        }
    }

    #[test]
    fn any_words_survive_being_written(
        name in "\\PC{1,20}",
        path in "[ -~]{0,30}",
        (sync, min) in durations(),
        qps in prop::num::f32::NORMAL,
        adj in -1000_i32..=1000,
    ) {
        prop_assume!(!name.trim().is_empty());
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let text = format!(
            "hostnameOverride: {}\nclientConnection: {{kubeconfig: {}, qps: {qps:?}}}\n\
             iptables: {{syncPeriod: {sync}ms, minSyncPeriod: {min}ms}}\noomScoreAdj: {adj}\n",
            quoted(&name), quoted(&path),
        );
        let (meant, _) = by_file(&text, &[]).unwrap();
        prop_assert_eq!(meant.pace.sync_period.as_millis(), u128::from(sync));
        let written = write_config(&meant).unwrap().yaml;
        let flags = flags(&["--config=proxy.yaml"]);
        let again = config::understand(&flags, Some(&written), "alpha").unwrap().0;
        prop_assert_eq!(again, meant, "{}", written);
    }
}
