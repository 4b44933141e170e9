//! Policies with real packets: two nodes, each with an agent of its own, hold the truth tables of
//! the upstream suites and a sample of generated cases, all at once, in both modes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cast;
mod edges;
mod stage;

use std::time::Duration;

use cast::Cast;
use stage::Stage;

/// How long the agents may take until a state is what every packet meets.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays every scenario in one cluster, state by state: a state is over when every connection of
/// every scenario came out as its table says, twice.
fn play(mode: &'static str) {
    let cast = Cast::assemble();
    let mut stage = Stage::build(mode, &cast);
    let (mut connections, mut rounds) = (0, 0);
    for step in 0..cast.steps() {
        for part in &cast.parts {
            if let Some(state) = part.world.states.get(step) {
                stage.write(&part.id, &part.objects(state));
            }
        }
        let played: Vec<_> =
            cast.parts.iter().filter(|part| part.world.states.len() > step).collect();
        let (sent, again) = stage.settle(step, &played, PATIENCE);
        (connections, rounds) = (connections + sent, rounds + again);
    }
    // Nothing that came later changed what was there.
    connections += stage.once_more(&cast.parts);
    println!(
        "{mode}: {} scenarios, {} states, {} connections in {rounds} rounds; {} not sent: no SCTP \
         sockets here",
        cast.parts.len(),
        cast.parts.iter().map(|part| part.world.states.len()).sum::<usize>(),
        connections,
        stage.not_sent(),
    );
    assert!(cast.parts.len() >= 48 + 24 + 9 && connections > 5_000);
}

#[test]
fn tables_with_real_packets_in_nftables_mode() {
    play("nftables");
}

#[test]
fn tables_with_real_packets_in_iptables_mode() {
    play("iptables");
}
