//! Any damage to one object costs that object alone, and nothing panics.

use intake::convert::{self, Names};
use intake::wire::{self, Field};
use model::{EndpointSlice, Notice, Service};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::recordings::text;

/// Values that are wrong in most places.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        Just(json!(u64::MAX)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[{"a": [1]}]])),
        Just(json!({"name": {"name": 1}})),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("None"),
            Just("010.001.002.003"),
            Just("::ffff:1.2.3.4"),
            Just("10.0.0.0/99"),
            Just(""),
            Just(" "),
        ]
        .prop_map(Value::from),
        Just(Value::from("x".repeat(70_000))),
    ]
}

/// Replaces, removes or adds at the place that a number picks, depth first.
fn damage(value: &mut Value, pick: &mut usize, put: &Value) -> bool {
    if *pick == 0 {
        *value = put.clone();
        return true;
    }
    *pick -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|item| damage(item, pick, put)),
        Value::Object(map) => map.values_mut().any(|item| damage(item, pick, put)),
        _ => false,
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum::<usize>(),
        _ => 0,
    }
}

fn items(name: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&text(name)).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Reads a list as a source does: the list once, each object alone.
fn read<F>(
    items: &[Value],
    convert: impl Fn(&str, &mut Names) -> (Option<F>, Vec<Notice>),
) -> Vec<(Option<F>, Vec<Notice>)> {
    let text = json!({"metadata": {}, "items": items}).to_string();
    let list: wire::List<'_> = serde_json::from_str(&text).unwrap();
    let mut names = Names::default();
    let list = list.items.unwrap();
    list.into_iter().map(|raw| convert(raw.get(), &mut names)).collect()
}

fn service(text: &str, names: &mut Names) -> (Option<Service>, Vec<Notice>) {
    match serde_json::from_str::<Field<wire::Service>>(text).unwrap() {
        Field::Is(wire) => convert::service(&wire, names),
        _ => (None, Vec::new()),
    }
}

fn slice(text: &str, names: &mut Names) -> (Option<EndpointSlice>, Vec<Notice>) {
    match serde_json::from_str::<Field<wire::EndpointSlice>>(text).unwrap() {
        Field::Is(wire) => convert::endpoint_slice(&wire, names),
        _ => (None, Vec::new()),
    }
}

/// Damages one object in some places, and compares what is read with what was read before.
fn check<F: PartialEq + std::fmt::Debug>(
    file: &str,
    victim: usize,
    damages: &[(usize, Value)],
    convert: impl Fn(&str, &mut Names) -> (Option<F>, Vec<Notice>),
) -> Result<(), TestCaseError> {
    let whole = items(file);
    let victim = victim % whole.len();
    let mut damaged = whole.clone();
    for (place, put) in damages {
        let mut pick = place % size(&damaged[victim]);
        damage(&mut damaged[victim], &mut pick, put);
    }
    let (before, after) = (read(&whole, &convert), read(&damaged, &convert));
    prop_assert_eq!(before.len(), after.len());
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        if index != victim {
            prop_assert_eq!(before, after);
        }
    }
    for notice in &after[victim].1 {
        let text = &notice.message;
        prop_assert!(!text.contains('\n') && text.len() < 1200, "{}", text);
    }
    Ok(())
}

fn damages() -> impl Strategy<Value = Vec<(usize, Value)>> {
    prop::collection::vec((any::<usize>(), odd()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_service_costs_itself_alone(victim in any::<usize>(), damages in damages()) {
        check("list-services.json", victim, &damages, service)?;
    }

    #[test]
    fn a_damaged_slice_costs_itself_alone(victim in any::<usize>(), damages in damages()) {
        check("list-endpointslices.json", victim, &damages, slice)?;
    }

    #[test]
    fn a_damaged_node_or_pod_is_read_without_a_panic(
        victim in any::<usize>(),
        damages in damages(),
    ) {
        check("list-nodes.json", victim, &damages, |text, names| {
            match serde_json::from_str::<Field<wire::Node>>(text).unwrap() {
                Field::Is(wire) => convert::node(&wire, names),
                _ => (None, Vec::new()),
            }
        })?;
        check("list-pods.json", victim, &damages, |text, _| {
            (serde_json::from_str::<Field<wire::Pod>>(text).unwrap().into_option(), Vec::new())
        })?;
        check("list-servicecidrs.json", victim, &damages, |text, names| {
            match serde_json::from_str::<Field<wire::ServiceCidr>>(text).unwrap() {
                Field::Is(wire) => convert::service_cidr(&wire, names),
                _ => (None, Vec::new()),
            }
        })?;
    }
}
