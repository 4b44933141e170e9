//! The forms of names, labels, ports and addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::field::Faults;
use crate::object::fields;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let ends =
        text.bytes().next().is_some_and(is_lower) && text.bytes().last().is_some_and(is_lower);
    ends && text.bytes().all(|byte| is_lower(byte) || byte == b'-')
}

/// RFC 1123 label: the names of Namespaces, Services, and ports.
pub(crate) fn label(faults: &mut Faults, field: &str, text: &str) {
    if text.len() > 63 {
        faults.invalid(field, text, "must be no more than 63 bytes");
    }
    if !is_label(text) {
        let form = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                    or '-', and must start and end with an alphanumeric character";
        let examples =
            format!("(e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')");
        faults.invalid(field, text, &format!("{form} {examples}"));
    }
}

/// RFC 1123 subdomain: the names of most objects.
pub(crate) fn subdomain(faults: &mut Faults, field: &str, text: &str) {
    if text.len() > 253 {
        faults.invalid(field, text, "must be no more than 253 bytes");
    }
    if !text.split('.').all(is_label) {
        let form = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                    characters, '-' or '.', and must start and end with an alphanumeric character";
        let regex = format!("{LABEL}(\\.{LABEL})*");
        let examples = format!("(e.g. 'example.com', regex used for validation is '{regex}')");
        faults.invalid(field, text, &format!("{form} {examples}"));
    }
}

fn is_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A name with an optional prefix: the keys of labels and annotations.
pub(crate) fn qualified_name(faults: &mut Faults, field: &str, text: &str) {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                faults.invalid(field, text, "prefix part must be non-empty");
            } else if !prefix.split('.').all(is_label) {
                let mut inner = Faults::default();
                subdomain(&mut inner, field, prefix);
                for cause in inner.causes {
                    let detail = cause.message.split_once(": a ").map_or("", |(_, detail)| detail);
                    faults.invalid(field, text, &format!("prefix part a {detail}"));
                }
            }
            name
        }
        None => text,
    };
    let part = "name part";
    if name.is_empty() {
        faults.invalid(field, text, &format!("{part} must be non-empty"));
    } else if name.len() > 63 {
        faults.invalid(field, text, &format!("{part} must be no more than 63 bytes"));
    }
    if !is_name(name) {
        let form = "must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                    end with an alphanumeric character";
        let examples = "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        faults.invalid(field, text, &format!("{part} {form} {examples}"));
    }
}

/// The value of a label.
pub(crate) fn label_value(faults: &mut Faults, field: &str, text: &str) {
    if text.len() > 63 {
        faults.invalid(field, text, "must be no more than 63 bytes");
    }
    if !text.is_empty() && !is_name(text) {
        let form = "a valid label must be an empty string or consist of alphanumeric characters, \
                    '-', '_' or '.', and must start and end with an alphanumeric character";
        let examples = "(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                        '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
        faults.invalid(field, text, &format!("{form} {examples}"));
    }
}

/// The labels at a JSON pointer of an object.
pub(crate) fn labels(faults: &mut Faults, field: &str, object: &Value, pointer: &str) {
    for (key, value) in fields(object, pointer) {
        qualified_name(faults, field, key);
        label_value(faults, field, value.as_str().unwrap_or_default());
    }
}

/// A `LabelSelector`.
pub(crate) fn label_selector(faults: &mut Faults, field: &str, selector: &Value) {
    labels(faults, &format!("{field}.matchLabels"), selector, "/matchLabels");
    for (index, expression) in
        crate::object::items(selector, "/matchExpressions").iter().enumerate()
    {
        let field = format!("{field}.matchExpressions[{index}]");
        let values = crate::object::texts(expression, "/values");
        let operator = crate::object::text(expression, "/operator");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                faults.required(&format!("{field}.values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.forbidden(&format!("{field}.values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => faults.invalid(
                &format!("{field}.operator"),
                operator,
                "not a valid selector operator",
            ),
        }
        qualified_name(faults, &format!("{field}.key"), crate::object::text(expression, "/key"));
        for (index, value) in values.iter().enumerate() {
            label_value(faults, &format!("{field}.values[{index}]"), value);
        }
    }
}

/// A port number.
pub(crate) fn port(faults: &mut Faults, field: &str, number: i64) {
    if !(1..=65535).contains(&number) {
        faults.invalid(field, number, "must be between 1 and 65535, inclusive");
    }
}

/// IANA_SVC_NAME: the name of a container port.
pub(crate) fn port_name(faults: &mut Faults, field: &str, text: &str) {
    if text.len() > 15 {
        faults.invalid(field, text, "must be no more than 15 characters");
    }
    if !text.bytes().all(|byte| is_lower(byte) || byte == b'-') {
        faults.invalid(
            field,
            text,
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        );
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.invalid(field, text, "must contain at least one letter (a-z)");
    }
    if text.contains("--") {
        faults.invalid(field, text, "must not contain consecutive hyphens");
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.invalid(field, text, "must not begin or end with a hyphen");
    }
}

/// A port by number or by name.
pub(crate) fn port_or_name(faults: &mut Faults, field: &str, value: &Value) {
    match value {
        Value::String(name) => port_name(faults, field, name),
        number => port(faults, field, number.as_i64().unwrap_or_default()),
    }
}

/// An IP address; nothing if it is none.
pub(crate) fn address(faults: &mut Faults, field: &str, text: &str) -> Option<IpAddr> {
    let read = text.parse().ok();
    if read.is_none() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        faults.invalid(field, text, detail);
    }
    read
}

/// An address block; nothing if it is none.
pub(crate) fn block(faults: &mut Faults, field: &str, text: &str) -> Option<IpNet> {
    let read = text.parse().ok();
    if read.is_none() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        faults.invalid(field, text, detail);
    }
    read
}

/// An address that packets may be sent to from anywhere.
pub(crate) fn ordinary_address(faults: &mut Faults, field: &str, text: &str, address: IpAddr) {
    if address.is_unspecified() {
        faults.invalid(field, text, &format!("may not be unspecified ({address})"));
    }
    if address.is_loopback() {
        let range = "127.0.0.0/8, ::1/128";
        faults.invalid(field, text, &format!("may not be in the loopback range ({range})"));
    }
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if link_local {
        let range = "169.254.0.0/16, fe80::/10";
        faults.invalid(field, text, &format!("may not be in the link-local range ({range})"));
    }
    let link_multicast = match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.octets()[..2] == [0xff, 2],
    };
    if link_multicast {
        let range = "224.0.0.0/24, ff02::/10";
        let detail = format!("may not be in the link-local multicast range ({range})");
        faults.invalid(field, text, &detail);
    }
}
