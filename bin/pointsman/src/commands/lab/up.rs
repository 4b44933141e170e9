//! `pointsman lab up`, `down` and `status`.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control::{Answer, Question, Status, ask};
use super::folder::Folder;
use crate::cli_lab::UpArguments;

/// How long a lab may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn up(arguments: &UpArguments) -> Result<()> {
    let start = Instant::now();
    let folder = Folder::of(&arguments.lab.name)?;
    let status = start_holder(&folder, arguments)?;
    say_up(&folder, &status, start)
}

/// Says how a lab that stands is reached.
pub(super) fn say_up(folder: &Folder, status: &Status, start: Instant) -> Result<()> {
    let took = start.elapsed();
    let kubeconfig = folder.file("kubeconfig");
    let mut shell = std::io::stdout().lock();
    writeln!(shell, "export KUBECONFIG={}", kubeconfig.display())?;
    let mut person = std::io::stderr().lock();
    writeln!(
        person,
        "# lab {:?} is up after {} ms: {} nodes, mode {}",
        folder.name,
        took.as_millis(),
        status.places.iter().filter(|place| place.starts_with("node/")).count(),
        status.mode
    )?;
    writeln!(
        person,
        "# The line above is for your shell: eval \"$(pointsman lab up)\" does both."
    )?;
    Ok(())
}

/// Starts the holder of a lab and waits until all of it is there. After a failure nothing is left.
pub(super) fn start_holder(folder: &Folder, arguments: &UpArguments) -> Result<Status> {
    let log = folder.take()?;
    let started = spawn(folder, arguments, log.into()).and_then(|mut holder| {
        match ask(folder, &Question::Status) {
            Ok(Answer::Status(status)) if status.failed.is_empty() => Ok(status),
            Ok(Answer::Status(status)) => Err(stop(&mut holder, status.failed.join("; "), folder)),
            Ok(_) => Err(stop(&mut holder, "it gave a wrong answer".into(), folder)),
            Err(error) => Err(stop(&mut holder, format!("{error:#}"), folder)),
        }
    });
    if started.is_err() {
        folder.remove()?;
    }
    started.with_context(|| format!("lab {:?} could not be started", folder.name))
}

fn stop(holder: &mut Child, why: String, folder: &Folder) -> anyhow::Error {
    // It may have ended by itself.
    let _ = holder.kill();
    let _ = holder.wait();
    // Its agents follow it.
    let _ = folder.wait_until_free(PATIENCE);
    let words = folder.last_words();
    if why.contains(&words) { anyhow::anyhow!(why) } else { anyhow::anyhow!("{why}\n{words}") }
}

/// The sockets are opened here, in the machine's own network, where kubectl is; the holder keeps
/// them when it leaves for namespaces of its own.
fn spawn(folder: &Folder, arguments: &UpArguments, log: OwnedFd) -> Result<Child> {
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let api = TcpListener::bind(loopback).context("the API finds no free port on loopback")?;
    let address = api.local_addr()?;
    let control = UnixListener::bind(folder.file("control"))?;
    fs::write(folder.file("kubeconfig"), super::hold::kubeconfig(address))?;
    let nodes = arguments.nodes.to_string();
    let mut words = vec!["lab", "hold", "--name", &folder.name, "--nodes", &nodes];
    words.extend(["--mode", arguments.mode.word()]);
    words.extend(arguments.ipv6.then_some("--ipv6"));
    words.extend(arguments.dual_stack.then_some("--dual-stack"));
    let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    if let Some(path) = &arguments.objects {
        words.extend(["--objects".into(), path.into()]);
    }
    let mut holder = lab::sandbox::reexec(words)?;
    holder.current_dir("/");
    holder.stdin(Stdio::from(OwnedFd::from(api)));
    holder.stdout(Stdio::from(OwnedFd::from(control)));
    holder.stderr(Stdio::from(log));
    let holder = holder.spawn().map_err(lab::sandbox::explain)?;
    fs::write(folder.file("pid"), holder.id().to_string())?;
    Ok(holder)
}

pub(super) fn down(name: &str) -> Result<()> {
    let folder = Folder::of(name)?;
    if !folder.exists() {
        writeln!(std::io::stderr(), "# lab {name:?} is not up")?;
        return Ok(());
    }
    end(&folder)?;
    writeln!(std::io::stderr(), "# lab {name:?} is down")?;
    Ok(())
}

/// Ends a lab, or cleans up after one that has crashed.
pub(super) fn end(folder: &Folder) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // The number is the holder's: it, or a process that follows it at once, has the lock.
        if folder.is_free()? {
            return folder.remove();
        }
        let text = fs::read_to_string(folder.file("pid")).unwrap_or_default();
        match text.trim().parse() {
            // Gone meanwhile, perhaps.
            Ok(number) => drop(kill(Pid::from_raw(number), signal)),
            Err(_) => bail!("lab {:?} is being started; try again", folder.name),
        }
        if folder.wait_until_free(PATIENCE)? {
            return folder.remove();
        }
    }
    bail!("lab {:?} does not end; see {}", folder.name, folder.file("pid").display())
}

pub(super) fn status() -> Result<()> {
    let folders = Folder::all()?;
    let mut out = std::io::stdout().lock();
    if folders.is_empty() {
        writeln!(out, "No lab is up. `pointsman lab up` starts one.")?;
    }
    for folder in folders {
        let name = &folder.name;
        if folder.is_free()? {
            writeln!(out, "{name}: has crashed; `pointsman lab down --name {name}` cleans up")?;
            continue;
        }
        let status = match ask(&folder, &Question::Status) {
            Ok(Answer::Status(status)) => status,
            Ok(_) => bail!("lab {name:?} gave a wrong answer"),
            Err(error) => {
                writeln!(out, "{name}: {error:#}")?;
                continue;
            }
        };
        writeln!(out, "{name}: up, mode {}", status.mode)?;
        writeln!(out, "  export KUBECONFIG={}", folder.file("kubeconfig").display())?;
        writeln!(out, "  log: {}", folder.file("log").display())?;
        for place in status.places {
            match status.restarts.get(&place) {
                Some(1) => writeln!(out, "  {place} (agent restarted 1 time)")?,
                Some(times) => writeln!(out, "  {place} (agent restarted {times} times)")?,
                None => writeln!(out, "  {place}")?,
            }
        }
        for failed in status.failed {
            writeln!(out, "  failed: {failed}")?;
        }
    }
    Ok(())
}
