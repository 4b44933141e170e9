//! Bringing the kernel to a ruleset, from whatever it holds or by a change.

use std::collections::BTreeMap;

use model::Owner;
use render::nftables::{Change, Options};

use super::difference::{Difference, TableState, compare};
use super::outbox::{Blame, Extent, Failed, Outbox};
use super::wanted::Wanted;
use super::write::Writer;
use super::{Nftables, Parts, Written, counters, read};
use crate::Error;

/// Writes what differs, leaving out those whose elements or chains the kernel does not take.
pub(super) fn reconcile(
    nftables: &mut Nftables,
    options: &Options,
    parts: Parts<'_>,
) -> Result<Written, Error> {
    let mut refused: BTreeMap<Owner, Error> = BTreeMap::new();
    let mut total = Written::default();
    // Two who want the same key: while the kernel holds neither, it finds that out by itself. Else
    // it depended on what it holds which of them is refused.
    let mut sort_out_claims = false;
    loop {
        let wanted = gather(&mut *parts, &mut refused)?;
        let Nftables { socket, features, .. } = nftables;
        for &family in &features.families {
            sort_out_claims |= read::table(socket, family)?.is_some();
        }
        if sort_out_claims && refuse_late_claims(&wanted, &mut refused)? {
            continue;
        }
        let difference = compare(socket, &wanted, features, options.affinity_size)?;
        let written = send(nftables, options, &wanted, &difference);
        let (written, failed) = written;
        total.messages += written.messages;
        total.bytes += written.bytes;
        total.batches += written.batches;
        match failed {
            Ok(()) => break,
            Err(Failed::Error(error)) => return Err(error),
            Err(Failed::Refused(blamed)) => {
                sort_out_claims = true;
                if !refuse_late_claims(&wanted, &mut refused)? {
                    leave_out(&wanted, blamed, &mut refused)?;
                }
            }
        }
    }
    total.refused = refused.into_iter().collect();
    Ok(total)
}

/// Gathers the parts of all owners that were not refused.
fn gather(parts: Parts<'_>, refused: &mut BTreeMap<Owner, Error>) -> Result<Wanted, Error> {
    loop {
        let mut wanted = Wanted::default();
        let mut failed = None;
        parts(&mut |owner, part| {
            if failed.is_none() && !refused.contains_key(owner) {
                failed = wanted.take(owner, part).err().map(|error| (owner.clone(), error));
            }
        });
        match failed {
            None => {
                wanted.join_shared();
                return Ok(wanted);
            }
            Some((Owner::Node, error)) => return Err(error),
            Some((owner, error)) => refuse(refused, owner, error),
        }
    }
}

fn refuse(refused: &mut BTreeMap<Owner, Error>, owner: Owner, error: Error) {
    tracing::warn!(?owner, %error, "not programmed");
    refused.insert(owner, error);
}

/// Notes the owners who want what another has; false if there are none.
fn refuse_late_claims(
    wanted: &Wanted,
    refused: &mut BTreeMap<Owner, Error>,
) -> Result<bool, Error> {
    let claims = wanted.late_claims();
    for (number, set) in &claims {
        let Some(owner) = wanted.owners.get(*number as usize) else { continue };
        let object = format!("an element of {set}");
        let what = "another Service has one with the same key: only one of them can".to_owned();
        let error = Error::Unwritable { object, what };
        if *owner == Owner::Node {
            return Err(error);
        }
        refuse(refused, owner.clone(), error);
    }
    Ok(!claims.is_empty())
}

/// Notes the owners who are to be left out.
fn leave_out(
    wanted: &Wanted,
    blamed: Vec<(Blame, Error)>,
    refused: &mut BTreeMap<Owner, Error>,
) -> Result<(), Error> {
    for (blame, error) in blamed {
        let numbers = match &blame {
            Blame::All => return Err(error),
            Blame::Chain(id) => wanted.chains.get(id).map_or(&[][..], |(_, owners)| owners),
            Blame::Owner(number) => std::slice::from_ref(number),
        };
        let owners: Vec<&Owner> =
            numbers.iter().filter_map(|&number| wanted.owners.get(number as usize)).collect();
        if owners.is_empty() || owners.contains(&&Owner::Node) {
            return Err(error);
        }
        let mut error = Some(error);
        for owner in owners {
            let error = error.take().unwrap_or_else(|| Error::Unwritable {
                object: format!("{blame:?}"),
                what: "the kernel refused it, as it did for another owner".into(),
            });
            refuse(refused, owner.clone(), error);
        }
    }
    Ok(())
}

fn send(
    nftables: &mut Nftables,
    options: &Options,
    wanted: &Wanted,
    difference: &Difference,
) -> (Written, Result<(), Failed>) {
    let Nftables { socket, features, buffer, .. } = nftables;
    let states = || difference.families.values().map(|one| one.state);
    let extent = if states().any(|state| state == TableState::Stale) {
        tracing::info!("a table of another layout is replaced");
        Extent::Replacement
    } else if states().all(|state| state == TableState::Missing) {
        Extent::Load
    } else {
        Extent::Change
    };
    let outbox = Outbox::new(socket, buffer, extent);
    let mut writer = Writer { outbox, wanted, features, affinity_size: options.affinity_size };
    let sent = writer.send(difference);
    let written = std::mem::take(&mut writer.outbox.written);
    (written, sent)
}

/// Writes a change.
pub(super) fn apply(
    nftables: &mut Nftables,
    options: &Options,
    change: &Change,
) -> Result<Written, Error> {
    let (wanted, mut difference) = Wanted::of_change(change, &nftables.features.families)?;
    if nftables.features.counters {
        counters::carry_over(&mut nftables.socket, &wanted, &mut difference)?;
    }
    let (written, sent) = send(nftables, options, &wanted, &difference);
    let out_of_step = |error: &Error| Error::OutOfStep { why: error.to_string() };
    match sent {
        Ok(()) => Ok(written),
        Err(Failed::Error(error)) => Err(error),
        Err(Failed::Refused(blamed)) => Err(match blamed.first() {
            Some((_, error)) => out_of_step(error),
            None => Error::OutOfStep { why: "the kernel refused a change".into() },
        }),
    }
}
