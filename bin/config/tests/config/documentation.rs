//! `docs/flags.md` and the table behind it, held to the flags and the fields themselves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Command, CommandFactory, Parser};
use config::fields::{Effect, TABLE};
use config::flags::counts_beside_config;
use config::v1alpha1::KubeProxyConfiguration;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::{Cli, by_flags};

/// Walks a type by answering its questions with nothing, and notes the fields it asks for.
struct Walk<'w> {
    path: String,
    leaves: &'w RefCell<BTreeSet<String>>,
}

type Nothing = serde::de::value::Error;

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        self.deserialize_str(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        self.leaves.borrow_mut().remove(&self.path);
        visitor.visit_map(Fields { walk: self, left: fields.iter() })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_none()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_bool(false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_i32(0)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_u32(0)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_f32(0.0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_str("0")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_str("0")
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(std::iter::empty::<u32>()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_map(Fields { walk: self, left: [].iter() })
    }

    forward_to_deserialize_any! {
        i8 i16 i64 i128 u8 u16 u64 u128 f64 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

struct Fields<'w> {
    walk: Walk<'w>,
    left: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Nothing;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Nothing> {
        let Some(name) = self.left.clone().next() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Nothing> {
        let name = self.left.next().unwrap();
        let dot = if self.walk.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{name}", self.walk.path);
        self.walk.leaves.borrow_mut().insert(path.clone());
        seed.deserialize(Walk { path, leaves: self.walk.leaves })
    }
}

fn fields_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let leaves = RefCell::new(BTreeSet::new());
    T::deserialize(Walk { path: String::new(), leaves: &leaves }).unwrap();
    leaves.into_inner()
}

/// The names of all flags of a command, other names included.
fn flags_of(mut command: Command) -> BTreeSet<String> {
    command.build();
    let names = command.get_arguments().flat_map(|argument| {
        let others = argument.get_all_aliases().unwrap_or_default();
        argument.get_long().into_iter().chain(others).map(String::from).collect::<Vec<_>>()
    });
    names.collect()
}

fn once<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name.to_owned()), "{name} stands in the table twice");
    }
    seen
}

#[test]
fn the_table_has_every_field_and_flag_once_and_no_other() {
    let fields = once(TABLE.iter().filter_map(|entry| entry.field));
    assert_eq!(fields, fields_of::<KubeProxyConfiguration>());
    let flags = once(TABLE.iter().filter_map(|entry| entry.flag));
    assert_eq!(flags, flags_of(Cli::command()));
    for entry in TABLE {
        assert!(entry.effect == Effect::Works || !entry.note.is_empty(), "{entry:?} has no reason");
    }
}

/// kube-proxy 1.36's own flags on Linux.
const KUBE_PROXY: &str = "bind-address bind-address-hard-fail boot-id-file cleanup cluster-cidr \
    config config-sync-period conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal \
    conntrack-tcp-timeout-close-wait conntrack-tcp-timeout-established conntrack-udp-timeout \
    conntrack-udp-timeout-stream detect-local-mode feature-gates healthz-bind-address healthz-port \
    help hostname-override init-only iptables-localhost-nodeports iptables-masquerade-bit \
    iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period \
    ipvs-scheduler ipvs-strict-arp ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout \
    ipvs-udp-timeout kube-api-burst kube-api-content-type kube-api-qps kubeconfig \
    log-flush-frequency log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size \
    log-text-split-stream logging-format machine-id-file masquerade-all master \
    metrics-bind-address metrics-port nodeport-addresses oom-score-adj pod-bridge-interface \
    pod-interface-name-prefix profiling proxy-mode show-hidden-metrics-for-version v version \
    vmodule write-config-to";

#[test]
fn the_flags_are_those_of_kube_proxy_and_ours() {
    let mut expected: BTreeSet<_> = KUBE_PROXY.split_whitespace().map(String::from).collect();
    let ours = "manifests network-policy no-local-endpoints node policy-existing-connections \
                policy-hold-unknown policy-log";
    expected.extend(ours.split_whitespace().map(String::from));
    assert_eq!(flags_of(Cli::command()), expected);
}

#[test]
fn each_flag_is_known_to_have_been_given() {
    for flag in flags_of(Cli::command()) {
        if ["help", "version", "node"].contains(&&*flag) {
            continue;
        }
        // Some word fits each flag: a number, a truth value, a length of time, a choice.
        let given = ["1", "true", "1s", "drop", "on", "cut"].iter().find_map(|value| {
            Cli::try_parse_from(["kube-proxy", &format!("--{flag}={value}")]).ok()
        });
        let given = given.unwrap_or_else(|| panic!("no word fits --{flag}"));
        assert_eq!(given.flags.given(), [flag]);
    }
    assert_eq!(crate::flags(&["--node=x"]).given(), ["hostname-override"]);
    assert_eq!(crate::flags(&[]).given(), [""; 0]);
}

fn defaults() -> BTreeMap<String, String> {
    fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    collect(value, &format!("{path}{dot}{name}"), found);
                }
            }
            Value::String(text) => {
                found.insert(path.into(), text.clone());
            }
            Value::Null => {}
            leaf => {
                found.insert(path.into(), leaf.to_string());
            }
        }
    }
    let mut found = BTreeMap::new();
    let effective = by_flags(&[]).unwrap().0.effective;
    collect(&serde_json::to_value(effective).unwrap(), "", &mut found);
    found
}

/// The table as the document prints it.
fn printed() -> String {
    let defaults = defaults();
    let mut text =
        String::from("| field | flag | default | here | note |\n|---|---|---|---|---|\n");
    for entry in TABLE {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let flag = entry.flag.map_or(String::new(), |flag| {
            let star = if counts_beside_config(flag) { " \\*" } else { "" };
            let dashes = if flag.len() == 1 { "-" } else { "--" };
            format!("`{dashes}{flag}`{star}")
        });
        let default = entry.field.and_then(|field| defaults.get(field));
        let effect = match entry.effect {
            Effect::Works => "works",
            Effect::Ignored => "ignored",
        };
        text.push_str(&format!(
            "| {} | {flag} | {} | {effect} |{} |\n",
            code(entry.field.unwrap_or_default()),
            code(default.map_or("", String::as_str)),
            if entry.note.is_empty() { String::new() } else { format!(" {}", entry.note) },
        ));
    }
    text
}

#[test]
fn the_document_prints_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flags.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let expected = printed();
    assert!(document.contains(&expected), "docs/flags.md should hold this table:\n\n{expected}");
    let rows = document.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(rows, TABLE.len() + 1, "and no other");
}
