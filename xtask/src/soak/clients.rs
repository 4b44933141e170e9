//! Connections to Services that are healthy all the time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Namespace, probe};
use model::Protocol;

use super::world::World;

/// Shorter than the second after which a lost SYN is sent again: a loss is seen.
const PATIENCE: Duration = Duration::from_millis(900);

/// Between a client's connections; bounds what a long run asks of the machine.
const PAUSE: Duration = Duration::from_millis(30);

/// What the clients share with whoever breaks things.
#[derive(Default)]
struct Ledger {
    ended: AtomicBool,
    asked: AtomicU32,
    /// What was lost: when it was asked, and what was seen.
    lost: Mutex<Vec<(Instant, String)>>,
    /// When rules were away: from, and to once they are back.
    excused: Mutex<Vec<(Instant, Option<Instant>)>>,
}

/// Clients in threads of their own.
pub(super) struct Clients {
    ledger: Arc<Ledger>,
    threads: Vec<JoinHandle<()>>,
}

/// The sum at the end.
pub(super) struct Sum {
    pub(super) asked: u32,
    pub(super) excused: usize,
}

impl Clients {
    pub(super) fn start(world: &World) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let mut threads = Vec::new();
        for (from, to) in world.questions()? {
            let (ledger, namespace): (_, Namespace) = (Arc::clone(&ledger), from);
            let work = move || {
                while !ledger.ended.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let outcome = probe(&namespace, None, Protocol::Tcp, to, PATIENCE);
                    ledger.asked.fetch_add(1, Ordering::Relaxed);
                    let failure = match outcome {
                        Ok(outcome) if outcome.server().is_some() => None,
                        Ok(outcome) => Some(format!("{to}: {outcome}")),
                        Err(error) => Some(format!("{to}: {error}")),
                    };
                    if let Some(failure) = failure {
                        lock(&ledger.lost).push((at, failure));
                    }
                    thread::sleep(PAUSE);
                }
            };
            threads.push(thread::Builder::new().name(format!("ask {to}")).spawn(work)?);
        }
        Ok(Self { ledger, threads })
    }

    /// What is asked from now until the value goes may be lost.
    pub(super) fn excuse(&self) -> Excuse {
        lock(&self.ledger.excused).push((Instant::now(), None));
        Excuse(Arc::clone(&self.ledger))
    }

    /// Fails if a connection was lost that nothing excuses.
    pub(super) fn must_not_lose(&self) -> Result<usize> {
        let excused = lock(&self.ledger.excused);
        let lost = lock(&self.ledger.lost);
        let is_excused = |at: Instant| {
            // One that was under way when the rules went is hurt as well.
            excused.iter().any(|(from, to)| at + PATIENCE >= *from && to.is_none_or(|to| at <= to))
        };
        let (good, bad): (Vec<_>, Vec<_>) = lost.iter().partition(|(at, _)| is_excused(*at));
        let asked = self.ledger.asked.load(Ordering::Relaxed);
        let what: Vec<_> = bad.iter().map(|(_, what)| what.as_str()).collect();
        ensure!(bad.is_empty(), "{} of {asked} connections lost: {what:#?}", bad.len());
        Ok(good.len())
    }

    /// Ends them; fails as [`Clients::must_not_lose`].
    pub(super) fn stop(&mut self) -> Result<Sum> {
        self.end();
        let excused = self.must_not_lose()?;
        Ok(Sum { asked: self.ledger.asked.load(Ordering::Relaxed), excused })
    }

    fn end(&mut self) {
        self.ledger.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread has been printed by then.
            drop(thread.join());
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

/// See [`Clients::excuse`].
pub(super) struct Excuse(Arc<Ledger>);

impl Drop for Excuse {
    fn drop(&mut self) {
        if let Some((_, to)) = lock(&self.0.excused).last_mut() {
            *to = Some(Instant::now());
        }
    }
}

/// A thread that panicked in between leaves whole entries behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
