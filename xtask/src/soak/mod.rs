//! `cargo xtask soak`: one agent, random events and faults, and connections that must not notice.
//!
//! A folder of manifests is the cluster. Services come, change and go in it; meanwhile the agent is
//! killed and started again, the node's addresses change, strangers write beside our rules and over
//! them. Between the events the kernel must hold what `pointsman render` prints.

mod agent;
mod clients;
mod faults;
mod kernel;
mod tables;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, tools};
use agent::Agent;
use clients::Clients;
use faults::{Fault, Faults};
use world::World;

/// Where everything that the soak writes lies: in the sandbox's own, empty `/run`.
const HOME: &str = "/run/pointsman-soak";

/// How often the world is left alone for a comparison.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How often something breaks.
const FAULT_EVERY: Duration = Duration::from_secs(2);

/// How long the kernel may take to hold what the folder says. Slower than the bar of one second,
/// since a busy machine schedules the agent when it likes.
const SETTLE: Duration = Duration::from_secs(10);

/// Memory is judged where an agent has lived at least this long.
const JUDGED: Duration = Duration::from_secs(240);

/// How far the memory at the end may be from the memory before, in percent.
const FLAT: f64 = 5.0;

/// Which rules the agent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Chains that iptables lists
    Iptables,
    /// A table that nft lists
    Nftables,
}

impl Mode {
    /// As the program and this one are told it.
    fn word(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// What to do and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SoakArguments {
    /// Which rules
    #[arg(long, value_enum, default_value_t = Mode::Iptables)]
    pub(crate) mode: Mode,
    /// How long
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES")]
    pub(crate) minutes: f64,
    /// Repeats the events and faults of an earlier run (not their timing)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Use this program rather than build one
    #[arg(long, value_name = "FILE")]
    pub(crate) pointsman: Option<PathBuf>,
}

/// Builds what is missing, then goes on in a sandbox.
pub(crate) fn run(arguments: &SoakArguments) -> Result<ExitCode> {
    let SoakArguments { mode, minutes, seed, pointsman } = arguments;
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    ensure!(
        *minutes > 0.0 && *minutes <= 24.0 * 60.0,
        "--minutes must be above 0 and at most 1440"
    );
    if let Some(program) = pointsman.as_ref().filter(|_| lab::sandbox::inside()) {
        let soak = Soak::start(program, *mode, seed)?;
        soak.last(Duration::from_secs_f64(minutes * 60.0))?;
        return Ok(ExitCode::SUCCESS);
    }
    tools::require()?;
    let program = pointsman.clone().map_or_else(cargo::pointsman, Ok)?;
    let program = program
        .canonicalize()
        .with_context(|| format!("there is no program {}", program.display()))?;
    let mut again = lab::sandbox::reexec(["soak", "--pointsman"])?;
    again.arg(program).arg(format!("--mode={}", mode.word()));
    again.arg(format!("--minutes={minutes}")).arg(format!("--seed={seed}"));
    let status = lab::sandbox::status(&mut again)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into())
}

struct Soak {
    agent: Agent,
    faults: Faults,
    clients: Clients,
    world: World,
    checks: u32,
    longest_repair: Duration,
    /// The agent's memory in kB at each check since it was last started, and when that was.
    memory: Vec<u64>,
    lives_since: Instant,
}

impl Soak {
    fn start(program: &Path, mode: Mode, seed: u64) -> Result<Self> {
        println!("mode {}, seed {seed}", mode.word());
        let world = World::create(Path::new(HOME), mode, seed)?;
        let agent = Agent::start(program, &world, Path::new(HOME))?;
        let faults = Faults::new(mode, seed);
        kernel::settle(&agent, &world, SETTLE).context("after the first start")?;
        let clients = Clients::start(&world)?;
        Ok(Self {
            agent,
            faults,
            clients,
            world,
            checks: 0,
            longest_repair: Duration::ZERO,
            memory: Vec::new(),
            lives_since: Instant::now(),
        })
    }

    /// Goes on until the time is over, and judges.
    fn last(mut self, duration: Duration) -> Result<()> {
        let start = Instant::now();
        let (mut next_check, mut next_fault) = (CHECK_EVERY, FAULT_EVERY);
        while start.elapsed() < duration {
            self.world.event()?;
            self.agent.must_run()?;
            thread::sleep(self.world.pause());
            if start.elapsed() > next_fault {
                // An agent that nobody kills lives through the second half: its memory is judged.
                let kill = start.elapsed() < duration / 2;
                self.fault(kill)?;
                next_fault = start.elapsed() + FAULT_EVERY;
            }
            if start.elapsed() > next_check {
                self.check(start.elapsed())?;
                next_check = start.elapsed() + CHECK_EVERY;
            }
        }
        self.check(start.elapsed())?;
        let sum = self.clients.stop()?;
        self.judge_memory()?;
        println!(
            "{} events, {}; {} checks, {} connections, {} lost while rules were flushed, none else; \
             the longest repair took {} ms",
            self.world.events,
            self.faults,
            self.checks,
            sum.asked,
            sum.excused,
            self.longest_repair.as_millis()
        );
        Ok(())
    }

    fn fault(&mut self, kill: bool) -> Result<()> {
        let fault = self.faults.choose(kill);
        match fault {
            Fault::Kill => {
                self.agent.kill_and_start(&self.world)?;
                (self.memory, self.lives_since) = (Vec::new(), Instant::now());
            }
            Fault::Address => self.world.toggle_address()?,
            Fault::Stranger(script) => self.world.on_node(script)?,
            Fault::Flush(script) => {
                let hurt = self.clients.excuse();
                self.world.on_node(script)?;
                let took = kernel::settle(&self.agent, &self.world, SETTLE)
                    .with_context(|| format!("after {script:?}"))?;
                drop(hurt);
                self.longest_repair = self.longest_repair.max(took);
            }
        }
        Ok(())
    }

    fn check(&mut self, at: Duration) -> Result<()> {
        let took = kernel::settle(&self.agent, &self.world, SETTLE).with_context(|| {
            format!("{:.0} s after the start; log: {}", at.as_secs_f64(), self.agent.log())
        })?;
        self.clients.must_not_lose()?;
        let memory = self.agent.memory()?;
        self.memory.push(memory);
        self.checks += 1;
        println!(
            "{:>6.0} s: the kernel equals the folder ({} Services, after {} ms), {:.1} MB",
            at.as_secs_f64(),
            self.world.services(),
            took.as_millis(),
            memory as f64 / 1024.0
        );
        Ok(())
    }

    fn judge_memory(&self) -> Result<()> {
        let lived = self.lives_since.elapsed();
        // What an agent learns in the beginning it keeps; that is no leak.
        let quarter = self.memory.len() / 4;
        let middle = |samples: &[u64]| {
            let mut samples = samples.to_vec();
            samples.sort_unstable();
            samples.get(samples.len() / 2).copied().unwrap_or_default() as f64
        };
        let before = middle(self.memory.get(quarter..2 * quarter).unwrap_or_default());
        let after = middle(self.memory.get(3 * quarter..).unwrap_or_default());
        let change = (after / before - 1.0) * 100.0;
        if lived < JUDGED {
            println!("Memory is not judged: the last agent lived {} s only.", lived.as_secs());
            return Ok(());
        }
        println!("Memory: {change:+.1} % over the last {} s.", lived.as_secs());
        // Without samples it is no number, and not flat either.
        let flat = change.abs() <= FLAT;
        if !flat {
            bail!("memory went from {before} kB to {after} kB, more than {FLAT} %");
        }
        Ok(())
    }
}
