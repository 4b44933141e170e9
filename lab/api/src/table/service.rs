//! The row of a Service.

use serde_json::Value;

use super::cells::or;
use crate::object::{fields, items, number, text, texts};

pub(super) fn row(service: &Value, name: String, age: String) -> Vec<Value> {
    let of_type = text(service, "/spec/type");
    let address = text(service, "/spec/clusterIPs/0");
    let labels = fields(service, "/spec/selector");
    let selector: Vec<_> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    vec![
        name.into(),
        of_type.into(),
        or(address, "<none>").into(),
        external(service, of_type).into(),
        or(&ports(service), "<none>").into(),
        age.into(),
        or(&selector.join(","), "<none>").into(),
    ]
}

fn external(service: &Value, of_type: &str) -> String {
    let mut addresses = texts(service, "/spec/externalIPs");
    match of_type {
        "ExternalName" => return text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = items(service, "/status/loadBalancer/ingress").iter();
            let given = ingress.map(|one| or(text(one, "/ip"), text(one, "/hostname")).to_owned());
            let given: Vec<_> = given.collect();
            if given.is_empty() && addresses.is_empty() {
                return "<pending>".to_owned();
            }
            addresses.splice(0..0, given);
        }
        _ => {}
    }
    or(&addresses.join(","), "<none>").to_owned()
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let (number_of, node_port) = (number(port, "/port"), number(port, "/nodePort"));
        let protocol = text(port, "/protocol");
        if node_port > 0 {
            format!("{number_of}:{node_port}/{protocol}")
        } else {
            format!("{number_of}/{protocol}")
        }
    };
    items(service, "/spec/ports").iter().map(port).collect::<Vec<_>>().join(",")
}
