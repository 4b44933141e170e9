//! Ranges of addresses and of ports, sorted, merged and apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Subnets, Ipv6Subnets};
use model::{Cidr, Family, IpBlock};
use serde::Serialize;

/// Addresses from the first to the last, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl AddressRange {
    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Whether an address lies in the range. One of the other family never does.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.first..=self.last).contains(&address)
    }

    /// Whether the range is the whole family.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let any = self.family().any();
        self.first == any.network() && self.last == any.broadcast()
    }

    /// The fewest blocks that make up the range, in order.
    #[must_use]
    pub fn blocks(&self) -> Vec<Cidr> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(Cidr::V4).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(Cidr::V6).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Destination ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// Whether the range is every port.
    #[must_use]
    pub fn is_everything(self) -> bool {
        self.first == 0 && self.last == u16::MAX
    }
}

/// A range of numbers, both ends included.
type Numbers = (u128, u128);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // The numbers come from addresses of the family, so none is cut.
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

fn numbers(block: &Cidr) -> Numbers {
    (number(block.network()), number(block.broadcast()))
}

/// The union of blocks, each without its exceptions, in both families.
pub(super) fn union<'b>(blocks: impl Iterator<Item = &'b IpBlock>) -> Vec<AddressRange> {
    let mut found: [Vec<Numbers>; 2] = [Vec::new(), Vec::new()];
    for block in blocks {
        let family = Family::of_cidr(&block.cidr);
        let except = block.except.iter().filter(|it| Family::of_cidr(it) == family);
        let left = without(numbers(&block.cidr), except.map(numbers).collect());
        found[usize::from(family == Family::V6)].extend(left);
    }
    let mut ranges = Vec::new();
    for (family, found) in Family::ALL.into_iter().zip(found) {
        ranges.extend(merged(found).into_iter().map(|(first, last)| AddressRange {
            first: address(family, first),
            last: address(family, last),
        }));
    }
    ranges
}

/// What is left of a range.
fn without(whole: Numbers, mut except: Vec<Numbers>) -> Vec<Numbers> {
    except = merged(except);
    let mut left = Vec::new();
    let mut next = Some(whole.0);
    for (first, last) in except {
        let Some(from) = next else { break };
        if first > from && from <= whole.1 {
            left.push((from, (first - 1).min(whole.1)));
        }
        next = last.checked_add(1).map(|after| after.max(from));
    }
    if let Some(from) = next
        && from <= whole.1
    {
        left.push((from, whole.1));
    }
    left
}

/// Sorted, with what overlaps or touches joined.
fn merged(mut ranges: Vec<Numbers>) -> Vec<Numbers> {
    ranges.sort_unstable();
    let mut joined: Vec<Numbers> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The union of port ranges.
pub(super) fn ports(ranges: Vec<PortRange>) -> Vec<PortRange> {
    let numbers = ranges.iter().map(|it| (it.first.into(), it.last.into())).collect();
    let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
    let merged = merged(numbers).into_iter();
    merged.map(|(first, last)| PortRange { first: port(first), last: port(last) }).collect()
}
