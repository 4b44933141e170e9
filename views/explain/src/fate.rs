//! From the ways that one packet may go to its one verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::Verdict;

/// Every fate that a packet may meet where chance decides.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    /// By backend, whether its source is replaced: `true`, `false`, or either.
    delivered: BTreeMap<SocketAddr, BTreeSet<bool>>,
    passed: bool,
    /// It vanishes on the way.
    pub(crate) dropped: bool,
    /// It is refused on the way.
    pub(crate) rejected: bool,
    masqueraded_pass: bool,
}

/// Why fates make no verdict.
#[derive(Debug)]
pub(crate) enum Mixed {
    /// They differ by more than the backend.
    Divided(String),
    /// Nothing translated the packet, yet it is masqueraded.
    MasqueradedPass,
}

impl Fates {
    /// A packet that got through.
    pub(crate) fn arrived(&mut self, at: SocketAddr, translated: bool, masqueraded: bool) {
        if translated {
            self.delivered.entry(at).or_default().insert(masqueraded);
        } else if masqueraded {
            self.masqueraded_pass = true;
        } else {
            self.passed = true;
        }
    }

    /// The one verdict, if it is one.
    pub(crate) fn verdict(self) -> Result<Verdict, Mixed> {
        if self.masqueraded_pass {
            return Err(Mixed::MasqueradedPass);
        }
        let either = self.delivered.iter().filter(|(_, sources)| sources.len() > 1);
        let mut fates: BTreeSet<String> =
            either.map(|(backend, _)| format!("{backend} masqueraded or not")).collect();
        let met = [
            (!self.delivered.is_empty(), "delivered"),
            (self.passed, "passed"),
            (self.dropped, "dropped"),
            (self.rejected, "rejected"),
        ];
        fates.extend(met.into_iter().filter(|(met, _)| *met).map(|(_, word)| word.to_owned()));
        if fates.len() != 1 {
            return Err(Mixed::Divided(fates.into_iter().collect::<Vec<_>>().join(", ")));
        }
        Ok(if self.dropped {
            Verdict::Drop
        } else if self.rejected {
            Verdict::Reject
        } else if self.passed {
            Verdict::Pass
        } else {
            let delivered = self.delivered.into_iter();
            Verdict::Deliver(
                delivered.map(|(backend, sources)| (backend, sources.contains(&true))).collect(),
            )
        })
    }
}
