//! For whatever sequence of changes: applied one by one, reconciled from nothing and read back, all
//! three are the same.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use sync::netlink::SendBudget;
use sync::table::Nftables;

use crate::changes::{Memory, part};
use crate::fixture::{Kind, World, ruleset, same};
use crate::namespace::within;

fn kind() -> impl Strategy<Value = Kind> {
    let affinity = select(vec![None, None, Some(60), Some(10_800)]);
    (btree_set(0..9_u32, 0..6), 0..4_usize, affinity, any::<bool>(), any::<bool>()).prop_map(
        |(endpoints, local, sticky, outside, udp)| Kind {
            endpoints: endpoints.into_iter().collect(),
            local,
            sticky,
            outside,
            udp,
        },
    )
}

/// Some Services change at once; few Services, so that they meet again.
fn step() -> impl Strategy<Value = Vec<(u32, Option<Kind>)>> {
    vec((1..6_u32, option::weighted(0.8, kind())), 1..4)
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 60, ..Config::default() })]

    #[test]
    fn steps_lead_where_a_load_leads(steps in vec(step(), 1..8), small in any::<bool>()) {
        within(move || {
            let budget = if small { SendBudget::Bytes(6_000) } else { SendBudget::Forced };
            let mut nftables = Nftables::open_with(budget).unwrap();
            let nothing = ruleset(&World::new());
            nftables.reconcile(&nothing).unwrap();
            let mut memory = Memory::of(&nothing);
            for step in steps {
                // The last word on a Service counts.
                let step: std::collections::BTreeMap<_, _> = step.into_iter().collect();
                let parts = step.iter().map(|(number, kind)| part(*number, kind.as_ref()));
                let change = memory.take(parts.collect::<Vec<_>>());
                nftables.apply(&change).unwrap();
                let held = nftables.read().unwrap();
                assert_eq!(held.unreadable, Vec::<String>::new());
                same(&held.part, &memory.ruleset().merged());
            }
            let again = Nftables::open().unwrap().reconcile(&memory.ruleset()).unwrap();
            assert_eq!(again.messages, 0);
        });
    }
}
