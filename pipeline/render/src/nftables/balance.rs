//! The chains that choose a backend: one for each number of endpoints and class of treatment, shared
//! by all frontends that need it.

use std::fmt;
use std::sync::Arc;

use plan::{Backend, PoolName};
use sha2::{Digest, Sha256};

use super::names::MARK_UNLESS_POD;
use super::set::client_and_frontend;
use super::{Chain, Field, Options, Place, Rule, SetName, Statement, Verdict};

/// Whose connections are masqueraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nobody's.
    Never,
    /// Everybody's but a Pod's.
    UnlessPod,
    /// Everybody's.
    Always,
}

/// What a balancing chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Balance {
    /// How the frontend is named by the packet.
    pub(super) place: Place,
    /// From which pool.
    pub(super) pool: PoolName,
    /// The size of the pool, at least 1.
    pub(super) count: u32,
    /// For how many seconds a client stays with its backend.
    pub(super) sticky: Option<u32>,
    /// Whose connections are masqueraded.
    pub(super) mark: Mark,
}

impl fmt::Display for Balance {
    /// The chain's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pool == PoolName::Local {
            f.write_str("local-")?;
        }
        if self.place == Place::NodePort {
            f.write_str("node-port-")?;
        }
        write!(f, "lb-{}", self.count)?;
        if let Some(seconds) = self.sticky {
            write!(f, "-sticky-{seconds}s")?;
        }
        f.write_str(match self.mark {
            Mark::Never => "",
            Mark::UnlessPod => "-masquerade-unless-pod",
            Mark::Always => "-masquerade",
        })
    }
}

impl Balance {
    /// The chain. It depends on nothing but its name and the options.
    pub(super) fn chain(&self, options: &Options) -> Chain {
        let mark: Option<Rule> = match self.mark {
            Mark::Never => None,
            Mark::UnlessPod => {
                Some(vec![Statement::Verdict(Verdict::Jump(Arc::from(MARK_UNLESS_POD)))])
            }
            Mark::Always => Some(vec![Statement::AddCtMark(options.mark())]),
        };
        let mut rules: Vec<Rule> = mark.into_iter().collect();
        match self.sticky {
            Some(seconds) => rules.extend(self.sticky(seconds)),
            None => rules.push(vec![Statement::Dnat {
                key: self.indexed(),
                map: SetName::Endpoints(self.place, self.pool),
            }]),
        }
        Chain { base: None, rules }
    }

    fn indexed(&self) -> Vec<Field> {
        [self.place.key(), vec![Field::RandomIndex { modulus: self.count }]].concat()
    }

    /// 1. A client that is known: load its endpoint's id and start its time anew.
    /// 2. Go there, if that endpoint still is one: an id that left has no element.
    /// 3. Forget it otherwise, for the kernel never replaces what a key holds.
    /// 4. Choose anew and remember.
    /// 5. Go there.
    ///
    /// The chain is entered by first packets alone, so only new connections start the time anew.
    fn sticky(&self, seconds: u32) -> [Rule; 5] {
        let affinity = || SetName::Affinity;
        let remember =
            || Statement::Remember { key: client_and_frontend(), map: affinity(), seconds };
        let deliver = || Statement::Dnat {
            key: [self.place.key(), vec![Field::EndpointId]].concat(),
            map: SetName::StickyEndpoints(self.place, self.pool),
        };
        let choose = Statement::LoadEndpointId {
            key: self.indexed(),
            map: SetName::StickySlots(self.place, self.pool),
        };
        let recall = Statement::LoadEndpointId { key: client_and_frontend(), map: affinity() };
        [
            vec![recall, remember()],
            vec![deliver()],
            vec![Statement::Forget { key: client_and_frontend(), map: affinity() }],
            vec![choose, remember()],
            vec![deliver()],
        ]
    }
}

/// An id for each endpoint of a pool, in its order. An endpoint keeps its id while others come and
/// go; where two hash alike, which is rare, the later one takes another, and its clients choose
/// anew once the earlier one left.
///
/// The id is kept in the packet's priority for the length of one chain and may be left there, so it
/// must mean nothing to queueing: its low four bits are those of best effort, and its upper half is
/// from 0x4000 to 0x7fff, which nobody gives to a queueing discipline by habit.
pub(super) fn endpoint_ids(pool: &[Backend]) -> Vec<u32> {
    let mut taken = std::collections::BTreeSet::new();
    pool.iter()
        .map(|backend| {
            let mut id = endpoint_id(&backend.address.to_string());
            let mut turn = 0_u32;
            while !taken.insert(id) {
                turn += 1;
                id = endpoint_id(&format!("{}/{turn}", backend.address));
            }
            id
        })
        .collect()
}

fn endpoint_id(text: &str) -> u32 {
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().take(4).fold(0, |bits, &byte| bits << 8 | u32::from(byte));
    0x4000_0000 | hash & 0x3fff_fff0
}
